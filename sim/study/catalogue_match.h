// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_CATALOGUE_MATCH_H_
#define SIM_STUDY_CATALOGUE_MATCH_H_

/// What an engine calls its model and its GPU, found in the catalogues.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pagedkv/types.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/catalogue/model_config.h"
#include "sim/clock/step_time.h"

namespace pagedkv::sim {

/// "meta-llama/Llama-3.1-8B-Instruct" is llama-3.1-8b: the last part of the
/// path, without what tells a tuned model from its base.
std::optional<ModelSpec> MatchModel(std::string_view name);

/// "NVIDIA GeForce RTX 4090" is rtx-4090: all words of the catalogue's name
/// occur, sizes of memory aside, and among several the nearest `memory` wins.
std::optional<GpuSpec> MatchGpu(std::string_view device_name, Bytes memory);

struct HardwareNames {
  std::string model;
  std::string gpu;
  Bytes gpu_memory{0};  ///< 0: not known
  std::int32_t tensor_parallel = 1;
  std::int32_t pipeline_parallel = 1;
};

/// The roofline of both, where both are known and it can be drawn.
std::optional<StepTime> MatchingRoofline(const HardwareNames& names);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_CATALOGUE_MATCH_H_
