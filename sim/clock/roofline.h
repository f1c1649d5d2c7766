// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLOCK_ROOFLINE_H_
#define SIM_CLOCK_ROOFLINE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/catalogue/model_config.h"
#include "sim/clock/step_time.h"

namespace pagedkv::sim {

struct RooflineOptions {
  std::int32_t tensor_parallel = 1;
  std::int32_t pipeline_parallel = 1;
  /// Shares of the GPU's peak that are reached; 1: the bound.
  double compute_efficiency = 1.0;
  double bandwidth_efficiency = 1.0;
  std::optional<KvFormat> kv_format = {};  ///< missing: the model's own
  std::optional<Bytes> weights = {};       ///< missing: the checkpoint's
};

/// What a step takes at least on this GPU, communication and launches for
/// nothing: the longer of
///
///   memory   each rank's weights once per step, and the KV of each resident
///            token of the scheduled sequences, at the GPU's bandwidth
///   compute  2 * active parameters FLOPs per computed token, and for
///            attention 2 * heads * (key + value size) per layer and prefill
///            pair, at the GPU's bf16 rate
///
/// Tensor-parallel ranks divide both (KV heads that they share are read by
/// each). A step passes through the pipeline's stages in turn, so stages save
/// memory and no time. Attention counts all tokens, windows or not, and all
/// experts' weights are read, so that for models with either and small batches
/// this is no lower bound.
///
/// FailedPrecondition where parameters or weights are not known,
/// InvalidArgument for options out of range.
absl::StatusOr<StepTime> Roofline(const ModelSpec& model, const GpuSpec& gpu,
                                  const RooflineOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_CLOCK_ROOFLINE_H_
