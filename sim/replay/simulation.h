// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_SIMULATION_H_
#define SIM_REPLAY_SIMULATION_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pagedkv/types.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sim/accounting/causes.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

enum class PolicyKind {
  kPaged,               ///< paged-<block size>
  kContiguousMax,       ///< contiguous-max: the model's maximum, buddy
  kContiguousPow2,      ///< contiguous-pow2: output over-reserved by up to 2x
  kContiguousOracle,    ///< contiguous-oracle: the true length, buddy
  kContiguousMaxExact,  ///< contiguous-max-exact: one arena of max per request
  kConcat,              ///< concat: exact, grown by copy
};

/// One allocator under test.
struct Policy {
  PolicyKind kind = PolicyKind::kPaged;
  BlockSize block_size{16};  ///< kPaged only

  /// From an id as on the command line; InvalidArgument lists the known ones.
  static absl::StatusOr<Policy> Parse(std::string_view id);
  /// The id as on the command line and in reports.
  [[nodiscard]] std::string id() const;
};

enum class ClockKind {
  kIteration,  ///< time counts steps (1 step = 1 s); the queue is saturated
  kFixed,      ///< every step takes `step_ns`; arrivals at their own times
};

struct SimulationOptions {
  /// Slots of the pool; the null block of a paged policy comes out of it.
  TokenCount capacity{0};
  /// Instead of `capacity`: as much as the workload ever needs, no queueing.
  bool demand = false;
  TokenCount max_sequence_tokens{0};
  ClockKind clock = ClockKind::kIteration;
  std::int64_t step_ns = 1'000'000'000;
  /// Offer requests as fast as they are admitted; implied by kIteration.
  bool saturate = false;
  std::int32_t max_num_seqs = 256;
  TokenCount max_num_batched_tokens{8192};
  double watermark = 0.0;  ///< paged policies only
};

/// The state between two events: it holds for `duration_ns` from `begin_ns`.
struct Sample {
  std::int64_t begin_ns = 0;
  std::int64_t duration_ns = 0;
  bool is_step = false;  ///< one engine step, not a wait for an arrival
  CauseSlots slots;
  std::int32_t running = 0;      ///< resident sequences
  std::int32_t waiting = 0;      ///< arrived, not admitted
  std::int32_t preemptions = 0;  ///< in this step
  std::int64_t largest_free_slots = 0;
};

/// What became of one request. Times are -1 where it never happened.
struct RequestRecord {
  std::int64_t id = 0;
  std::int64_t arrival_ns = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int64_t admit_ns = -1;
  std::int64_t finish_ns = -1;
  std::int64_t slots_granted = 0;  ///< at the most
  double waste_slot_s = 0;         ///< integral of its internal and round-up
  double reserved_slot_s = 0;      ///< integral of its reserved slots
  std::int32_t preemptions = 0;
  std::int64_t hit_tokens = 0;
  Cause blocked_cause = Cause::kToken;  ///< longest wait; kToken: never blocked
  bool rejected = false;                ///< can never fit
};

/// Receives a simulation as it goes on. Calls come in order of time.
class SimulationObserver {
 public:
  virtual ~SimulationObserver() = default;
  virtual void OnSample(const Sample& sample) = 0;
  /// When the request has finished or is rejected.
  virtual void OnRequest(const RequestRecord& record) = 0;
  /// Polled at every step: true stops the simulation (Cancelled).
  virtual bool ShouldStop() { return false; }
};

/// What is counted over a whole run.
struct SimulationTotals {
  std::int64_t steps = 0;
  std::int64_t end_ns = 0;
  std::int64_t finished = 0;
  std::int64_t rejected = 0;
  std::int64_t capacity_slots = 0;  ///< in demand mode: what was needed
  std::int64_t peak_slots = 0;      ///< highest allocated()
  std::int64_t preemptions = 0;
  std::int64_t recomputed_tokens = 0;
  std::int32_t max_preemptions_per_request = 0;
  std::int64_t livelocked_requests = 0;
  std::int64_t copied_slots = 0;          ///< concat: slots copied to grow
  std::int64_t transient_peak_slots = 0;  ///< concat: old and new at a time
  /// Time with a request at the head of the queue, by cause:
  /// kBlockedCapacity, kBlockedFragmented, kWatermark, kBlockedPolicy.
  std::int64_t blocked_capacity_ns = 0;
  std::int64_t blocked_fragmented_ns = 0;
  std::int64_t blocked_watermark_ns = 0;
  std::int64_t blocked_policy_ns = 0;
};

/// Runs `requests`, in order of arrival, through one policy. Paged policies run
/// on the library's scheduler and manager. The same inputs give the same calls.
/// InvalidArgument for options out of range; Internal if the causes ever fail
/// to sum to the capacity; Cancelled if the observer stopped it.
absl::StatusOr<SimulationTotals> Simulate(
    const Policy& policy, const SimulationOptions& options,
    std::span<const TraceRequest> requests, SimulationObserver& observer);

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_SIMULATION_H_
