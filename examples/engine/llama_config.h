// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_LLAMA_CONFIG_H_
#define EXAMPLES_ENGINE_LLAMA_CONFIG_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv::engine {

/// The shape of a model of the Llama architecture, under the names that Hugging
/// Face's config.json has for it.
struct LlamaConfig {
  std::int32_t hidden_size = 0;
  std::int32_t intermediate_size = 0;
  std::int32_t num_hidden_layers = 0;
  std::int32_t num_attention_heads = 0;
  std::int32_t num_key_value_heads = 0;  ///< a divisor of num_attention_heads
  std::int32_t head_dim = 0;             ///< even
  std::int32_t vocab_size = 0;
  std::int32_t max_position_embeddings = 0;
  double rope_theta = 10000.0;
  float rms_norm_eps = 1e-5F;
  bool tie_word_embeddings = false;
  std::vector<TokenId> eos_token_ids = {};

  /// Elements of the queries, and of the keys (or values), of one token.
  [[nodiscard]] std::int32_t query_size() const {
    return num_attention_heads * head_dim;
  }
  [[nodiscard]] std::int32_t kv_size() const {
    return num_key_value_heads * head_dim;
  }
};

/// Reads a config.json. InvalidArgument, one line that begins with `source`,
/// for what is no such file or asks for what `LlamaModel` cannot do.
absl::StatusOr<LlamaConfig> ParseLlamaConfig(std::string_view text,
                                             std::string_view source);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_LLAMA_CONFIG_H_
