// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_MODEL_CONFIG_H_
#define SIM_CATALOGUE_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"

namespace pagedkv::sim {

/// Beyond any model there is: a larger number of layers, or a larger number or
/// size of heads, is a mistake in the input.
inline constexpr std::int32_t kMaxModelLayers = 1 << 14;
inline constexpr std::int32_t kMaxModelSize = 1 << 24;

/// What the KV cache of a model depends on.
struct ModelSpec {
  std::string name;
  std::string source;  ///< where the figures come from
  std::vector<KvLayer> layers;
  std::int32_t query_heads = 0;
  /// Elements of one query head's key and value; for a latent, of those that
  /// it is expanded to.
  std::int32_t key_head_size = 0;
  std::int32_t value_head_size = 0;
  TokenCount max_seq_len{0};    ///< 0: not stated
  std::int64_t parameters = 0;  ///< 0: not known
  /// Those that a token goes through: fewer where it is routed to experts.
  std::int64_t active_parameters = 0;  ///< 0: not known
  Bytes weights{0};  ///< of the published checkpoint; 0: not known

  /// The cache in blocks of `block_size`, stored as `format` instead of in the
  /// model's own dtype.
  [[nodiscard]] absl::StatusOr<KvGeometry> Geometry(
      BlockSize block_size, std::optional<KvFormat> format = {}) const;
};

/// `layers` with every K and V stored as `format`.
[[nodiscard]] std::vector<KvLayer> WithFormat(std::vector<KvLayer> layers,
                                              const KvFormat& format);

/// Reads the text of a Hugging Face `config.json`; `source` names it in errors
/// and becomes the model's source. Understands the usual keys under all of
/// their names, so that most decoders work, known `model_type` or not. A config
/// without dtype is taken as fp16. InvalidArgument names source, key and
/// mistake in one line.
absl::StatusOr<ModelSpec> ParseModelConfig(std::string_view text,
                                           const std::string& source);
/// The same from JSON that is already read.
absl::StatusOr<ModelSpec> ModelFromConfig(const nlohmann::json& config,
                                          const std::string& source);
/// The same from a file. NotFound if it cannot be read.
absl::StatusOr<ModelSpec> ReadModelConfig(const std::string& path);

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_MODEL_CONFIG_H_
