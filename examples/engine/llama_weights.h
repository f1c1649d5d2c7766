// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_LLAMA_WEIGHTS_H_
#define EXAMPLES_ENGINE_LLAMA_WEIGHTS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/engine/llama_config.h"
#include "examples/engine/mapped_file.h"
#include "examples/engine/vector_math.h"

namespace pagedkv::engine {

/// What one layer multiplies by; a matrix has a row for each output.
struct LlamaLayer {
  std::span<const float> input_norm;           // [hidden]
  Matrix query;                                // [query_size, hidden]
  Matrix key;                                  // [kv_size, hidden]
  Matrix value;                                // [kv_size, hidden]
  Matrix output;                               // [hidden, query_size]
  std::span<const float> post_attention_norm;  // [hidden]
  Matrix gate;                                 // [intermediate, hidden]
  Matrix up;                                   // [intermediate, hidden]
  Matrix down;                                 // [hidden, intermediate]
};

/// The weights of a Llama in fp32, and the memory that they lie in: of the file
/// itself where it has them in fp32. Immutable; moves without changing
/// addresses.
class LlamaWeights {
 public:
  /// From model.safetensors and config.json in `folder`, as Hugging Face has
  /// them. An error, one line with the file, for what is missing or malformed.
  static absl::StatusOr<LlamaWeights> Load(const std::string& folder);

  /// A tiny model that was not trained: bytes are its tokens, and 256 ends a
  /// text. The same on every machine.
  static LlamaWeights MakeTiny(std::uint64_t seed);

  [[nodiscard]] const LlamaConfig& config() const { return config_; }
  [[nodiscard]] const Matrix& embedding() const { return embedding_; }
  [[nodiscard]] std::span<const LlamaLayer> layers() const { return layers_; }
  [[nodiscard]] std::span<const float> final_norm() const {
    return final_norm_;
  }
  /// From the last hidden state to logits; the embedding itself, if tied.
  [[nodiscard]] const Matrix& head() const { return head_; }

 private:
  // Where the values of a tensor lie; a vector has one column.
  using TensorSource = std::function<absl::StatusOr<const float*>(
      const std::string& name, std::int64_t rows, std::int64_t columns)>;

  explicit LlamaWeights(LlamaConfig config) : config_(std::move(config)) {}
  // Asks for every tensor that the config calls for, in a fixed order.
  absl::Status Fill(const TensorSource& source);

  LlamaConfig config_;
  std::optional<MappedFile> file_;
  std::deque<std::vector<float>> arrays_;  // those that are not in the file
  Matrix embedding_;
  std::vector<LlamaLayer> layers_;
  std::span<const float> final_norm_;
  Matrix head_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_LLAMA_WEIGHTS_H_
