// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/demand_replay.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/accounting/causes.h"
#include "sim/replay/arrival_queue.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/demand_memory.h"
#include "sim/replay/step_calendar.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

/// Hands out requests one ahead, and checks them as `Simulate` does.
class CheckedRequests {
 public:
  CheckedRequests(const SimulationOptions& options, RequestSource& source)
      : closed_loop_(options.closed_loop), source_(source) {}

  /// Goes on to the next request.
  absl::Status Advance() {
    const absl::StatusOr<bool> more = source_.Next(request_);
    if (!more.ok()) return more.status();
    ended_ = !*more;
    if (ended_) return absl::OkStatus();
    absl::Status checked =
        CheckRequest(request_, num_requests_, last_arrival_ns_);
    if (!checked.ok()) return checked;
    if (closed_loop_ && request_.follows >= 0) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "request %d waits for another: that has no closed form",
          num_requests_));
    }
    last_arrival_ns_ = request_.arrival_ns;
    ++num_requests_;
    return absl::OkStatus();
  }

  [[nodiscard]] bool ended() const { return ended_; }
  /// REQUIRES: !ended().
  [[nodiscard]] const TraceRequest& request() const { return request_; }
  /// Those handed out.
  [[nodiscard]] std::int64_t num_requests() const { return num_requests_; }

 private:
  bool closed_loop_;
  RequestSource& source_;
  TraceRequest request_;
  bool ended_ = false;
  std::int64_t num_requests_ = 0;
  std::int64_t last_arrival_ns_ = 0;
};

/// Who is resident when, which is the same for all policies. `Listener` has
///
///   bool ShouldStop()
///   void Reject(const TraceRequest&)
///   void BeginStep(now_ns, running), then Admit(slot, request) for each that
///     joins
///   void EndStep(running), then Finish(slot, request, admit_ns, end_ns) for
///     each that leaves, both in order of admission
///   void Wait(now_ns, wait_ns)
template <typename Listener>
class DemandTimeline {
 public:
  DemandTimeline(const SimulationOptions& options, Listener& listener)
      : step_ns_(options.step_ns),
        max_sequence_tokens_(options.max_sequence_tokens.value()),
        listener_(listener) {}

  /// The time of the end.
  absl::StatusOr<std::int64_t> Run(CheckedRequests& requests) {
    if (absl::Status first = requests.Advance(); !first.ok()) return first;
    for (;;) {
      if (listener_.ShouldStop()) {
        return absl::CancelledError("the simulation was stopped");
      }
      in_step_ = false;
      if (num_running_ > 0) EnterStep();
      if (absl::Status taken = TakeArrivals(requests); !taken.ok()) {
        return taken;
      }
      if (in_step_) {
        LeaveStep();
      } else if (!requests.ended()) {
        const std::int64_t arrival_ns = requests.request().arrival_ns;
        listener_.Wait(now_ns_, arrival_ns - now_ns_);
        now_ns_ = arrival_ns;
      } else {
        return now_ns_;
      }
    }
  }

 private:
  using Index = std::int32_t;
  static constexpr Index kNone = -1;

  struct Resident {
    DemandRequest request;
    std::int64_t admit_ns = 0;
    Index next = kNone;  // that finishes in the same step, or is free
  };
  /// Those that finish in one step, in order of admission.
  struct Finishing {
    Index first = kNone;
    Index last = kNone;
  };

  Resident& resident(Index index) {
    return residents_[static_cast<std::size_t>(index)];
  }

  void EnterStep() {
    in_step_ = true;
    listener_.BeginStep(now_ns_, num_running_);
  }

  absl::Status TakeArrivals(CheckedRequests& requests) {
    while (!requests.ended() && requests.request().arrival_ns <= now_ns_) {
      const TraceRequest& request = requests.request();
      if (std::int64_t{request.prompt_tokens} + request.output_tokens >
          max_sequence_tokens_) {
        listener_.Reject(request);
      } else {
        if (!in_step_) EnterStep();
        Admit(request);
      }
      if (absl::Status next = requests.Advance(); !next.ok()) return next;
    }
    return absl::OkStatus();
  }

  void Admit(const TraceRequest& request) {
    Index index = free_;
    if (index == kNone) {
      index = static_cast<Index>(residents_.size());
      residents_.emplace_back();
    } else {
      free_ = resident(index).next;
    }
    Resident& joined = resident(index);
    joined = {.request = {.id = request.id,
                          .arrival_ns = request.arrival_ns,
                          .prompt_tokens = request.prompt_tokens,
                          .output_tokens = request.output_tokens},
              .admit_ns = now_ns_,
              .next = kNone};
    Finishing& finishing =
        finishing_.At(finishing_.now() + request.output_tokens - 1);
    if (finishing.first == kNone) {
      finishing.first = index;
    } else {
      resident(finishing.last).next = index;
    }
    finishing.last = index;
    ++num_running_;
    listener_.Admit(static_cast<std::size_t>(index), joined.request);
  }

  void LeaveStep() {
    listener_.EndStep(num_running_);
    now_ns_ += step_ns_;
    for (Index index = finishing_.Advance().first; index != kNone;) {
      Resident& left = resident(index);
      listener_.Finish(static_cast<std::size_t>(index), left.request,
                       left.admit_ns, now_ns_);
      --num_running_;
      index = std::exchange(left.next, std::exchange(free_, index));
    }
  }

  const std::int64_t step_ns_;
  const std::int64_t max_sequence_tokens_;
  Listener& listener_;
  std::int64_t now_ns_ = 0;
  bool in_step_ = false;
  std::int32_t num_running_ = 0;
  std::vector<Resident> residents_;
  Index free_ = kNone;
  StepCalendar<Finishing> finishing_;
};

/// Finds what is needed; tells nobody.
class Measurement {
 public:
  Measurement(std::span<const Policy> policies,
              const SimulationOptions& options,
              const std::function<bool()>& should_stop)
      : should_stop_(should_stop) {
    for (const Policy& policy : policies) {
      memories_.push_back(
          DemandMemory::Create(GrantRule(policy, options.max_sequence_tokens),
                               ContiguousMemory::kUnbounded));
    }
  }

  bool ShouldStop() const { return should_stop_(); }
  void Reject(const TraceRequest&) {}
  void BeginStep(std::int64_t, std::int32_t) {
    for (const auto& memory : memories_) memory->BeginStep();
  }
  void Admit(DemandMemory::Slot slot, const DemandRequest& request) {
    for (const auto& memory : memories_) memory->Admit(slot, request);
  }
  void EndStep(std::int32_t) {}
  void Finish(DemandMemory::Slot slot, const DemandRequest& request,
              std::int64_t, std::int64_t) {
    for (const auto& memory : memories_) memory->Finish(slot, request);
  }
  void Wait(std::int64_t, std::int64_t) {}

  [[nodiscard]] std::vector<TokenCount> needed() const {
    std::vector<TokenCount> needed;
    for (const auto& memory : memories_) needed.push_back(memory->needed());
    return needed;
  }

 private:
  const std::function<bool()>& should_stop_;
  std::vector<std::unique_ptr<DemandMemory>> memories_;
};

/// One policy's run in the memory that was measured.
class PolicyReplay {
 public:
  PolicyReplay(const DemandRun& run, const SimulationOptions& options)
      : step_ns_(options.step_ns),
        observer_(*run.observer),
        memory_(DemandMemory::Create(
            GrantRule(run.policy, options.max_sequence_tokens), run.capacity)) {
    totals_.capacity_slots = run.capacity.value();
  }

  bool ShouldStop() const { return observer_.ShouldStop(); }

  void Reject(const TraceRequest& request) {
    ++totals_.rejected;
    observer_.OnRequest({.id = request.id,
                         .arrival_ns = request.arrival_ns,
                         .prompt_tokens = request.prompt_tokens,
                         .output_tokens = request.output_tokens,
                         .rejected = true});
  }

  void BeginStep(std::int64_t now_ns, std::int32_t running) {
    now_ns_ = now_ns;
    step_tokens_ = running;
    memory_->BeginStep();
  }

  void Admit(DemandMemory::Slot slot, const DemandRequest& request) {
    step_tokens_ += request.prompt_tokens;
    memory_->Admit(slot, request);
  }

  void EndStep(std::int32_t running) {
    ++totals_.steps;
    totals_.peak_running = std::max(totals_.peak_running, running);
    totals_.peak_step_tokens = std::max(totals_.peak_step_tokens, step_tokens_);
    Emit(now_ns_, step_ns_, /*is_step=*/true, running);
  }

  void Finish(DemandMemory::Slot slot, const DemandRequest& request,
              std::int64_t admit_ns, std::int64_t end_ns) {
    ++totals_.finished;
    memory_->Finish(slot, request);
    const DemandHolding holding = memory_->HoldingOf(request);
    observer_.OnRequest({.id = request.id,
                         .arrival_ns = request.arrival_ns,
                         .prompt_tokens = request.prompt_tokens,
                         .output_tokens = request.output_tokens,
                         .admit_ns = admit_ns,
                         .first_token_ns = admit_ns + step_ns_,
                         .finish_ns = end_ns,
                         .slots_granted = holding.most_granted,
                         .waste_slot_s = SlotSeconds(holding.waste),
                         .reserved_slot_s = SlotSeconds(holding.reserved)});
  }

  void Wait(std::int64_t now_ns, std::int64_t wait_ns) {
    Emit(now_ns, wait_ns, /*is_step=*/false, 0);
  }

  SimulationTotals TotalsAt(std::int64_t end_ns) {
    totals_.end_ns = end_ns;
    totals_.copied_slots = memory_->copied_slots();
    totals_.transient_peak_slots = memory_->transient_peak_slots();
    return totals_;
  }

 private:
  void Emit(std::int64_t begin_ns, std::int64_t duration_ns, bool is_step,
            std::int32_t running) {
    Sample sample{.begin_ns = begin_ns,
                  .duration_ns = duration_ns,
                  .is_step = is_step,
                  .slots = {},
                  .running = running,
                  .largest_free_slots = memory_->largest_free_slots()};
    sample.slots[Cause::kToken] = memory_->tokens();
    sample.slots[Cause::kReserved] = memory_->reserved();
    sample.slots[Cause::kInternal] = memory_->internal();
    sample.slots[Cause::kRoundUp] = memory_->round_up();
    sample.slots[Cause::kTail] = memory_->tail_slots();
    sample.slots[Cause::kIdle] = memory_->free_slots();
    totals_.peak_slots = std::max(totals_.peak_slots, sample.slots.allocated());
    observer_.OnSample(sample);
  }

  // Multiplied before it is rounded, as the ledger's integrals are.
  [[nodiscard]] double SlotSeconds(std::int64_t slot_steps) const {
    constexpr double kNanosecondsPerSecond = 1e9;
    return static_cast<double>(absl::int128(slot_steps) * step_ns_) /
           kNanosecondsPerSecond;
  }

  const std::int64_t step_ns_;
  SimulationObserver& observer_;
  std::unique_ptr<DemandMemory> memory_;
  std::int64_t now_ns_ = 0;
  std::int64_t step_tokens_ = 0;
  SimulationTotals totals_;
};

/// All policies of a pass.
class PolicyReplays {
 public:
  PolicyReplays(std::span<const DemandRun> runs,
                const SimulationOptions& options) {
    for (const DemandRun& run : runs) replays_.emplace_back(run, options);
  }

  bool ShouldStop() const {
    return std::any_of(
        replays_.begin(), replays_.end(),
        [](const PolicyReplay& replay) { return replay.ShouldStop(); });
  }
  void Reject(const TraceRequest& request) {
    for (PolicyReplay& replay : replays_) replay.Reject(request);
  }
  void BeginStep(std::int64_t now_ns, std::int32_t running) {
    for (PolicyReplay& replay : replays_) replay.BeginStep(now_ns, running);
  }
  void Admit(DemandMemory::Slot slot, const DemandRequest& request) {
    for (PolicyReplay& replay : replays_) replay.Admit(slot, request);
  }
  void EndStep(std::int32_t running) {
    for (PolicyReplay& replay : replays_) replay.EndStep(running);
  }
  void Finish(DemandMemory::Slot slot, const DemandRequest& request,
              std::int64_t admit_ns, std::int64_t end_ns) {
    for (PolicyReplay& replay : replays_) {
      replay.Finish(slot, request, admit_ns, end_ns);
    }
  }
  void Wait(std::int64_t now_ns, std::int64_t wait_ns) {
    for (PolicyReplay& replay : replays_) replay.Wait(now_ns, wait_ns);
  }

  std::vector<SimulationTotals> TotalsAt(std::int64_t end_ns) {
    std::vector<SimulationTotals> totals;
    for (PolicyReplay& replay : replays_) {
      totals.push_back(replay.TotalsAt(end_ns));
    }
    return totals;
  }

 private:
  std::vector<PolicyReplay> replays_;
};

}  // namespace

bool HasClosedForm(const Policy& policy, const SimulationOptions& options) {
  return options.demand && options.clock == ClockKind::kFixed &&
         !options.saturate && !options.prefix_cache &&
         options.fleet.num_replicas == 1 && DemandMemory::IsKnown(policy);
}

absl::StatusOr<Demand> MeasureDemand(std::span<const Policy> policies,
                                     const SimulationOptions& options,
                                     RequestSource& requests,
                                     const std::function<bool()>& should_stop) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  CheckedRequests checked(options, requests);
  Measurement measurement(policies, options, should_stop);
  const absl::StatusOr<std::int64_t> end_ns =
      DemandTimeline(options, measurement).Run(checked);
  if (!end_ns.ok()) return end_ns.status();
  return Demand{.num_requests = checked.num_requests(),
                .capacities = measurement.needed()};
}

absl::StatusOr<std::vector<SimulationTotals>> ReplayDemand(
    std::span<const DemandRun> runs, const SimulationOptions& options,
    RequestSource& requests) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  CheckedRequests checked(options, requests);
  PolicyReplays replays(runs, options);
  const absl::StatusOr<std::int64_t> end_ns =
      DemandTimeline(options, replays).Run(checked);
  if (!end_ns.ok()) return end_ns.status();
  return replays.TotalsAt(*end_ns);
}

}  // namespace pagedkv::sim
