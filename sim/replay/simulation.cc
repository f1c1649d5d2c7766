// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/simulation.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>

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
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

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
  return absl::OkStatus();
}

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

// Runs a workload through one engine.
absl::StatusOr<SimulationTotals> RunReplica(const GrantRule& rule,
                                            const SimulationOptions& options,
                                            const OpenSource& open,
                                            LiveRequests& requests,
                                            Batcher& batcher,
                                            SimulationObserver& observer) {
  const absl::StatusOr<std::unique_ptr<RequestSource>> source = open();
  if (!source.ok()) return source.status();
  Replica replica(rule, options, options.capacity.value(), requests, batcher,
                  observer);
  const absl::Status status =
      ReplayLoop(options, **source, replica, observer).Run();
  if (!status.ok()) return status;
  return replica.Totals();
}

// One run of a baseline, with the figures that only its memory knows.
absl::StatusOr<SimulationTotals> RunContiguous(const GrantRule& rule,
                                               const SimulationOptions& options,
                                               const OpenSource& open,
                                               ContiguousMemory& memory,
                                               SimulationObserver& observer) {
  LiveRequests requests;
  ContiguousBatcher batcher(options.max_num_seqs,
                            options.max_num_batched_tokens, requests, memory);
  absl::StatusOr<SimulationTotals> totals =
      RunReplica(rule, options, open, requests, batcher, observer);
  if (totals.ok() && rule.policy().kind == PolicyKind::kConcat) {
    totals->copied_slots = memory.copied_slots();
    totals->transient_peak_slots = memory.extent_slots();
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
  const auto memory = ContiguousMemory::Create(rule, options.capacity,
                                               /*unbounded=*/true);
  SilentObserver silent(observer);
  const absl::StatusOr<SimulationTotals> totals =
      RunContiguous(rule, options, open, *memory, silent);
  if (!totals.ok()) return totals.status();

  options.capacity = TokenCount(memory->extent_slots());
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
  if (policy.kind != PolicyKind::kPaged) {
    const auto memory =
        ContiguousMemory::Create(rule, sized.capacity, options.demand);
    return RunContiguous(rule, sized, open, *memory, observer);
  }
  LiveRequests requests;
  const auto batcher = PagedBatcher::Create(policy.block_size, sized, requests);
  if (!batcher.ok()) return batcher.status();
  return RunReplica(rule, sized, open, requests, **batcher, observer);
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
