// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/roofline.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

constexpr double kFemtosecondsPerSecond = 1e15;

/// The least efficiency: below it, a typing error is likelier.
constexpr double kLeastEfficiency = 0.01;

absl::Status CheckEfficiency(const char* name, double efficiency) {
  if (efficiency >= kLeastEfficiency && efficiency <= 1) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "the %s efficiency must be from %g to 1", name, kLeastEfficiency));
}

/// Pairs of a token and a token that it attends to cost FLOPs in these layers.
std::int64_t AttentionLayers(const ModelSpec& model) {
  std::int64_t count = 0;
  for (const KvLayer& layer : model.layers) {
    switch (layer.kind) {
      case KvLayerKind::kFull:
      case KvLayerKind::kSlidingWindow:
      case KvLayerKind::kChunked:
      case KvLayerKind::kShared:
        ++count;
        break;
      case KvLayerKind::kCross:
      case KvLayerKind::kStateSpace:
      case KvLayerKind::kStateless:
        break;
    }
  }
  return count;
}

/// `amount` at `rate_per_s`. Double arithmetic that is rounded once at the end
/// gives the same number everywhere.
absl::StatusOr<std::int64_t> Femtoseconds(double amount, double rate_per_s) {
  const double time = std::round(amount * kFemtosecondsPerSecond / rate_per_s);
  if (!(time < 0x1p62)) {
    return absl::InvalidArgumentError(
        "the roofline: a step of more than an hour; give an efficiency nearer "
        "to 1");
  }
  return static_cast<std::int64_t>(time);
}

}  // namespace

absl::StatusOr<StepTime> Roofline(const ModelSpec& model, const GpuSpec& gpu,
                                  const RooflineOptions& options) {
  for (const auto& [name, efficiency] :
       {std::pair{"compute", options.compute_efficiency},
        std::pair{"bandwidth", options.bandwidth_efficiency}}) {
    absl::Status status = CheckEfficiency(name, efficiency);
    if (!status.ok()) return status;
  }
  const Bytes weights = options.weights.value_or(model.weights);
  if (model.active_parameters == 0 || weights.value() == 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the roofline needs the parameters and weights of model %s, which are "
        "not known: use a model of the catalogue",
        model.name));
  }
  const absl::StatusOr<KvGeometry> geometry =
      model.Geometry(BlockSize(16), options.kv_format);
  if (!geometry.ok()) return geometry.status();
  const absl::StatusOr<std::vector<KvGeometry>> stages =
      geometry->Shard(options.tensor_parallel, options.pipeline_parallel);
  if (!stages.ok()) return stages.status();
  Bytes rank_token_bytes{0};  // of one rank of each stage
  for (const KvGeometry& stage : *stages) {
    rank_token_bytes += stage.bytes_per_token();
  }
  const double ranks = options.tensor_parallel;
  const double bandwidth = static_cast<double>(gpu.bandwidth_bytes_per_s) *
                           options.bandwidth_efficiency;
  const double flops =
      static_cast<double>(gpu.bf16_flops_per_s) * options.compute_efficiency;
  const double pair_flops = 2.0 * static_cast<double>(AttentionLayers(model)) *
                            model.query_heads *
                            (model.key_head_size + model.value_head_size);

  StepTime time;
  const struct {
    std::int64_t* coefficient;
    double amount;
    double rate_per_s;
  } terms[] = {
      {&time.memory.per_step, static_cast<double>(weights.value()) / ranks,
       bandwidth},
      {&time.memory.per_resident_token,
       static_cast<double>(rank_token_bytes.value()), bandwidth},
      {&time.compute.per_computed_token,
       2.0 * static_cast<double>(model.active_parameters) / ranks, flops},
      {&time.compute.per_prefill_attention, pair_flops / ranks, flops},
  };
  for (const auto& [coefficient, amount, rate_per_s] : terms) {
    const absl::StatusOr<std::int64_t> femtoseconds =
        Femtoseconds(amount, rate_per_s);
    if (!femtoseconds.ok()) return femtoseconds.status();
    *coefficient = *femtoseconds;
  }
  const bool is_bound =
      options.compute_efficiency == 1 && options.bandwidth_efficiency == 1;
  time.preset = "roofline";
  time.model = model.name;
  time.source = absl::StrFormat(
      "roofline of %s on %s, tensor parallel %d, pipeline parallel %d, at %g "
      "of the peak FLOP/s and %g of the peak bandwidth%s",
      model.name, gpu.name, options.tensor_parallel, options.pipeline_parallel,
      options.compute_efficiency, options.bandwidth_efficiency,
      is_bound ? ": a bound, not a measurement" : ": not validated by us");
  return time;
}

}  // namespace pagedkv::sim
