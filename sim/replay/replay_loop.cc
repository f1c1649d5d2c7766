// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/replay_loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/accounting/slot_ledger.h"
#include "sim/replay/batcher.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

constexpr double kNanosecondsPerSecond = 1e9;
constexpr std::int64_t kIterationNs = 1'000'000'000;

double SlotSeconds(absl::int128 slot_nanoseconds) {
  return static_cast<double>(slot_nanoseconds) / kNanosecondsPerSecond;
}

}  // namespace

ReplayLoop::ReplayLoop(const GrantRule& rule, const SimulationOptions& options,
                       std::int64_t capacity,
                       std::span<const TraceRequest> requests, Batcher& batcher,
                       SimulationObserver& observer)
    : rule_(rule),
      options_(options),
      saturated_(options.saturate || options.clock == ClockKind::kIteration),
      step_ns_(options.clock == ClockKind::kIteration ? kIterationNs
                                                      : options.step_ns),
      capacity_(capacity),
      requests_(requests),
      batcher_(batcher),
      observer_(observer),
      ledger_(requests.size()),
      lives_(requests.size()) {
  totals_.capacity_slots = capacity;
}

absl::StatusOr<SimulationTotals> ReplayLoop::Run() {
  for (;;) {
    if (observer_.ShouldStop()) {
      return absl::CancelledError("the simulation was stopped");
    }
    if (absl::Status status = OfferRequests(); !status.ok()) return status;
    absl::Status status;
    if (batcher_.num_running() > 0 || batcher_.num_waiting() > 0) {
      status = RunStep();
    } else if (next_ < requests_.size()) {
      const std::int64_t wait_ns = requests_[next_].arrival_ns - now_ns_;
      status = Emit(wait_ns, /*is_step=*/false, Cause::kIdle, 0);
      now_ns_ += wait_ns;
    } else {
      break;
    }
    if (!status.ok()) return status;
  }
  totals_.end_ns = now_ns_;
  totals_.blocked_capacity_ns = wait_ns_[0];
  totals_.blocked_fragmented_ns = wait_ns_[1];
  totals_.blocked_watermark_ns = wait_ns_[2];
  totals_.blocked_policy_ns = wait_ns_[3];
  return totals_;
}

absl::Status ReplayLoop::OfferRequests() {
  for (; next_ < requests_.size(); ++next_) {
    const TraceRequest& request = requests_[next_];
    if (saturated_) {
      // More than one step could admit, so that the queue outlasts the step.
      const std::int32_t admissible =
          options_.max_num_seqs - batcher_.num_running();
      if (batcher_.num_waiting() > admissible) break;
    } else if (request.arrival_ns > now_ns_) {
      break;
    }
    const std::int64_t tokens =
        std::int64_t{request.prompt_tokens} + request.output_tokens;
    if (tokens > rule_.max_sequence_tokens()) {
      Reject(next_);
      continue;
    }
    const absl::StatusOr<bool> queued = batcher_.Submit(RequestId(next_));
    if (!queued.ok()) return queued.status();
    if (*queued) {
      EnterQueue(lives_[next_]);
    } else {
      Reject(next_);
    }
  }
  return absl::OkStatus();
}

void ReplayLoop::Reject(std::size_t index) {
  const TraceRequest& request = requests_[index];
  ++totals_.rejected;
  observer_.OnRequest({.id = request.id,
                       .arrival_ns = request.arrival_ns,
                       .prompt_tokens = request.prompt_tokens,
                       .output_tokens = request.output_tokens,
                       .rejected = true});
}

absl::Status ReplayLoop::RunStep() {
  const absl::StatusOr<BatchStep> step = batcher_.Schedule();
  if (!step.ok()) return step.status();
  if (step->scheduled.empty() ||
      (options_.demand && batcher_.num_waiting() > 0)) {
    return absl::InternalError(absl::StrFormat(
        "policy %s at %.9f s: %d sequences are scheduled while %d requests "
        "wait, with %d of %d slots free",
        rule_.policy().id(),
        static_cast<double>(now_ns_) / kNanosecondsPerSecond,
        step->scheduled.size(), batcher_.num_waiting(), batcher_.free_slots(),
        capacity_));
  }
  for (const Preemption& preemption : step->preempted) {
    Preempt(preemption.request.value());
  }
  const StepWork work = Advance(step->scheduled);
  totals_.peak_step_tokens =
      std::max(totals_.peak_step_tokens, work.computed_tokens);
  const std::int64_t step_ns = options_.clock == ClockKind::kModel
                                   ? options_.step_time.NanosecondsOf(work)
                                   : step_ns_;
  absl::Status status = Emit(step_ns, /*is_step=*/true, step->blocked,
                             static_cast<std::int32_t>(step->preempted.size()));
  if (!status.ok()) return status;

  ++totals_.steps;
  now_ns_ += step_ns;
  for (std::size_t i = 0; i < kWaitCauses.size(); ++i) {
    if (step->blocked == kWaitCauses[i]) wait_ns_[i] += step_ns;
  }
  for (const ScheduledSequence& sequence : step->scheduled) {
    Life& life = lives_[sequence.request.value()];
    if (sequence.samples && life.first_token_ns < 0) {
      life.first_token_ns = now_ns_;
    }
  }
  const auto finished = batcher_.Update();
  if (!finished.ok()) return finished.status();
  for (const FinishedRequest& request : *finished) {
    Finish(request.id.value());
  }
  return Account(Cause::kIdle).status();
}

StepWork ReplayLoop::Advance(std::span<const ScheduledSequence> scheduled) {
  StepWork work;
  work.sequences = static_cast<std::int64_t>(scheduled.size());
  for (const ScheduledSequence& sequence : scheduled) {
    const std::size_t index = sequence.request.value();
    const std::int64_t present =
        std::int64_t{sequence.num_computed} + sequence.num_tokens;
    work.computed_tokens += sequence.num_tokens;
    work.resident_tokens += present;
    if (sequence.num_tokens > 1) {
      const std::int64_t chunk = sequence.num_tokens;
      work.prefill_attention +=
          chunk * sequence.num_computed + chunk * (chunk + 1) / 2;
    }
    if (sequence.kind != ScheduledSequence::Kind::kRunning) {
      Life& life = lives_[index];
      LeaveQueue(life);
      if (life.admit_ns < 0) life.admit_ns = now_ns_;
    }
    if (present > ledger_.requested(index)) {
      const Grant grant = rule_.For(requests_[index], present);
      ledger_.Grant(index, FinalSlots(requests_[index]), grant.requested,
                    grant.granted, now_ns_);
      lives_[index].most_granted =
          std::max(lives_[index].most_granted, grant.granted);
    }
    ledger_.Fill(index, present, now_ns_);
  }
  return work;
}

void ReplayLoop::Preempt(std::size_t index) {
  Life& life = lives_[index];
  const std::int64_t lost = ledger_.present(index);
  ledger_.Release(index, now_ns_);
  EnterQueue(life);

  ++life.preemptions;
  life.fruitless_preemptions =
      lost > life.furthest ? 1 : life.fruitless_preemptions + 1;
  life.furthest = std::max(life.furthest, lost);
  ++totals_.preemptions;
  totals_.recomputed_tokens += lost;
  totals_.max_preemptions_per_request =
      std::max(totals_.max_preemptions_per_request, life.preemptions);
  if (life.fruitless_preemptions == kLivelockPreemptions + 1) {
    ++totals_.livelocked_requests;
  }
}

void ReplayLoop::Finish(std::size_t index) {
  ledger_.Release(index, now_ns_);
  const TraceRequest& request = requests_[index];
  const Life& life = lives_[index];
  const SlotLedger::Integrals& integrals = ledger_.integrals(index);
  const auto longest_wait =
      std::max_element(life.waited_ns.begin(), life.waited_ns.end());
  const auto cause =
      static_cast<std::size_t>(longest_wait - life.waited_ns.begin());
  ++totals_.finished;
  observer_.OnRequest({.id = request.id,
                       .arrival_ns = request.arrival_ns,
                       .prompt_tokens = request.prompt_tokens,
                       .output_tokens = request.output_tokens,
                       .admit_ns = life.admit_ns,
                       .first_token_ns = life.first_token_ns,
                       .finish_ns = now_ns_,
                       .slots_granted = life.most_granted,
                       .waste_slot_s = SlotSeconds(integrals.waste),
                       .reserved_slot_s = SlotSeconds(integrals.reserved),
                       .preemptions = life.preemptions,
                       .blocked_cause = *longest_wait > 0 ? kWaitCauses[cause]
                                                          : Cause::kToken});
}

void ReplayLoop::EnterQueue(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] -= wait_ns_[i];
  }
}

void ReplayLoop::LeaveQueue(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] += wait_ns_[i];
  }
}

absl::StatusOr<CauseSlots> ReplayLoop::Account(Cause free) const {
  CauseSlots slots = ledger_.slots();
  const std::int64_t free_slots = batcher_.free_slots();
  std::int64_t withheld = 0;
  if (free == Cause::kWatermark || free == Cause::kBlockedCapacity) {
    withheld = std::min(free_slots, batcher_.watermark_slots());
    free = Cause::kBlockedCapacity;
  }
  slots[Cause::kWatermark] = withheld;
  slots[free] = free_slots - withheld;
  slots[Cause::kTail] = batcher_.tail_slots();
  if (slots.total() == capacity_) return slots;

  std::string causes;
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    causes +=
        absl::StrFormat(" %s=%d", kCauseNames[i], slots[static_cast<Cause>(i)]);
  }
  return absl::InternalError(absl::StrFormat(
      "policy %s at %.9f s: the causes sum to %d slots, the pool has %d:%s",
      rule_.policy().id(), static_cast<double>(now_ns_) / kNanosecondsPerSecond,
      slots.total(), capacity_, causes));
}

absl::Status ReplayLoop::Emit(std::int64_t duration_ns, bool is_step,
                              Cause free, std::int32_t preemptions) {
  const absl::StatusOr<CauseSlots> slots = Account(free);
  if (!slots.ok()) return slots.status();
  totals_.peak_slots = std::max(totals_.peak_slots, slots->allocated());
  totals_.peak_running = std::max(totals_.peak_running, batcher_.num_running());
  const Sample sample{.begin_ns = now_ns_,
                      .duration_ns = duration_ns,
                      .is_step = is_step,
                      .slots = *slots,
                      .running = batcher_.num_running(),
                      .waiting = batcher_.num_waiting(),
                      .preemptions = preemptions,
                      .largest_free_slots = batcher_.largest_free_slots()};
  observer_.OnSample(sample);
  if (MemoryVisitor* const visitor = observer_.WatchMemory(sample)) {
    batcher_.VisitMemory(*visitor);
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
