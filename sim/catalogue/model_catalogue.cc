// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/model_catalogue.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/status.h"

#include "sim/catalogue/catalogue.h"
#include "sim/catalogue/embedded_files.h"

namespace pagedkv::sim {

absl::StatusOr<std::vector<ModelSpec>> ParseModelCatalogue(
    std::string_view text, std::string_view source) {
  return ParseCatalogue<ModelSpec>(
      text, source, "models",
      [](JsonObjectReader& row,
         const std::string& place) -> absl::StatusOr<ModelSpec> {
        constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
        const std::string name = row.Text({"name"});
        const std::string origin = row.Text({"source"});
        const std::int64_t parameters = row.Integer({"parameters"}, kMax);
        const std::int64_t active_parameters =
            row.IntegerOr({"active_parameters"}, parameters, parameters);
        const Bytes weights(row.Integer({"weights_bytes"}, kMax));
        const nlohmann::json* config = row.Find("config");
        if (config == nullptr) row.Fail("'config' is missing");
        if (!row.status().ok()) return row.status();
        absl::StatusOr<ModelSpec> model = ModelFromConfig(*config, place);
        if (!model.ok()) return model.status();
        model->name = name;
        model->source = origin;
        model->parameters = parameters;
        model->active_parameters = active_parameters;
        model->weights = weights;
        return model;
      });
}

absl::StatusOr<std::vector<ModelSpec>> KnownModels() {
  return ParseModelCatalogue(kModelsJson, "models.json");
}

absl::StatusOr<ModelSpec> FindModel(std::string_view name) {
  return FindByName(KnownModels(), "model", name);
}

}  // namespace pagedkv::sim
