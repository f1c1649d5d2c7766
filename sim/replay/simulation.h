// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_SIMULATION_H_
#define SIM_REPLAY_SIMULATION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/clock/step_time.h"
#include "sim/hitcurve/hit_counts.h"
#include "sim/replay/fleet_options.h"
#include "sim/replay/memory_visitor.h"
#include "sim/replay/policy.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

enum class ClockKind {
  kIteration,  ///< time counts steps (1 step = 1 s); the queue is saturated
  kFixed,      ///< every step takes `step_ns`; arrivals at their own times
  kModel,      ///< a step takes what `step_time` says of it; arrivals likewise
};

/// Lengths are 32 bits, and chunks of a buddy allocator up to twice as long.
inline constexpr TokenCount kMaxSequenceTokens{std::int64_t{1} << 30};

struct SimulationOptions {
  /// Slots of the pool; the null block of a paged policy comes out of it.
  TokenCount capacity{0};
  /// Instead of `capacity`: as much as the workload ever needs. Nothing queues,
  /// so the limits and the watermark below do not apply. Needs arrival times:
  /// kFixed without `saturate`.
  bool demand = false;
  TokenCount max_sequence_tokens{0};
  ClockKind clock = ClockKind::kIteration;
  std::int64_t step_ns = 1'000'000'000;  ///< kFixed only
  StepTime step_time = {};               ///< kModel only
  /// Offer requests as fast as they are admitted; implied by kIteration.
  bool saturate = false;
  /// Turns of a session wait for the turn that they follow (`TraceRequest::
  /// follows`); otherwise, and saturated, they arrive as recorded.
  bool closed_loop = true;
  std::int32_t max_num_seqs = 256;
  TokenCount max_num_batched_tokens{8192};
  double watermark = 0.0;  ///< paged policies only
  /// Sequences of equal content share blocks; paged policies only, and requests
  /// whose content is known.
  bool prefix_cache = false;
  std::string eviction_policy = "lru";  ///< of `EvictionPolicyNames`
  /// More than 0: preemption is by swap, to so many slots; paged policies only.
  TokenCount swap_slots{0};
  /// Of the link to the swap space, that `step_time` counts with; 0: not known.
  std::int64_t link_bytes_per_s = 0;
  BlockSize trace_block{1};  ///< tokens of each of `TraceRequest::block_ids`
  /// Run decode steps in which nothing else happens all at once. It only saves
  /// time: what is observed is the same, to the last digit.
  bool fuse_steps = true;
  /// More than one replica needs arrival times; `capacity` is that of each.
  FleetOptions fleet = {};
};

/// Whether requests are offered as fast as they are admitted.
[[nodiscard]] inline bool IsSaturated(const SimulationOptions& options) {
  return options.saturate || options.clock == ClockKind::kIteration;
}

/// `SimulationTotals::livelocked_requests` counts the requests that were
/// preempted more often than this without getting further in between.
inline constexpr std::int32_t kLivelockPreemptions = 3;

/// The state between two events: it holds for `duration_ns` from `begin_ns`.
/// There is one for each engine step, with what the step computes in place,
/// and one for each wait for an arrival.
struct Sample {
  std::int32_t replica = 0;  ///< of a fleet
  std::int64_t begin_ns = 0;
  std::int64_t duration_ns = 0;
  bool is_step = false;  ///< one engine step, not a wait for an arrival
  CauseSlots slots;
  std::int32_t running = 0;      ///< resident sequences
  std::int32_t waiting = 0;      ///< arrived, not admitted
  std::int32_t preemptions = 0;  ///< in this step
  /// Why the head of the queue waits: a kBlocked cause or kWatermark; kIdle if
  /// nothing waits.
  Cause blocked = Cause::kIdle;
  std::int64_t head = -1;  ///< the request at the head of the queue, by id
  std::int64_t largest_free_slots = 0;
  StepWork work = {};  ///< of the step
};

/// What became of one request. Times are -1 where it never happened.
struct RequestRecord {
  std::int64_t id = 0;
  std::int64_t arrival_ns = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int64_t admit_ns = -1;
  std::int64_t first_token_ns = -1;  ///< the end of the step that sampled it
  std::int64_t finish_ns = -1;
  std::int64_t slots_granted = 0;  ///< at the most
  double waste_slot_s = 0;         ///< integral of its internal and round-up
  double reserved_slot_s = 0;      ///< integral of its reserved slots
  std::int32_t preemptions = 0;
  std::int64_t hit_tokens = 0;  ///< of the prompt, found in the prefix cache
  /// Why it waited longest, be it behind others; kToken: never blocked.
  Cause blocked_cause = Cause::kToken;
  bool rejected = false;  ///< can never fit
};

/// Receives a simulation as it goes on. Calls come in order of time.
class SimulationObserver {
 public:
  virtual ~SimulationObserver() = default;
  virtual void OnSample(const Sample& sample) = 0;
  /// When the request has finished or is rejected.
  virtual void OnRequest(const RequestRecord& record) = 0;
  /// `TraceRequest::id` of who starts to run at `now_ns`, for the first time or
  /// again, and of whose memory is taken away; before the sample of that time.
  virtual void OnAdmission(std::int64_t /*request*/, std::int64_t /*now_ns*/) {}
  virtual void OnPreemption(std::int64_t /*request*/, std::int64_t /*now_ns*/) {
  }
  /// Whether `WatchMemory` ever names anybody.
  [[nodiscard]] virtual bool WatchesMemory() const { return false; }
  /// Polled after every sample: who wants to see the memory that it is of;
  /// null: nobody. Policies that only count memory show none.
  virtual MemoryVisitor* WatchMemory(const Sample& /*sample*/) {
    return nullptr;
  }
  /// Polled at every step: true stops the simulation (Cancelled).
  virtual bool ShouldStop() { return false; }
};

/// What one replica of a fleet did.
struct ReplicaTotals {
  std::int64_t routed = 0;  ///< requests that it was given
  std::int64_t routed_prompt_tokens = 0;
  std::int64_t lost = 0;  ///< of these, by outages
  std::int64_t finished = 0;
  std::int64_t preemptions = 0;
  HitCounts hits = {};
};

/// What is counted over a whole run. Of a fleet, counts are sums over its
/// replicas, and peaks the highest of one.
struct SimulationTotals {
  std::int64_t steps = 0;
  std::int64_t end_ns = 0;
  std::int64_t finished = 0;
  std::int64_t rejected = 0;
  std::int64_t capacity_slots = 0;    ///< in demand mode: the least that served
  std::int64_t peak_slots = 0;        ///< highest allocated()
  std::int32_t peak_running = 0;      ///< most resident sequences
  std::int64_t peak_step_tokens = 0;  ///< most tokens computed by a step
  std::int64_t preemptions = 0;
  std::int64_t recomputed_tokens = 0;
  std::int64_t swaps = 0;           ///< preemptions that lost nothing
  std::int64_t swapped_blocks = 0;  ///< out and in, as the next
  std::int64_t swapped_tokens = 0;
  HitCounts hits;  ///< with `prefix_cache`: by requests as they are admitted
  std::int32_t max_preemptions_per_request = 0;
  std::int64_t livelocked_requests = 0;
  std::int64_t copied_slots = 0;  ///< concat: slots copied to grow
  /// concat: the most in use while one sequence has its old and its new copy.
  std::int64_t transient_peak_slots = 0;
  /// Time with a request at the head of the queue, by cause:
  /// kBlockedCapacity, kBlockedFragmented, kWatermark, kBlockedPolicy.
  std::int64_t blocked_capacity_ns = 0;
  std::int64_t blocked_fragmented_ns = 0;
  std::int64_t blocked_watermark_ns = 0;
  std::int64_t blocked_policy_ns = 0;
  std::vector<ReplicaTotals> replicas = {};  ///< empty: not a fleet
};

/// InvalidArgument, naming the option, if one is out of range or contradicts
/// another.
absl::Status CheckOptions(const SimulationOptions& options);

/// Opens the workload from its beginning: a pass each.
using OpenSource =
    std::function<absl::StatusOr<std::unique_ptr<RequestSource>>()>;

/// Runs a workload through one policy; what is open at a time is what is live.
/// Paged policies run on the library's scheduler and manager. The same inputs
/// give the same calls. InvalidArgument for options out of range; Internal if
/// the causes ever fail to sum to the capacity; Cancelled if the observer
/// stopped it.
absl::StatusOr<SimulationTotals> Simulate(const Policy& policy,
                                          const SimulationOptions& options,
                                          const OpenSource& open,
                                          SimulationObserver& observer);
/// The same for requests that are in memory.
absl::StatusOr<SimulationTotals> Simulate(
    const Policy& policy, const SimulationOptions& options,
    std::span<const TraceRequest> requests, SimulationObserver& observer);

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_SIMULATION_H_
