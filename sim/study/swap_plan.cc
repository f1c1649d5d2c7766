// SPDX-License-Identifier: Apache-2.0
#include "sim/study/swap_plan.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/kv_geometry.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/study/option_checks.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

/// As of vLLM's v0 engine.
constexpr Bytes kDefaultSwapSpace{std::int64_t{4} << 30};

/// PCIe 4.0 x16 in one direction, where --gpu does not say.
constexpr std::int64_t kDefaultLinkBytesPerSecond = 31'508'000'000;

/// Share of a link's peak that large copies from pinned memory reach, about:
/// packet headers alone take 5 to 10 %. Not measured by us.
constexpr double kLinkEfficiency = 0.8;

constexpr double kFemtosecondsPerSecond = 1e15;

/// No more slots than this, so that sums stay within 63 bits.
constexpr std::int64_t kMaxSwapSlots = std::int64_t{1} << 40;

absl::StatusOr<TokenCount> SwapSlots(const SimOptions& options,
                                     const ModelPlan& model,
                                     BlockSize block_size) {
  if (options.num_swap_blocks) {
    std::int64_t slots = 0;
    if (__builtin_mul_overflow(*options.num_swap_blocks, block_size.value(),
                               &slots) ||
        slots > kMaxSwapSlots) {
      return OptionError(absl::StrFormat(
          "--num-swap-blocks %d: their slots are more than 2^40",
          *options.num_swap_blocks));
    }
    return TokenCount(slots);
  }
  if (!model.report.kv_bytes_per_token) {
    return OptionError(
        "--preemption swap needs --num-swap-blocks, or --model, --config or "
        "--kv-bytes-per-token to say what fits into --swap-space");
  }
  Bytes bytes = kDefaultSwapSpace;
  if (options.swap_space) {
    const absl::StatusOr<Bytes> given = ParseBytes(*options.swap_space);
    if (!given.ok()) return InOption("--swap-space", given.status());
    bytes = *given;
  }
  return std::min(SlotsOf(model, bytes), TokenCount(kMaxSwapSlots));
}

absl::StatusOr<std::int64_t> LinkBytesPerSecond(const SimOptions& options) {
  if (options.link_bandwidth) {
    constexpr std::string_view kPerSecond = "/s";
    std::string_view text = *options.link_bandwidth;
    if (text.ends_with(kPerSecond)) text.remove_suffix(kPerSecond.size());
    const absl::StatusOr<Bytes> given = ParseBytes(text);
    if (!given.ok()) return InOption("--link-bandwidth", given.status());
    if (given->value() < 1) {
      return OptionError("--link-bandwidth must be at least 1 byte per second");
    }
    return given->value();
  }
  std::int64_t peak = kDefaultLinkBytesPerSecond;
  if (options.gpu) {
    const absl::StatusOr<GpuSpec> gpu = FindGpu(*options.gpu);
    if (!gpu.ok()) return InOption("--gpu", gpu.status());
    peak = gpu->link_bytes_per_s;
  }
  return std::llround(static_cast<double>(peak) * kLinkEfficiency);
}

/// Of a token, on the GPU that has most of it.
Bytes RankBytesPerToken(const ModelPlan& model) {
  if (model.stages.empty()) return *model.report.kv_bytes_per_token;
  Bytes most{0};
  for (const KvGeometry& stage : model.stages) {
    most = std::max(most, stage.bytes_per_token());
  }
  return most;
}

}  // namespace

absl::Status PlanSwap(const SimOptions& options,
                      const std::vector<Policy>& policies,
                      const ModelPlan& model, BlockSize block_size,
                      SimulationOptions& simulation) {
  if (options.preemption != "swap" && options.preemption != "recompute") {
    return OptionError(
        absl::StrFormat("unknown --preemption '%s': use recompute or swap",
                        options.preemption));
  }
  if (options.preemption == "recompute") {
    return Refuse({{"--swap-space", options.swap_space.has_value()},
                   {"--num-swap-blocks", options.num_swap_blocks.has_value()},
                   {"--link-bandwidth", options.link_bandwidth.has_value()}},
                  "needs --preemption swap");
  }
  if (options.demand) {
    return OptionError(
        "--preemption swap contradicts --demand, where nobody is preempted");
  }
  absl::Status status =
      AtMostOne({{"--swap-space", options.swap_space.has_value()},
                 {"--num-swap-blocks", options.num_swap_blocks.has_value()}});
  if (!status.ok()) return status;
  const absl::StatusOr<TokenCount> slots =
      SwapSlots(options, model, block_size);
  if (!slots.ok()) return slots.status();
  bool is_used = false;
  for (const Policy& policy : policies) {
    if (policy.kind != PolicyKind::kPaged) continue;
    is_used = true;
    if (policy.block_size.FullBlocks(*slots) < BlockCount(1)) {
      return OptionError(absl::StrFormat(
          "--preemption swap: the swap space of %d slots holds no block of "
          "policy %s: give a larger --swap-space or --num-swap-blocks",
          slots->value(), policy.id()));
    }
  }
  if (!is_used) {
    return OptionError("--preemption swap needs a paged policy in --policies");
  }
  simulation.swap_slots = *slots;
  if (simulation.clock != ClockKind::kModel) {
    return Refuse({{"--link-bandwidth", options.link_bandwidth.has_value()}},
                  "needs --clock model: others do not say what a step takes");
  }
  if (!model.report.kv_bytes_per_token) {
    return OptionError(
        "--preemption swap with --clock model needs --model, --config or "
        "--kv-bytes-per-token: what is moved takes time");
  }
  const absl::StatusOr<std::int64_t> link = LinkBytesPerSecond(options);
  if (!link.ok()) return link.status();
  const double femtoseconds =
      std::round(static_cast<double>(RankBytesPerToken(model).value()) *
                 kFemtosecondsPerSecond / static_cast<double>(*link));
  if (!(femtoseconds < 0x1p62)) {
    return OptionError(
        "--link-bandwidth: moving one token takes more than an hour");
  }
  simulation.link_bytes_per_s = *link;
  simulation.step_time.per_swapped_token =
      static_cast<std::int64_t>(femtoseconds);
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
