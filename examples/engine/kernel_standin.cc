// SPDX-License-Identifier: Apache-2.0
// Stands in for the library's kernels, fp32 only, until they are here.
#include "examples/engine/kernel_standin.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/vector_math.h"

namespace pagedkv {
namespace {
float* At(const KvTensorView& view, std::int64_t block, std::int64_t token,
          std::int64_t head) {
  return reinterpret_cast<float*>(view.base + block * view.block_stride +
                                  token * view.token_stride +
                                  head * view.head_stride);
}
}  // namespace

absl::Status ScatterKv(const KvTensorView& view, const ConstKvRows& rows,
                       std::span<const std::int64_t> slots) {
  const float* data = reinterpret_cast<const float*>(rows.data);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    for (std::int64_t h = 0; h < view.tensor.heads; ++h) {
      std::copy_n(
          data + static_cast<std::int64_t>(i) * rows.token_stride +
              h * rows.head_stride,
          view.tensor.head_size,
          At(view, slots[i] / view.block_size, slots[i] % view.block_size, h));
    }
  }
  return absl::OkStatus();
}

absl::Status PagedAttention(const PagedAttentionArgs& args) {
  const std::int64_t size = args.key.tensor.head_size;
  const auto* queries = reinterpret_cast<const float*>(args.query.data);
  auto* out = reinterpret_cast<float*>(args.output.data);
  std::vector<float> scores;
  for (std::size_t s = 0; s < args.batch.num_tokens.size(); ++s) {
    const std::int32_t begin = args.batch.query_begin[s];
    const std::int32_t end = args.batch.query_begin[s + 1];
    const BlockId* table = args.batch.tables[s];
    for (std::int32_t row = begin; row < end; ++row) {
      const std::int32_t n = args.batch.num_tokens[s] - (end - 1 - row);
      for (std::int64_t h = 0; h < args.num_query_heads; ++h) {
        const std::int64_t kv_head =
            h / (args.num_query_heads / args.key.tensor.heads);
        const auto at = [&](const KvTensorView& view, std::int32_t t) {
          return At(view, table[t / view.block_size].value(),
                    t % view.block_size, kv_head);
        };
        const float* q = queries + row * args.query.token_stride +
                         h * args.query.head_stride;
        float* o =
            out + row * args.output.token_stride + h * args.output.head_stride;
        scores.resize(static_cast<std::size_t>(n));
        for (std::int32_t t = 0; t < n; ++t) {
          scores[static_cast<std::size_t>(t)] =
              engine::Dot(q, at(args.key, t), size) * args.softmax_scale;
        }
        engine::Softmax(scores);
        std::fill_n(o, size, 0.0F);
        for (std::int32_t t = 0; t < n; ++t) {
          const float* v = at(args.value, t);
          for (std::int64_t i = 0; i < size; ++i) {
            o[i] += scores[static_cast<std::size_t>(t)] * v[i];
          }
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
