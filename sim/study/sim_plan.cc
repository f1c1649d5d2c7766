// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sim_plan.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "pagedkv/eviction_policy.h"
#include "pagedkv/types.h"
#include "sim/report/decimal.h"
#include "sim/study/fleet_plan.h"
#include "sim/study/option_checks.h"
#include "sim/study/pool_plan.h"
#include "sim/study/step_time_plan.h"
#include "sim/study/swap_plan.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

/// Limits of counts from the command line: far beyond any sensible one, and
/// small enough that sums and products of a few stay within 63 bits.
constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;

/// With it, 10^8 steps stay within 63 bits of nanoseconds.
constexpr std::int64_t kMaxStepNs = 60'000'000'000;

absl::Status CheckCounts(const SimOptions& options) {
  const struct {
    std::string_view option;
    std::optional<std::int64_t> value;
    std::int64_t most;
  } counts[] = {
      {"--requests", options.requests, kMaxCount},
      {"--kv-bytes-per-token", options.kv_bytes_per_token, kMaxCount},
      {"--max-seq-len", options.max_seq_len, kMaxSequenceTokens.value()},
      {"--num-blocks", options.num_blocks, kMaxCount},
      {"--num-swap-blocks", options.num_swap_blocks, kMaxCount},
      {"--block-size", options.block_size, kMaxSequenceTokens.value()},
      {"--max-num-seqs", options.max_num_seqs, kMaxCount},
      {"--max-num-batched-tokens", options.max_num_batched_tokens, kMaxCount},
  };
  for (const auto& [option, value, most] : counts) {
    if (!value) continue;
    absl::Status status = CheckRange(option, *value, 1, most);
    if (!status.ok()) return status;
  }
  return CheckRange("--seed", options.seed, 0, kMaxCount);
}

absl::StatusOr<WorkloadOptions> PlanWorkload(const SimOptions& options) {
  if (options.trace.has_value() == options.workload.has_value()) {
    return OptionError("give either --trace FILE or --workload NAME");
  }
  if (!options.trace) {
    absl::Status refused = Refuse({{"--skip-malformed", options.skip_malformed},
                                   {"--strict", options.strict},
                                   {"--sort", options.sort}},
                                  "is for a --trace");
    if (!refused.ok()) return refused;
  }
  if (options.rate && !(std::isfinite(*options.rate) && *options.rate > 0)) {
    return OptionError(
        "--rate must be a positive number of requests per second");
  }
  WorkloadOptions workload;
  workload.trace = options.trace.value_or("");
  workload.workload = options.workload.value_or("");
  workload.requests = options.requests.value_or(0);
  workload.rate = options.rate.value_or(0);
  workload.seed = static_cast<std::uint64_t>(options.seed);
  workload.skip_malformed = options.skip_malformed;
  workload.strict = options.strict;
  workload.sort = options.sort;
  workload.sessions = options.sessions;
  return workload;
}

/// Sharing of content, sessions and fleet; returns `simulation` with them.
absl::StatusOr<SimulationOptions> PlanPrefixCache(
    const SimOptions& options, const std::vector<Policy>& policies,
    SimulationOptions simulation) {
  if (options.prefix_cache != "on" && options.prefix_cache != "off") {
    return OptionError(absl::StrFormat(
        "unknown --prefix-cache '%s': use on or off", options.prefix_cache));
  }
  simulation.prefix_cache = options.prefix_cache == "on";
  if (simulation.prefix_cache) {
    if (options.demand) {
      return OptionError(
          "--prefix-cache on contradicts --demand: an unbounded cache would "
          "keep everything");
    }
    if (std::none_of(policies.begin(), policies.end(), [](const Policy& each) {
          return each.kind == PolicyKind::kPaged;
        })) {
      return OptionError(
          "--prefix-cache on needs a paged policy in --policies");
    }
  }
  if (options.eviction) {
    if (!simulation.prefix_cache) {
      return OptionError("--eviction needs --prefix-cache on");
    }
    const std::vector<std::string> known = EvictionPolicyNames();
    if (std::find(known.begin(), known.end(), *options.eviction) ==
        known.end()) {
      return OptionError(absl::StrFormat("unknown --eviction '%s': use %s",
                                         *options.eviction,
                                         absl::StrJoin(known, ", ")));
    }
    simulation.eviction_policy = *options.eviction;
  }
  absl::StatusOr<FleetOptions> fleet = PlanFleet(options, simulation);
  if (!fleet.ok()) return fleet.status();
  simulation.fleet = *std::move(fleet);
  return simulation;
}

/// The clock; the step times of --clock model come later.
absl::Status PlanClock(const SimOptions& options,
                       SimulationOptions& simulation) {
  if (options.clock != "fixed") {
    absl::Status refused =
        Refuse({{"--step-time", options.step_time.has_value()}},
               "needs --clock fixed, where every step takes the same");
    if (!refused.ok()) return refused;
  }
  if (options.clock != "model") {
    absl::Status refused =
        Refuse({{"--step-time-preset", options.step_time_preset.has_value()}},
               "needs --clock model");
    if (!refused.ok()) return refused;
  }
  if (options.clock == "iteration") {
    simulation.clock = ClockKind::kIteration;
    return Refuse({{"--slo-ttft", options.slo_ttft.has_value()},
                   {"--slo-tpot", options.slo_tpot.has_value()}},
                  "needs --clock fixed or model: the iteration clock counts "
                  "steps");
  }
  if (options.clock == "fixed") {
    simulation.clock = ClockKind::kFixed;
    if (!options.step_time) {
      return OptionError("--clock fixed needs --step-time, for example 20ms");
    }
    const absl::StatusOr<std::int64_t> step_ns =
        ParseDurationNs(*options.step_time);
    if (!step_ns.ok()) return InOption("--step-time", step_ns.status());
    if (*step_ns < 1 || *step_ns > kMaxStepNs) {
      return OptionError("--step-time must be from 1ns to 1min");
    }
    simulation.step_ns = *step_ns;
    return absl::OkStatus();
  }
  if (options.clock == "model") {
    simulation.clock = ClockKind::kModel;
    return absl::OkStatus();
  }
  return OptionError(absl::StrFormat(
      "unknown --clock '%s': use iteration, fixed or model", options.clock));
}

absl::StatusOr<ServiceLevel> PlanServiceLevel(const SimOptions& options) {
  ServiceLevel level;
  const struct {
    const char* option;
    const std::optional<std::string>& text;
    std::optional<std::int64_t>& limit_ns;
  } limits[] = {{"--slo-ttft", options.slo_ttft, level.ttft_ns},
                {"--slo-tpot", options.slo_tpot, level.tpot_ns}};
  for (const auto& [option, text, limit_ns] : limits) {
    if (!text) continue;
    const absl::StatusOr<std::int64_t> parsed = ParseDurationNs(*text);
    if (!parsed.ok()) return InOption(option, parsed.status());
    limit_ns = *parsed;
  }
  return level;
}

/// Clock, limits and watermark; pool, length and step times come later.
absl::StatusOr<SimulationOptions> PlanSimulation(
    const SimOptions& options, const std::vector<Policy>& policies) {
  SimulationOptions simulation;
  simulation.demand = options.demand;
  simulation.saturate = options.saturate;
  absl::Status clock = PlanClock(options, simulation);
  if (!clock.ok()) return clock;
  const bool saturated =
      options.saturate || simulation.clock == ClockKind::kIteration;
  if (saturated && options.demand) {
    return OptionError(
        "--demand needs arrival times: give --clock fixed or model, and no "
        "--saturate");
  }
  if (saturated && options.rate) {
    return OptionError(
        "--rate sets arrival times, which --saturate and --clock iteration "
        "ignore: give --clock fixed or model, and no --saturate");
  }
  if (saturated) {
    absl::Status refused =
        Refuse({{"--slo-ttft", options.slo_ttft.has_value()}},
               "counts from the arrival, which --saturate ignores");
    if (!refused.ok()) return refused;
  }
  if (options.demand) {
    absl::Status refused =
        Refuse({{"--max-num-seqs", options.max_num_seqs.has_value()},
                {"--max-num-batched-tokens",
                 options.max_num_batched_tokens.has_value()},
                {"--watermark", options.watermark.has_value()},
                {"--window saturated", options.window == "saturated"}},
               "contradicts --demand, where no request ever waits");
    if (!refused.ok()) return refused;
  }
  if (options.max_num_seqs) {
    simulation.max_num_seqs = *options.max_num_seqs;
  }
  if (options.max_num_batched_tokens) {
    simulation.max_num_batched_tokens =
        TokenCount(*options.max_num_batched_tokens);
  }
  if (options.watermark) {
    if (!(*options.watermark >= 0 && *options.watermark < 1)) {
      return OptionError("--watermark must be a share from 0 to below 1");
    }
    if (std::none_of(policies.begin(), policies.end(), [](const Policy& each) {
          return each.kind == PolicyKind::kPaged;
        })) {
      return OptionError("--watermark needs a paged policy in --policies");
    }
    simulation.watermark = *options.watermark;
  }
  return PlanPrefixCache(options, policies, simulation);
}

absl::StatusOr<Weight> ParseWeight(const std::string& text) {
  for (const Weight weight : {Weight::kTime, Weight::kIteration}) {
    if (text == WeightName(weight)) return weight;
  }
  return OptionError(
      absl::StrFormat("unknown --weight '%s': use time or iteration", text));
}

absl::StatusOr<WindowKind> ParseWindow(const std::string& text) {
  for (const WindowKind window :
       {WindowKind::kAll, WindowKind::kBusy, WindowKind::kSaturated}) {
    if (text == WindowName(window)) return window;
  }
  return OptionError(absl::StrFormat(
      "unknown --window '%s': use all, busy or saturated", text));
}

/// Where the queue is saturated from the start, so is the memory, and a stretch
/// from there shows each sequence come and go. Elsewhere nobody knows
/// beforehand where it gets tight: the map is of the whole run.
absl::StatusOr<MemoryMapOptions> PlanMemoryMap(const SimOptions& options,
                                               bool saturated) {
  constexpr std::int64_t kSaturatedSamples = 1'920;  // 8 for each frame
  MemoryMapOptions map;
  if (options.map_from) {
    const absl::StatusOr<std::int64_t> from =
        ParseDurationNs(*options.map_from);
    if (!from.ok()) return InOption("--map-from", from.status());
    map.from_ns = *from;
  }
  if (options.map_span) {
    const absl::StatusOr<std::int64_t> span =
        ParseDurationNs(*options.map_span);
    if (!span.ok()) return InOption("--map-span", span.status());
    if (*span < 1 || *span > map.until_ns - map.from_ns) {
      return OptionError("--map-span must be from 1ns to 292 years");
    }
    map.until_ns = map.from_ns + *span;
  } else if (saturated) {
    map.max_samples = kSaturatedSamples;
  }
  return map;
}

/// The block size that --num-blocks counts in, and that scales shared between
/// tokens are laid out for.
absl::StatusOr<BlockSize> PoolBlockSize(const SimOptions& options,
                                        const std::vector<Policy>& policies) {
  if (options.block_size) {
    return BlockSize(*options.block_size);
  }
  for (const Policy& policy : policies) {
    if (policy.kind == PolicyKind::kPaged) return policy.block_size;
  }
  return Policy().block_size;
}

}  // namespace

absl::StatusOr<std::vector<Policy>> ParsePolicies(const std::string& list) {
  std::vector<Policy> policies;
  for (const auto piece : absl::StrSplit(list, ',')) {
    const std::string id(piece);
    absl::StatusOr<Policy> policy = Policy::Parse(id);
    if (!policy.ok()) return InOption("--policies", policy.status());
    if (std::find(policies.begin(), policies.end(), *policy) !=
        policies.end()) {
      return OptionError(
          absl::StrFormat("--policies: '%s' is given more than once", id));
    }
    policies.push_back(*policy);
  }
  return policies;
}

absl::StatusOr<SimPlan> MakeSimPlan(const SimOptions& options) {
  if (absl::Status status = CheckCounts(options); !status.ok()) return status;
  SimPlan plan;
  absl::StatusOr<std::vector<Policy>> policies =
      ParsePolicies(options.policies);
  if (!policies.ok()) return policies.status();
  plan.policies = *std::move(policies);

  absl::StatusOr<WorkloadOptions> workload = PlanWorkload(options);
  if (!workload.ok()) return workload.status();
  plan.workload = *std::move(workload);

  absl::StatusOr<SimulationOptions> simulation =
      PlanSimulation(options, plan.policies);
  if (!simulation.ok()) return simulation.status();
  plan.simulation = *std::move(simulation);

  const absl::StatusOr<ServiceLevel> level = PlanServiceLevel(options);
  if (!level.ok()) return level.status();
  plan.level = *level;

  if (options.usd_per_gpu_hour && !(std::isfinite(*options.usd_per_gpu_hour) &&
                                    *options.usd_per_gpu_hour > 0)) {
    return OptionError("--usd-per-gpu-hour must be a positive number");
  }
  plan.usd_per_gpu_hour = options.usd_per_gpu_hour;

  const absl::StatusOr<Weight> weight = ParseWeight(options.weight);
  if (!weight.ok()) return weight.status();
  plan.weight = *weight;
  const bool saturated = plan.simulation.saturate ||
                         plan.simulation.clock == ClockKind::kIteration;
  plan.window = saturated ? WindowKind::kSaturated : WindowKind::kBusy;
  if (options.window) {
    const absl::StatusOr<WindowKind> window = ParseWindow(*options.window);
    if (!window.ok()) return window.status();
    plan.window = *window;
  }

  const absl::StatusOr<MemoryMapOptions> map =
      PlanMemoryMap(options, saturated);
  if (!map.ok()) return map.status();
  plan.memory_map = *map;

  const absl::StatusOr<BlockSize> block_size =
      PoolBlockSize(options, plan.policies);
  if (!block_size.ok()) return block_size.status();
  absl::StatusOr<ModelPlan> model = PlanModel(options, *block_size);
  if (!model.ok()) return model.status();
  absl::StatusOr<ReportPool> pool = PlanPool(options, *model, *block_size);
  if (!pool.ok()) return pool.status();
  absl::StatusOr<StepTime> step_time = PlanStepTime(options, *model);
  if (!step_time.ok()) return step_time.status();
  plan.simulation.step_time = *std::move(step_time);
  absl::Status swap =
      PlanSwap(options, plan.policies, *model, *block_size, plan.simulation);
  if (!swap.ok()) return swap;
  plan.model = std::move(model->report);
  plan.hybrid = std::move(model->hybrid);
  plan.pool = *std::move(pool);
  plan.simulation.max_sequence_tokens = plan.model.max_sequence_tokens;
  plan.simulation.capacity = plan.pool.slots.value_or(TokenCount(0));
  plan.workload.max_sequence_tokens = plan.model.max_sequence_tokens.value();
  plan.workload.token_ids = plan.simulation.prefix_cache;
  return plan;
}

}  // namespace pagedkv::sim
