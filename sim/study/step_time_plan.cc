// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_time_plan.h"

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/catalogue/gpu_catalogue.h"
#include "sim/clock/published_step_times.h"
#include "sim/clock/roofline.h"
#include "sim/study/option_checks.h"
#include "sim/study/step_time_file.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

constexpr char kOption[] = "--step-time-preset";

absl::StatusOr<StepTime> PlanRoofline(const SimOptions& options,
                                      const ModelPlan& model) {
  if (!model.spec || !options.gpu) {
    return OptionError(absl::StrFormat(
        "%s roofline needs --model and --gpu (which may stand beside "
        "--num-blocks, --memory or --demand)",
        kOption));
  }
  const absl::StatusOr<GpuSpec> gpu = FindGpu(*options.gpu);
  if (!gpu.ok()) return InOption("--gpu", gpu.status());
  RooflineOptions roofline;
  roofline.tensor_parallel = options.tensor_parallel.value_or(1);
  roofline.pipeline_parallel = options.pipeline_parallel.value_or(1);
  roofline.compute_efficiency = options.compute_efficiency.value_or(1.0);
  roofline.bandwidth_efficiency = options.bandwidth_efficiency.value_or(1.0);
  const absl::StatusOr<std::optional<KvFormat>> format = PlanKvFormat(options);
  if (!format.ok()) return format.status();
  roofline.kv_format = *format;
  if (options.weights) {
    const absl::StatusOr<Bytes> weights = ParseBytes(*options.weights);
    if (!weights.ok()) return InOption("--weights", weights.status());
    roofline.weights = *weights;
  }
  absl::StatusOr<StepTime> time = Roofline(*model.spec, *gpu, roofline);
  if (!time.ok()) return InOption(kOption, time.status());
  return time;
}

std::string KnownPresets() {
  std::string names = kRooflinePreset;
  for (const StepTime& time : PublishedStepTimes()) names += ", " + time.preset;
  return names;
}

}  // namespace

absl::StatusOr<StepTime> PlanStepTime(const SimOptions& options,
                                      const ModelPlan& model) {
  if (options.step_time_preset != kRooflinePreset) {
    absl::Status refused = Refuse(
        {{"--compute-efficiency", options.compute_efficiency.has_value()},
         {"--bandwidth-efficiency", options.bandwidth_efficiency.has_value()}},
        "needs --step-time-preset roofline");
    if (!refused.ok()) return refused;
  }
  if (options.clock != "model") return StepTime();
  if (!options.step_time_preset) {
    return OptionError(
        absl::StrFormat("--clock model needs %s: %s, or a file of pagedkv fit",
                        kOption, KnownPresets()));
  }
  const std::string& preset = *options.step_time_preset;
  if (preset == kRooflinePreset) return PlanRoofline(options, model);
  for (const StepTime& time : PublishedStepTimes()) {
    if (preset == time.preset) return time;
  }
  std::error_code ignored;
  if (!std::filesystem::exists(preset, ignored)) {
    return OptionError(absl::StrFormat(
        "%s: '%s' is neither a preset (%s) nor a file of pagedkv fit", kOption,
        preset, KnownPresets()));
  }
  absl::StatusOr<StepTime> time = ReadStepTime(preset);
  if (!time.ok()) return InOption(kOption, time.status());
  return time;
}

}  // namespace pagedkv::sim
