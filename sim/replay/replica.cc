// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/replica.h"

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

Replica::Replica(const GrantRule& rule, const SimulationOptions& options,
                 std::int64_t capacity, LiveRequests& requests,
                 Batcher& batcher, SimulationObserver& observer)
    : rule_(rule),
      options_(options),
      step_ns_(options.clock == ClockKind::kIteration ? kIterationNs
                                                      : options.step_ns),
      capacity_(capacity),
      requests_(requests),
      batcher_(batcher),
      observer_(observer) {
  totals_.capacity_slots = capacity;
}

SimulationTotals Replica::Totals() const {
  SimulationTotals totals = totals_;
  totals.end_ns = now_ns_;
  totals.blocked_capacity_ns = wait_ns_[0];
  totals.blocked_fragmented_ns = wait_ns_[1];
  totals.blocked_watermark_ns = wait_ns_[2];
  totals.blocked_policy_ns = wait_ns_[3];
  return totals;
}

absl::Status Replica::Offer(TraceRequest request) {
  ended_.clear();
  const std::int64_t tokens =
      std::int64_t{request.prompt_tokens} + request.output_tokens;
  if (tokens > rule_.max_sequence_tokens()) {
    Reject(request);
    return absl::OkStatus();
  }
  const RequestId id = requests_.Add(std::move(request));
  if (id.value() >= lives_.size()) lives_.resize(id.value() + 1);
  lives_[id.value()] = Life();
  ledger_.Reset(id.value(), now_ns_);
  const absl::StatusOr<bool> queued = batcher_.Submit(id);
  if (!queued.ok()) return queued.status();
  if (*queued) {
    EnterQueue(lives_[id.value()]);
    waiting_tokens_ += requests_[id].prompt_tokens;
  } else {
    Reject(requests_[id]);
    requests_.Remove(id);
  }
  return absl::OkStatus();
}

absl::Status Replica::WaitUntil(std::int64_t until_ns) {
  absl::Status status =
      Emit(until_ns - now_ns_, /*is_step=*/false, Cause::kIdle, 0);
  now_ns_ = until_ns;
  return status;
}

absl::StatusOr<std::vector<TraceRequest>> Replica::Fail() {
  std::vector<RequestId> ids;
  if (absl::Status status = batcher_.Fail(ids); !status.ok()) return status;
  std::vector<TraceRequest> lost;
  for (const RequestId id : ids) {
    ledger_.Release(id.value(), now_ns_);
    lost.push_back(requests_[id]);
    requests_.Remove(id);
  }
  waiting_tokens_ = 0;
  return lost;
}

void Replica::Reject(const TraceRequest& request) {
  ++totals_.rejected;
  ended_.push_back({.id = request.id, .end_ns = now_ns_});
  observer_.OnRequest({.id = request.id,
                       .arrival_ns = request.arrival_ns,
                       .prompt_tokens = request.prompt_tokens,
                       .output_tokens = request.output_tokens,
                       .rejected = true});
}

absl::Status Replica::RunStep() {
  ended_.clear();
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
    Preempt(preemption.request);
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
    Finish(request.id);
  }
  return Account(Cause::kIdle).status();
}

StepWork Replica::Advance(std::span<const ScheduledSequence> scheduled) {
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
      if (life.admit_ns < 0) Admit(sequence, life);
    }
    if (present > ledger_.requested(index)) {
      const TraceRequest& request = requests_[sequence.request];
      const Grant grant = rule_.For(request, present);
      ledger_.Grant(index, FinalSlots(request), grant.requested, grant.granted,
                    now_ns_);
      lives_[index].most_granted =
          std::max(lives_[index].most_granted, grant.granted);
    }
    ledger_.Fill(index, present, now_ns_);
  }
  return work;
}

void Replica::Admit(const ScheduledSequence& sequence, Life& life) {
  life.admit_ns = now_ns_;
  life.hit_tokens = sequence.num_computed;
  waiting_tokens_ -= requests_[sequence.request].prompt_tokens;
  if (!options_.prefix_cache) return;
  const BlockSize block = rule_.policy().block_size;
  const TokenCount prompt(requests_[sequence.request].prompt_tokens);
  totals_.hits.AddRequest(block.CoveringBlocks(prompt).value(), prompt);
  totals_.hits.AddHits(block.FullBlocks(TokenCount(life.hit_tokens)).value(),
                       block, prompt);
}

void Replica::Preempt(RequestId id) {
  const std::size_t index = id.value();
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

void Replica::Finish(RequestId id) {
  const std::size_t index = id.value();
  ledger_.Release(index, now_ns_);
  const TraceRequest& request = requests_[id];
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
                       .hit_tokens = life.hit_tokens,
                       .blocked_cause = *longest_wait > 0 ? kWaitCauses[cause]
                                                          : Cause::kToken});
  ended_.push_back({.id = request.id, .end_ns = now_ns_});
  requests_.Remove(id);
}

void Replica::EnterQueue(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] -= wait_ns_[i];
  }
}

void Replica::LeaveQueue(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] += wait_ns_[i];
  }
}

absl::StatusOr<CauseSlots> Replica::Account(Cause free) const {
  CauseSlots slots = ledger_.slots();
  slots[Cause::kCachedIdle] = batcher_.cached_idle_slots();
  const std::int64_t free_slots =
      batcher_.free_slots() - slots[Cause::kCachedIdle];
  std::int64_t withheld = 0;
  if (free == Cause::kWatermark || free == Cause::kBlockedCapacity) {
    withheld = std::min(free_slots, batcher_.watermark_slots());
    free = Cause::kBlockedCapacity;
  }
  slots[Cause::kWatermark] = withheld;
  slots[free] = free_slots - withheld;
  slots[Cause::kTail] = batcher_.tail_slots();
  // Whoever shares blocks has them in his account; there they count once.
  slots[Cause::kToken] -= batcher_.shared_slots();
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

absl::Status Replica::Emit(std::int64_t duration_ns, bool is_step, Cause free,
                           std::int32_t preemptions) {
  const absl::StatusOr<CauseSlots> slots = Account(free);
  if (!slots.ok()) return slots.status();
  totals_.peak_slots = std::max(totals_.peak_slots, slots->allocated());
  totals_.peak_running = std::max(totals_.peak_running, batcher_.num_running());
  observer_.OnSample({.begin_ns = now_ns_,
                      .duration_ns = duration_ns,
                      .is_step = is_step,
                      .slots = *slots,
                      .running = batcher_.num_running(),
                      .waiting = batcher_.num_waiting(),
                      .preemptions = preemptions,
                      .blocked = free,
                      .largest_free_slots = batcher_.largest_free_slots()});
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
