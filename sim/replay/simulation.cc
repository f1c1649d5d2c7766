// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/simulation.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/types.h"
#include "sim/replay/contiguous_batcher.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/paged_batcher.h"
#include "sim/replay/policy.h"
#include "sim/replay/replay_loop.h"
#include "sim/replay/replica.h"
#include "sim/replay/router.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

absl::Status CheckFleet(const SimulationOptions& options) {
  const FleetOptions& fleet = options.fleet;
  if (fleet.num_replicas < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "num_replicas is %d; it must be at least 1", fleet.num_replicas));
  }
  if (fleet.num_replicas > 1 && (options.demand || IsSaturated(options))) {
    return absl::InvalidArgumentError(
        "a fleet needs arrival times and a pool of a size");
  }
  if (fleet.knowledge_delay_ns < 0) {
    return absl::InvalidArgumentError("knowledge_delay_ns must be at least 0");
  }
  std::vector<std::int64_t> up_ns(static_cast<std::size_t>(fleet.num_replicas),
                                  0);
  for (const Outage& outage : fleet.outages) {
    if (outage.replica < 0 || outage.replica >= fleet.num_replicas) {
      return absl::InvalidArgumentError(
          absl::StrFormat("an outage of replica %d; there are %d, from 0 on",
                          outage.replica, fleet.num_replicas));
    }
    std::int64_t& up = up_ns[static_cast<std::size_t>(outage.replica)];
    if (outage.begin_ns < up || outage.end_ns <= outage.begin_ns) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "an outage of replica %d from %d to %d ns: it must end after it "
          "begins, and begin after the one before it",
          outage.replica, outage.begin_ns, outage.end_ns));
    }
    up = outage.end_ns;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const SimulationOptions& options) {
  if (options.demand && IsSaturated(options)) {
    return absl::InvalidArgumentError(
        "the demand of a saturated queue is unbounded: use the fixed clock and "
        "arrival times");
  }
  if (!options.demand && options.capacity.value() < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("capacity is %d tokens; it must be at least 1",
                        options.capacity.value()));
  }
  const TokenCount length = options.max_sequence_tokens;
  if (length < TokenCount(1) || length > kMaxSequenceTokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_sequence_tokens is %d; it must be from 1 to %d",
                        length.value(), kMaxSequenceTokens.value()));
  }
  if (options.step_ns < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "step_ns is %d; it must be at least 1", options.step_ns));
  }
  if (options.max_num_seqs < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_num_seqs is %d; it must be at least 1", options.max_num_seqs));
  }
  if (options.max_num_batched_tokens.value() < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_num_batched_tokens is %d; it must be at least 1",
                        options.max_num_batched_tokens.value()));
  }
  if (options.swap_slots < TokenCount(0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("swap_slots is %d; it must not be negative",
                        options.swap_slots.value()));
  }
  return CheckFleet(options);
}

namespace {

// Sees nothing, but may still be told to stop.
class SilentObserver : public SimulationObserver {
 public:
  explicit SilentObserver(SimulationObserver& observer) : observer_(observer) {}
  void OnSample(const Sample&) override {}
  void OnRequest(const RequestRecord&) override {}
  bool ShouldStop() override { return observer_.ShouldStop(); }

 private:
  SimulationObserver& observer_;
};

// One engine's memory and batcher, of either kind.
struct Engine {
  LiveRequests requests;
  std::unique_ptr<ContiguousMemory> memory;  // of a baseline
  std::unique_ptr<Batcher> batcher;
};

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(
    const GrantRule& rule, const SimulationOptions& options, bool unbounded) {
  auto engine = std::make_unique<Engine>();
  if (rule.policy().kind != PolicyKind::kPaged || unbounded) {
    engine->memory =
        ContiguousMemory::Create(rule, options.capacity, options.demand);
    engine->batcher = std::make_unique<ContiguousBatcher>(
        options.max_num_seqs, options.max_num_batched_tokens, engine->requests,
        *engine->memory);
    return engine;
  }
  auto batcher =
      PagedBatcher::Create(rule.policy().block_size, options, engine->requests);
  if (!batcher.ok()) return batcher.status();
  engine->batcher = *std::move(batcher);
  return engine;
}

void AddReplica(const SimulationTotals& replica, SimulationTotals& sum) {
  sum.steps += replica.steps;
  sum.end_ns = std::max(sum.end_ns, replica.end_ns);
  sum.finished += replica.finished;
  sum.rejected += replica.rejected;
  sum.peak_slots = std::max(sum.peak_slots, replica.peak_slots);
  sum.peak_running = std::max(sum.peak_running, replica.peak_running);
  sum.peak_step_tokens =
      std::max(sum.peak_step_tokens, replica.peak_step_tokens);
  sum.preemptions += replica.preemptions;
  sum.recomputed_tokens += replica.recomputed_tokens;
  sum.swaps += replica.swaps;
  sum.swapped_blocks += replica.swapped_blocks;
  sum.swapped_tokens += replica.swapped_tokens;
  sum.hits += replica.hits;
  sum.max_preemptions_per_request = std::max(
      sum.max_preemptions_per_request, replica.max_preemptions_per_request);
  sum.livelocked_requests += replica.livelocked_requests;
  sum.copied_slots += replica.copied_slots;
  sum.transient_peak_slots =
      std::max(sum.transient_peak_slots, replica.transient_peak_slots);
  sum.blocked_capacity_ns += replica.blocked_capacity_ns;
  sum.blocked_fragmented_ns += replica.blocked_fragmented_ns;
  sum.blocked_watermark_ns += replica.blocked_watermark_ns;
  sum.blocked_policy_ns += replica.blocked_policy_ns;
}

// Of one replica, with the figures that only its memory knows.
SimulationTotals TotalsOf(const Replica& replica, const Engine& engine,
                          PolicyKind kind) {
  SimulationTotals totals = replica.Totals();
  if (kind == PolicyKind::kConcat) {
    totals.copied_slots = engine.memory->copied_slots();
    totals.transient_peak_slots = engine.memory->extent_slots();
  }
  return totals;
}

// Runs a workload through as many engines as the options say.
absl::StatusOr<SimulationTotals> RunEngines(
    const GrantRule& rule, const SimulationOptions& options,
    const OpenSource& open, std::span<const std::unique_ptr<Engine>> engines,
    SimulationObserver& observer) {
  const absl::StatusOr<std::unique_ptr<RequestSource>> source = open();
  if (!source.ok()) return source.status();
  std::vector<Replica> replicas;
  replicas.reserve(engines.size());
  for (const std::unique_ptr<Engine>& engine : engines) {
    replicas.emplace_back(rule, options, options.capacity.value(),
                          engine->requests, *engine->batcher, observer,
                          static_cast<std::int32_t>(replicas.size()));
  }
  Router router(options.fleet, rule.policy().block_size, options.trace_block);
  ReplayLoop loop(options, **source, replicas, router, observer);
  if (absl::Status status = loop.Run(); !status.ok()) return status;

  const PolicyKind kind = rule.policy().kind;
  SimulationTotals totals = TotalsOf(replicas.front(), *engines.front(), kind);
  if (engines.size() == 1) return totals;
  totals.replicas.assign(loop.routed().begin(), loop.routed().end());
  for (std::size_t i = 0; i < engines.size(); ++i) {
    const SimulationTotals own = TotalsOf(replicas[i], *engines[i], kind);
    if (i > 0) AddReplica(own, totals);
    totals.replicas[i].finished = own.finished;
    totals.replicas[i].preemptions = own.preemptions;
    totals.replicas[i].hits = own.hits;
  }
  return totals;
}

// Sets what a demand run leaves open: without queueing, who is resident when
// follows from the arrivals alone, so a first run in unbounded memory finds how
// much is needed, and the limits that do not bind.
absl::Status SizeForDemand(const GrantRule& rule, const OpenSource& open,
                           SimulationObserver& observer,
                           SimulationOptions& options) {
  options.capacity = ContiguousMemory::kUnbounded;
  options.max_num_seqs = std::numeric_limits<std::int32_t>::max();
  options.max_num_batched_tokens = ContiguousMemory::kUnbounded;
  options.watermark = 0.0;
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      MakeEngine(rule, options, /*unbounded=*/true);
  if (!engine.ok()) return engine.status();
  SilentObserver silent(observer);
  const absl::StatusOr<SimulationTotals> totals =
      RunEngines(rule, options, open, {&*engine, 1}, silent);
  if (!totals.ok()) return totals.status();

  options.capacity = TokenCount((*engine)->memory->extent_slots());
  options.max_num_seqs = std::max(1, totals->peak_running);
  options.max_num_batched_tokens =
      TokenCount(std::max<std::int64_t>(1, totals->peak_step_tokens));
  if (rule.policy().kind == PolicyKind::kPaged) {
    // The null block, and the one block that the library insists on.
    const std::int64_t block_size = rule.policy().block_size.value();
    options.capacity = std::max(options.capacity, TokenCount(block_size)) +
                       TokenCount(block_size);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SimulationTotals> Simulate(const Policy& policy,
                                          const SimulationOptions& options,
                                          const OpenSource& open,
                                          SimulationObserver& observer) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const GrantRule rule(policy, options.max_sequence_tokens);
  SimulationOptions sized = options;
  if (options.demand) {
    absl::Status status = SizeForDemand(rule, open, observer, sized);
    if (!status.ok()) return status;
  }
  std::vector<std::unique_ptr<Engine>> engines;
  for (std::int32_t i = 0; i < options.fleet.num_replicas; ++i) {
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        MakeEngine(rule, sized, /*unbounded=*/false);
    if (!engine.ok()) return engine.status();
    engines.push_back(*std::move(engine));
  }
  return RunEngines(rule, sized, open, engines, observer);
}

absl::StatusOr<SimulationTotals> Simulate(
    const Policy& policy, const SimulationOptions& options,
    std::span<const TraceRequest> requests, SimulationObserver& observer) {
  const auto open = [requests] {
    return std::make_unique<SpanSource>(requests);
  };
  return Simulate(policy, options, open, observer);
}

}  // namespace pagedkv::sim
