// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CATALOGUE_MODEL_CATALOGUE_H_
#define SIM_CATALOGUE_MODEL_CATALOGUE_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/catalogue/model_config.h"

namespace pagedkv::sim {

/// The models of models.json, which is part of the binary, in its order.
absl::StatusOr<std::vector<ModelSpec>> KnownModels();

/// One of them, by name in any case. NotFound lists the known names.
absl::StatusOr<ModelSpec> FindModel(std::string_view name);

/// Reads the text of a catalogue; `source` names it in errors.
absl::StatusOr<std::vector<ModelSpec>> ParseModelCatalogue(
    std::string_view text, std::string_view source);

}  // namespace pagedkv::sim

#endif  // SIM_CATALOGUE_MODEL_CATALOGUE_H_
