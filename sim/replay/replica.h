// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_REPLICA_H_
#define SIM_REPLAY_REPLICA_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/accounting/slot_ledger.h"
#include "sim/clock/step_time.h"
#include "sim/replay/batcher.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// A request that will not come back: it finished, or it was rejected.
struct EndedRequest {
  std::int64_t id = 0;  ///< `TraceRequest::id`
  std::int64_t end_ns = 0;
};

/// One engine under replay: a batcher with a clock of its own, whose steps it
/// runs one by one, and an account of every slot after every event.
///
/// What a step computes is in place from its beginning; what it samples and
/// who finishes is known at its end. Thread-compatible.
class Replica {
 public:
  /// All must outlive the replica. `capacity` is what the causes must sum to;
  /// `requests` are those of `batcher`; `index` is its place in its fleet.
  Replica(const GrantRule& rule, const SimulationOptions& options,
          std::int64_t capacity, LiveRequests& requests, Batcher& batcher,
          SimulationObserver& observer, std::int32_t index = 0);

  /// Queues a request that arrives now, or rejects it where it never fits.
  absl::Status Offer(TraceRequest request);
  static constexpr std::int64_t kNever =
      std::numeric_limits<std::int64_t>::max();
  /// Runs one step, or, with `SimulationOptions::fuse_steps`, several at once
  /// as long as all that run decode and nothing else happens: only such as
  /// begin before `until_ns`. It makes no difference to what is observed.
  /// REQUIRES: busy(), and no request is offered before `until_ns`.
  absl::Status RunSteps(std::int64_t until_ns);
  /// Nothing happens until `until_ns`. REQUIRES: !busy().
  absl::Status WaitUntil(std::int64_t until_ns);

  /// Loses all that waits and runs, and its cache; returns the requests.
  absl::StatusOr<std::vector<TraceRequest>> Fail();

  /// Whether there is something to run.
  [[nodiscard]] bool busy() const {
    return batcher_.num_running() > 0 || batcher_.num_waiting() > 0;
  }
  /// When the next step would begin.
  [[nodiscard]] std::int64_t now_ns() const { return now_ns_; }
  [[nodiscard]] const Batcher& batcher() const { return batcher_; }
  [[nodiscard]] Batcher& batcher() { return batcher_; }
  /// Prompt tokens of the requests that wait, but for those preempted.
  [[nodiscard]] std::int64_t waiting_tokens() const { return waiting_tokens_; }
  /// Ended by the last call of `Offer` or `RunStep`.
  [[nodiscard]] std::span<const EndedRequest> ended() const { return ended_; }
  [[nodiscard]] SimulationTotals Totals() const;

 private:
  static constexpr std::array kWaitCauses = {
      Cause::kBlockedCapacity, Cause::kBlockedFragmented, Cause::kWatermark,
      Cause::kBlockedPolicy};
  using WaitTimes = std::array<std::int64_t, kWaitCauses.size()>;

  struct Life {
    std::int64_t admit_ns = -1;
    std::int64_t first_token_ns = -1;
    std::int64_t hit_tokens = 0;
    std::int64_t most_granted = 0;
    std::int64_t furthest = 0;  // tokens present at any preemption, at most
    std::int32_t preemptions = 0;
    std::int32_t fruitless_preemptions = 0;  // since it last got further
    // By cause of the wait at the head of the queue. While it waits itself,
    // less the total at the time when it joined the queue.
    WaitTimes waited_ns{};
  };

  void Reject(const TraceRequest& request);
  // For the first time.
  void Admit(const ScheduledSequence& sequence, Life& life);
  void Preempt(const Preemption& preemption);
  // Returns what the step works on.
  StepWork Advance(std::span<const ScheduledSequence> scheduled);
  void Finish(RequestId id);
  void CountWaitFrom(Life& life) const;
  void CountWaitTo(Life& life) const;

  // What the ledger says of a step, slots that are taken for later ones, and
  // what the step works on.
  struct Held {
    CauseSlots slots;
    std::int64_t ahead = 0;
    StepWork work = {};
  };
  // What sequences are granted as a step begins.
  struct Granted {
    std::int64_t reserved = 0;
    std::int64_t internal = 0;
    std::int64_t round_up = 0;
    [[nodiscard]] std::int64_t total() const {
      return reserved + internal + round_up;
    }
  };

  [[nodiscard]] std::int64_t StepNs(const StepWork& work) const;
  [[nodiscard]] std::int32_t MaxSteps(std::int64_t until_ns) const;
  std::int64_t FillAhead(std::span<const ScheduledSequence> scheduled,
                         std::size_t num_steps, StepWork work);
  std::int64_t GrantAhead(RequestId id, std::int64_t present, std::size_t step);
  // `present` tokens need a larger grant than the request has.
  void Grant(RequestId id, std::int64_t present, std::int64_t now_ns);
  // The step that ends now sampled.
  void NoteFirstTokens(std::span<const ScheduledSequence> scheduled);

  // The causes now, where free slots have the cause `free`.
  absl::StatusOr<CauseSlots> Account(Cause free, const Held& held) const;
  absl::Status Emit(std::int64_t duration_ns, bool is_step, Cause free,
                    std::int32_t preemptions, const Held& held);

  const GrantRule& rule_;
  const SimulationOptions& options_;
  const std::int64_t step_ns_;
  const std::int64_t capacity_;
  LiveRequests& requests_;
  Batcher& batcher_;
  SimulationObserver& observer_;
  const std::int32_t index_;

  std::int64_t now_ns_ = 0;
  SlotLedger ledger_;               // by request id
  std::vector<Life> lives_;         // by request id
  std::deque<RequestId> queue_;     // those that wait, the next in line first
  std::ptrdiff_t num_swapped_ = 0;  // the first in it, swapped out
  std::vector<EndedRequest> ended_;
  StepTimes times_;               // of the steps under way, if several
  std::vector<Granted> granted_;  // by step of these
  std::int64_t waiting_tokens_ = 0;
  WaitTimes wait_ns_{};  // time with a request at the head of the queue
  SimulationTotals totals_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_REPLICA_H_
