// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/llama_weights.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "examples/engine/random.h"
#include "examples/engine/safetensors.h"

namespace pagedkv::engine {
namespace {

// Takes a model's tensors from a source; keeps the first error.
template <typename Source>
class Filler {
 public:
  explicit Filler(const Source& source) : source_(source) {}

  Matrix Take(const std::string& name, std::int64_t rows,
              std::int64_t columns) {
    if (!status_.ok()) return {};
    const absl::StatusOr<const float*> data = source_(name, rows, columns);
    if (!data.ok()) {
      status_ = data.status();
      return {};
    }
    return {.data = *data, .num_rows = rows, .num_columns = columns};
  }
  std::span<const float> TakeVector(const std::string& name,
                                    std::int64_t size) {
    return {Take(name, size, 1).data, static_cast<std::size_t>(size)};
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  const Source& source_;
  absl::Status status_;
};

template <typename Source>
LlamaLayer TakeLayer(const LlamaConfig& config, int index,
                     Filler<Source>& filler) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const auto name = [&](const char* part) {
    return absl::StrCat("model.layers.", index, ".", part, ".weight");
  };
  LlamaLayer layer;
  layer.input_norm = filler.TakeVector(name("input_layernorm"), hidden);
  layer.query =
      filler.Take(name("self_attn.q_proj"), config.query_size(), hidden);
  layer.key = filler.Take(name("self_attn.k_proj"), config.kv_size(), hidden);
  layer.value = filler.Take(name("self_attn.v_proj"), config.kv_size(), hidden);
  layer.output =
      filler.Take(name("self_attn.o_proj"), hidden, config.query_size());
  layer.post_attention_norm =
      filler.TakeVector(name("post_attention_layernorm"), hidden);
  layer.gate = filler.Take(name("mlp.gate_proj"), inner, hidden);
  layer.up = filler.Take(name("mlp.up_proj"), inner, hidden);
  layer.down = filler.Take(name("mlp.down_proj"), hidden, inner);
  return layer;
}

// The values of a tensor, in the file or, where they are converted, in
// `arrays`.
absl::StatusOr<const float*> Locate(const SafetensorsTensors& tensors,
                                    const std::string& name, std::int64_t rows,
                                    std::int64_t columns,
                                    std::deque<std::vector<float>>& arrays) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    return absl::NotFoundError(absl::StrFormat("has no tensor %s", name));
  }
  const SafetensorsTensor& tensor = found->second;
  const std::vector<std::int64_t> shape =
      columns == 1 ? std::vector{rows} : std::vector{rows, columns};
  if (tensor.shape != shape) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tensor %s has the shape [%s], and by config.json it should have [%s]",
        name, absl::StrJoin(tensor.shape, ", "), absl::StrJoin(shape, ", ")));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
  if (tensor.dtype == "F32" && address % alignof(float) == 0) {
    return reinterpret_cast<const float*>(tensor.bytes.data());
  }
  absl::StatusOr<std::vector<float>> floats = ToFloats(tensor);
  if (!floats.ok()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tensor %s %s", name, floats.status().message()));
  }
  arrays.push_back(*std::move(floats));
  return arrays.back().data();
}

constexpr TokenId kTinyEos = 256;

LlamaConfig TinyConfig() {
  LlamaConfig config;
  config.hidden_size = 48;
  config.intermediate_size = 80;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 12;
  config.vocab_size = kTinyEos + 1;
  config.max_position_embeddings = 4096;
  config.eos_token_ids = {kTinyEos};
  return config;
}

}  // namespace

absl::Status LlamaWeights::Fill(const TensorSource& source) {
  Filler filler(source);
  const std::int64_t hidden = config_.hidden_size;
  embedding_ =
      filler.Take("model.embed_tokens.weight", config_.vocab_size, hidden);
  for (int i = 0; i < config_.num_hidden_layers && filler.status().ok(); ++i) {
    layers_.push_back(TakeLayer(config_, i, filler));
  }
  final_norm_ = filler.TakeVector("model.norm.weight", hidden);
  head_ = config_.tie_word_embeddings
              ? embedding_
              : filler.Take("lm_head.weight", config_.vocab_size, hidden);
  return filler.status();
}

LlamaWeights LlamaWeights::MakeTiny(std::uint64_t seed) {
  LlamaWeights weights(TinyConfig());
  Random random(seed);
  // Such that neither the text repeats itself at once nor attention is blind.
  const auto fill = [&](const std::string& /*name*/, std::int64_t rows,
                        std::int64_t columns) -> absl::StatusOr<const float*> {
    std::vector<float>& values =
        weights.arrays_.emplace_back(static_cast<std::size_t>(rows * columns));
    const float spread =
        columns == 1 ? 0.25F : 3.0F / std::sqrt(static_cast<float>(columns));
    for (float& value : values) {
      value = (columns == 1 ? 1.0F : 0.0F) +
              spread * (2.0F * random.NextUniform() - 1.0F);
    }
    return values.data();
  };
  const absl::Status filled = weights.Fill(fill);
  // The source above has every tensor.
  if (!filled.ok()) std::abort();
  return weights;
}

absl::StatusOr<LlamaWeights> LlamaWeights::Load(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  const absl::StatusOr<std::string> config_text = ReadFile(config_path);
  if (!config_text.ok()) return config_text.status();
  absl::StatusOr<LlamaConfig> config =
      ParseLlamaConfig(*config_text, config_path);
  if (!config.ok()) return config.status();

  LlamaWeights weights(*std::move(config));
  const std::string path = folder + "/model.safetensors";
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  weights.file_ = *std::move(file);
  const absl::StatusOr<SafetensorsTensors> tensors =
      ParseSafetensors(weights.file_->bytes(), path);
  if (!tensors.ok()) return tensors.status();

  const absl::Status filled = weights.Fill(
      [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
        return Locate(*tensors, name, rows, columns, weights.arrays_);
      });
  if (!filled.ok()) {
    return absl::Status(filled.code(),
                        absl::StrCat(path, ": ", filled.message()));
  }
  return weights;
}

}  // namespace pagedkv::engine
