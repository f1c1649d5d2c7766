// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/llama_model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/thread_pool.h"
#include "examples/engine/vector_math.h"

#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

std::size_t Index(std::int64_t value) {
  return static_cast<std::size_t>(value);
}

// What `rows` of `size` elements each takes; contents are of no matter.
float* Reserve(std::vector<float>& rows, std::size_t num_rows,
               std::int64_t size) {
  rows.resize(num_rows * Index(size));
  return rows.data();
}

}  // namespace

LlamaModel::LlamaModel(const LlamaWeights& weights, std::int32_t max_positions,
                       ThreadPool& threads)
    : weights_(weights), threads_(threads) {
  const std::int32_t half = config().head_dim / 2;
  for (std::int32_t position = 0; position < max_positions; ++position) {
    for (std::int32_t i = 0; i < half; ++i) {
      const double angle =
          position * std::pow(config().rope_theta, -1.0 * i / half);
      cosines_.push_back(static_cast<float>(std::cos(angle)));
      sines_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

KvShape LlamaModel::kv_shape() const {
  return {.num_layers = config().num_hidden_layers,
          .num_query_heads = config().num_attention_heads,
          .num_kv_heads = config().num_key_value_heads,
          .head_size = config().head_dim};
}

absl::Status LlamaModel::Forward(const ModelBatch& batch, KvCache& cache,
                                 std::vector<float>& logits) {
  const std::int64_t size = config().hidden_size;
  float* hidden = Reserve(hidden_, batch.tokens.size(), size);
  for (const TokenId token : batch.tokens) {
    std::copy_n(weights_.embedding().data + token * size, size, hidden);
    hidden += size;
  }
  for (int i = 0; i < config().num_hidden_layers; ++i) {
    absl::Status status = ComputeLayer(i, batch, cache);
    if (!status.ok()) return status;
  }
  float* normed = Reserve(normed_, batch.logits_rows.size(), size);
  for (const std::int32_t row : batch.logits_rows) {
    RmsNorm(hidden_.data() + row * size, weights_.final_norm(),
            config().rms_norm_eps, normed);
    normed += size;
  }
  const auto num_logits_rows =
      static_cast<std::int64_t>(batch.logits_rows.size());
  MatMul(threads_, normed_.data(), num_logits_rows, weights_.head(),
         Reserve(logits, batch.logits_rows.size(), config().vocab_size));
  return absl::OkStatus();
}

absl::Status LlamaModel::ComputeLayer(int index, const ModelBatch& batch,
                                      KvCache& cache) {
  const LlamaLayer& layer = weights_.layers()[Index(index)];
  const std::size_t num_rows = batch.tokens.size();
  const auto rows = static_cast<std::int64_t>(num_rows);
  const std::int64_t size = config().hidden_size;

  const auto norm = [&](std::span<const float> weight) {
    const float* x = hidden_.data();
    float* y = Reserve(normed_, num_rows, size);
    for (std::int64_t row = 0; row < rows; ++row) {
      RmsNorm(x + row * size, weight, config().rms_norm_eps, y + row * size);
    }
  };
  const auto multiply = [&](const std::vector<float>& x, const Matrix& weights,
                            std::vector<float>& y) {
    MatMul(threads_, x.data(), rows, weights,
           Reserve(y, num_rows, weights.num_rows));
  };
  const auto add_projected = [&] {
    for (std::size_t i = 0; i < hidden_.size(); ++i) {
      hidden_[i] += projected_[i];
    }
  };

  norm(layer.input_norm);
  multiply(normed_, layer.query, queries_);
  multiply(normed_, layer.key, keys_);
  multiply(normed_, layer.value, values_);
  Rotate(batch.positions, config().num_attention_heads, queries_.data());
  Rotate(batch.positions, config().num_key_value_heads, keys_.data());
  absl::Status status = cache.Write(index, keys_.data(), values_.data());
  if (!status.ok()) return status;
  status = cache.Attend(index, queries_.data(),
                        Reserve(attended_, num_rows, config().query_size()));
  if (!status.ok()) return status;
  multiply(attended_, layer.output, projected_);
  add_projected();

  norm(layer.post_attention_norm);
  multiply(normed_, layer.gate, gates_);
  multiply(normed_, layer.up, ups_);
  const std::int64_t inner = config().intermediate_size;
  threads_.ParallelFor(rows, [&](std::int64_t begin, std::int64_t end) {
    SwiGlu(std::span(gates_).subspan(Index(begin * inner),
                                     Index((end - begin) * inner)),
           ups_.data() + begin * inner);
  });
  multiply(gates_, layer.down, projected_);
  add_projected();
  return absl::OkStatus();
}

// Turns the two halves of each head against each other, as Hugging Face's
// rotate_half does.
void LlamaModel::Rotate(std::span<const std::int32_t> positions,
                        std::int32_t num_heads, float* rows) const {
  const std::int64_t half = config().head_dim / 2;
  float* head = rows;
  for (const std::int32_t position : positions) {
    const float* cosines = cosines_.data() + position * half;
    const float* sines = sines_.data() + position * half;
    for (std::int32_t h = 0; h < num_heads; ++h) {
      for (std::int64_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[half + i];
        head[i] = a * cosines[i] - b * sines[i];
        head[half + i] = b * cosines[i] + a * sines[i];
      }
      head += 2 * half;
    }
  }
}

}  // namespace pagedkv::engine
