// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_REPLAY_LOOP_H_
#define SIM_REPLAY_REPLAY_LOOP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/accounting/slot_ledger.h"
#include "sim/clock/step_time.h"
#include "sim/replay/batcher.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Drives a batcher through a workload: keeps the clock, offers requests when
/// they are due, and accounts for every slot after every event. One run each.
///
/// What a step computes is in place from its beginning; what it samples and
/// who finishes is known at its end. Thread-compatible.
class ReplayLoop {
 public:
  /// All must outlive the loop. `capacity` is what the causes must sum to.
  ReplayLoop(const GrantRule& rule, const SimulationOptions& options,
             std::int64_t capacity, std::span<const TraceRequest> requests,
             Batcher& batcher, SimulationObserver& observer);

  absl::StatusOr<SimulationTotals> Run();

 private:
  static constexpr std::array kWaitCauses = {
      Cause::kBlockedCapacity, Cause::kBlockedFragmented, Cause::kWatermark,
      Cause::kBlockedPolicy};
  using WaitTimes = std::array<std::int64_t, kWaitCauses.size()>;

  struct Life {
    std::int64_t admit_ns = -1;
    std::int64_t first_token_ns = -1;
    std::int64_t most_granted = 0;
    std::int64_t furthest = 0;  // tokens present at any preemption, at most
    std::int32_t preemptions = 0;
    std::int32_t fruitless_preemptions = 0;  // since it last got further
    // By cause of the wait at the head of the queue. While it waits itself,
    // less the total at the time when it joined the queue.
    WaitTimes waited_ns{};
  };

  absl::Status OfferRequests();
  void Reject(std::size_t index);
  absl::Status RunStep();
  void Preempt(std::size_t index);
  // Returns what the step works on.
  StepWork Advance(std::span<const ScheduledSequence> scheduled);
  void Finish(std::size_t index);
  void EnterQueue(Life& life) const;
  void LeaveQueue(Life& life) const;

  // The causes now, where free slots have the cause `free`.
  absl::StatusOr<CauseSlots> Account(Cause free) const;
  absl::Status Emit(std::int64_t duration_ns, bool is_step, Cause free,
                    std::int32_t preemptions);

  const GrantRule& rule_;
  const SimulationOptions& options_;
  const bool saturated_;
  const std::int64_t step_ns_;
  const std::int64_t capacity_;
  const std::span<const TraceRequest> requests_;
  Batcher& batcher_;
  SimulationObserver& observer_;

  std::int64_t now_ns_ = 0;
  std::size_t next_ = 0;  // the first request that was not offered yet
  SlotLedger ledger_;
  std::vector<Life> lives_;
  WaitTimes wait_ns_{};  // time with a request at the head of the queue
  SimulationTotals totals_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_REPLAY_LOOP_H_
