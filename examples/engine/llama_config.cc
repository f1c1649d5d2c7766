// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/llama_config.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace pagedkv::engine {
namespace {

using nlohmann::json;

// Sizes whose products fit 63 bits with room to spare.
constexpr std::int64_t kMaxSize = 1 << 24;

// Takes values out of the object; keeps the first mistake.
class Reader {
 public:
  Reader(const json& object, std::string_view source)
      : object_(object), source_(source) {}

  // An integer from 1 to kMaxSize; 0 if the key is absent and may be.
  std::int32_t Size(const char* key, bool required = true) {
    const json* value = Find(key);
    if (value == nullptr) {
      if (required) Fail(key, "is missing");
      return 0;
    }
    if (!value->is_number_integer() || *value < 1 || *value > kMaxSize) {
      Fail(key, "is no whole number from 1 to 2^24");
      return 0;
    }
    return value->get<std::int32_t>();
  }
  double Positive(const char* key, double fallback) {
    const json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() > 0) ||
        !std::isfinite(value->get<double>())) {
      Fail(key, "is no positive number");
      return fallback;
    }
    return value->get<double>();
  }
  bool Flag(const char* key) {
    const json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) Fail(key, "is neither true nor false");
    return value->is_boolean() && value->get<bool>();
  }
  std::vector<TokenId> Tokens(const char* key) {
    const json* value = Find(key);
    std::vector<TokenId> tokens;
    if (value == nullptr) return tokens;
    for (const json& token :
         value->is_array() ? *value : json::array({*value})) {
      if (!token.is_number_integer() || token < 0 || token > kMaxSize) {
        Fail(key, "is no token id, nor a list of them");
        break;
      }
      tokens.push_back(token.get<TokenId>());
    }
    return tokens;
  }
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void Fail(const char* key, std::string_view what) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrFormat("%s: %s %s", source_, key, what));
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  const json& object_;
  std::string source_;
  absl::Status status_;
};

void CheckArchitecture(Reader& reader, const LlamaConfig& config) {
  if (reader.Find("rope_scaling") != nullptr) {
    reader.Fail("rope_scaling", "is set, and this engine does not scale");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (reader.Flag(key)) reader.Fail(key, "is set, and this engine has none");
  }
  const json* activation = reader.Find("hidden_act");
  if (activation != nullptr && *activation != "silu") {
    reader.Fail("hidden_act", "is not silu");
  }
  if (!reader.status().ok()) return;
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.Fail("num_key_value_heads", "does not divide num_attention_heads");
  } else if (config.head_dim % 2 != 0) {
    reader.Fail("head_dim", "is odd");
  } else if (std::int64_t{config.num_attention_heads} * config.head_dim >
             kMaxSize) {
    reader.Fail("head_dim", "is too large for num_attention_heads");
  }
}

}  // namespace

absl::StatusOr<LlamaConfig> ParseLlamaConfig(std::string_view text,
                                             std::string_view source) {
  const json object = json::parse(text.begin(), text.end(), nullptr,
                                  /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: is no JSON object", source));
  }
  Reader reader(object, source);
  const json* type = reader.Find("model_type");
  if (type == nullptr || *type != "llama") {
    reader.Fail("model_type", "is not llama");
  }
  LlamaConfig config;
  config.hidden_size = reader.Size("hidden_size");
  config.intermediate_size = reader.Size("intermediate_size");
  config.num_hidden_layers = reader.Size("num_hidden_layers");
  config.num_attention_heads = reader.Size("num_attention_heads");
  config.num_key_value_heads = reader.Size("num_key_value_heads", false);
  config.head_dim = reader.Size("head_dim", false);
  config.vocab_size = reader.Size("vocab_size");
  config.max_position_embeddings = reader.Size("max_position_embeddings");
  config.rope_theta = reader.Positive("rope_theta", config.rope_theta);
  config.rms_norm_eps = static_cast<float>(
      reader.Positive("rms_norm_eps", double{config.rms_norm_eps}));
  config.tie_word_embeddings = reader.Flag("tie_word_embeddings");
  config.eos_token_ids = reader.Tokens("eos_token_id");
  if (!reader.status().ok()) return reader.status();
  if (config.num_key_value_heads == 0) {
    config.num_key_value_heads = config.num_attention_heads;
  }
  if (config.head_dim == 0) {
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  CheckArchitecture(reader, config);
  if (!reader.status().ok()) return reader.status();
  return config;
}

}  // namespace pagedkv::engine
