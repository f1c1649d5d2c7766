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
constexpr std::int32_t kMaxFusedSteps = 1024;

double SlotSeconds(absl::int128 slot_nanoseconds) {
  return static_cast<double>(slot_nanoseconds) / kNanosecondsPerSecond;
}

}  // namespace

Replica::Replica(const GrantRule& rule, const SimulationOptions& options,
                 std::int64_t capacity, LiveRequests& requests,
                 Batcher& batcher, SimulationObserver& observer,
                 std::int32_t index)
    : rule_(rule),
      options_(options),
      step_ns_(options.clock == ClockKind::kIteration ? kIterationNs
                                                      : options.step_ns),
      capacity_(capacity),
      requests_(requests),
      batcher_(batcher),
      observer_(observer),
      index_(index) {
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
    queue_.push_back(id);
    CountWaitFrom(lives_[id.value()]);
    waiting_tokens_ += requests_[id].prompt_tokens;
  } else {
    Reject(requests_[id]);
    requests_.Remove(id);
  }
  return absl::OkStatus();
}

absl::Status Replica::WaitUntil(std::int64_t until_ns) {
  absl::Status status = Emit(until_ns - now_ns_, /*is_step=*/false,
                             Cause::kIdle, 0, {.slots = ledger_.slots()});
  now_ns_ = until_ns;
  return status;
}

absl::StatusOr<std::vector<TraceRequest>> Replica::Fail() {
  std::vector<RequestId> ids;
  if (absl::Status status = batcher_.Fail(ids); !status.ok()) return status;
  std::vector<TraceRequest> lost;
  for (const RequestId id : ids) {
    if (ledger_.granted(id.value()) > 0) {
      observer_.OnPreemption(requests_[id].id, now_ns_);
    }
    ledger_.Release(id.value(), now_ns_);
    lost.push_back(requests_[id]);
    requests_.Remove(id);
  }
  queue_.clear();
  num_swapped_ = 0;
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

absl::Status Replica::RunSteps(std::int64_t until_ns) {
  ended_.clear();
  const absl::StatusOr<BatchStep> step = batcher_.Schedule(MaxSteps(until_ns));
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
    Preempt(preemption);
  }
  StepWork work = Advance(step->scheduled);
  work.swapped_tokens = step->swapped_tokens;
  totals_.swapped_blocks += step->swapped_blocks;
  totals_.swapped_tokens += step->swapped_tokens;
  totals_.peak_step_tokens =
      std::max(totals_.peak_step_tokens, work.computed_tokens);
  Held held{.slots = ledger_.slots()};
  const auto num_steps = static_cast<std::size_t>(step->num_steps);
  if (num_steps > 1) held.ahead = FillAhead(step->scheduled, num_steps, work);

  const auto batch = static_cast<std::int64_t>(step->scheduled.size());
  for (std::size_t i = 0; i < num_steps; ++i) {
    if (i > 0) {
      held.slots[Cause::kToken] += batch;
      held.slots[Cause::kReserved] += granted_[i].reserved - batch;
      held.slots[Cause::kInternal] += granted_[i].internal;
      held.slots[Cause::kRoundUp] += granted_[i].round_up;
      held.ahead -= granted_[i].total();
      work.resident_tokens += batch;
      work.swapped_tokens = 0;
    }
    held.work = work;
    const std::int64_t step_ns = StepNs(work);
    absl::Status status = Emit(
        step_ns, /*is_step=*/true, step->blocked,
        i == 0 ? static_cast<std::int32_t>(step->preempted.size()) : 0, held);
    if (!status.ok()) return status;
    ++totals_.steps;
    now_ns_ += step_ns;
    for (std::size_t j = 0; j < kWaitCauses.size(); ++j) {
      if (step->blocked == kWaitCauses[j]) wait_ns_[j] += step_ns;
    }
    if (i == 0) NoteFirstTokens(step->scheduled);
  }
  const auto finished = batcher_.Update();
  if (!finished.ok()) return finished.status();
  for (const FinishedRequest& request : *finished) {
    Finish(request.id);
  }
  return Account(Cause::kIdle, {.slots = ledger_.slots()}).status();
}

std::int64_t Replica::StepNs(const StepWork& work) const {
  return options_.clock == ClockKind::kModel
             ? options_.step_time.NanosecondsOf(work)
             : step_ns_;
}

// Steps that begin before `until_ns`, if all that run decode.
std::int32_t Replica::MaxSteps(std::int64_t until_ns) const {
  // With the prefix cache, blocks for later steps would evict too early.
  // Who watches the memory must not see that of later steps either.
  if (!options_.fuse_steps || options_.prefix_cache ||
      observer_.WatchesMemory()) {
    return 1;
  }
  if (until_ns == kNever) return kMaxFusedSteps;
  if (options_.clock != ClockKind::kModel) {
    const std::int64_t steps = (until_ns - now_ns_ + step_ns_ - 1) / step_ns_;
    return static_cast<std::int32_t>(
        std::clamp<std::int64_t>(steps, 1, kMaxFusedSteps));
  }
  StepWork work;
  work.sequences = work.computed_tokens = batcher_.num_running();
  work.resident_tokens = ledger_.slots()[Cause::kToken];
  std::int64_t begin_ns = now_ns_;
  std::int32_t steps = 0;
  do {
    work.resident_tokens += work.sequences;
    begin_ns += StepNs(work);
  } while (++steps < kMaxFusedSteps && begin_ns < until_ns);
  return steps;
}

// Gives every sequence the tokens of the steps after the first, and what it is
// granted for them; returns how many slots that is. Fills `granted_`.
std::int64_t Replica::FillAhead(std::span<const ScheduledSequence> scheduled,
                                std::size_t num_steps, StepWork work) {
  const auto batch = static_cast<std::int64_t>(scheduled.size());
  times_.Clear();
  std::int64_t begin_ns = now_ns_;
  for (std::size_t i = 0; i < num_steps; ++i) {
    times_.Add(begin_ns);
    begin_ns += StepNs(work);
    work.resident_tokens += batch;
    work.swapped_tokens = 0;
  }
  granted_.assign(num_steps, Granted());
  std::int64_t total = 0;
  for (const ScheduledSequence& sequence : scheduled) {
    const std::size_t index = sequence.request.value();
    for (std::size_t next = 1; next < num_steps;) {
      const std::int64_t present = ledger_.present(index);
      if (present == ledger_.requested(index)) {
        total += GrantAhead(sequence.request, present + 1, next);
      }
      const std::size_t last = std::min(
          num_steps,
          next + static_cast<std::size_t>(ledger_.requested(index) - present));
      ledger_.FillSteps(index, next, last, times_);
      next = last;
    }
  }
  return total;
}

std::int64_t Replica::GrantAhead(RequestId id, std::int64_t present,
                                 std::size_t step) {
  const CauseSlots before = ledger_.slots();
  Grant(id, present, times_.begin_ns(step));
  const CauseSlots after = ledger_.slots();
  const Granted added = {
      .reserved = after[Cause::kReserved] - before[Cause::kReserved],
      .internal = after[Cause::kInternal] - before[Cause::kInternal],
      .round_up = after[Cause::kRoundUp] - before[Cause::kRoundUp]};
  granted_[step].reserved += added.reserved;
  granted_[step].internal += added.internal;
  granted_[step].round_up += added.round_up;
  return added.total();
}

void Replica::Grant(RequestId id, std::int64_t present, std::int64_t now_ns) {
  const TraceRequest& request = requests_[id];
  const sim::Grant grant = rule_.For(request, present);
  ledger_.Grant(id.value(), FinalSlots(request), grant.requested, grant.granted,
                now_ns);
  std::int64_t& most_granted = lives_[id.value()].most_granted;
  most_granted = std::max(most_granted, grant.granted);
}

void Replica::NoteFirstTokens(std::span<const ScheduledSequence> scheduled) {
  for (const ScheduledSequence& sequence : scheduled) {
    Life& life = lives_[sequence.request.value()];
    if (sequence.samples && life.first_token_ns < 0) {
      life.first_token_ns = now_ns_;
    }
  }
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
      observer_.OnAdmission(requests_[sequence.request].id, now_ns_);
      Life& life = lives_[index];
      const auto place =
          std::find(queue_.begin(), queue_.end(), sequence.request);
      if (place - queue_.begin() < num_swapped_) --num_swapped_;
      queue_.erase(place);
      CountWaitTo(life);
      if (life.admit_ns < 0) Admit(sequence, life);
    }
    if (present > ledger_.requested(index)) {
      Grant(sequence.request, present, now_ns_);
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

void Replica::Preempt(const Preemption& preemption) {
  const RequestId id = preemption.request;
  const bool is_swapped = preemption.mode == PreemptionMode::kSwap;
  const std::size_t index = id.value();
  Life& life = lives_[index];
  const std::int64_t lost = ledger_.present(index);
  ledger_.Release(index, now_ns_);
  // Who is swapped out comes before all others.
  if (is_swapped) {
    queue_.push_front(id);
    ++num_swapped_;
  } else {
    queue_.insert(queue_.begin() + num_swapped_, id);
  }
  CountWaitFrom(life);
  observer_.OnPreemption(requests_[id].id, now_ns_);

  ++life.preemptions;
  life.fruitless_preemptions =
      lost > life.furthest ? 1 : life.fruitless_preemptions + 1;
  life.furthest = std::max(life.furthest, lost);
  ++totals_.preemptions;
  totals_.recomputed_tokens += is_swapped ? 0 : lost;
  totals_.swaps += is_swapped ? 1 : 0;
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

void Replica::CountWaitFrom(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] -= wait_ns_[i];
  }
}

void Replica::CountWaitTo(Life& life) const {
  for (std::size_t i = 0; i < wait_ns_.size(); ++i) {
    life.waited_ns[i] += wait_ns_[i];
  }
}

absl::StatusOr<CauseSlots> Replica::Account(Cause free,
                                            const Held& held) const {
  CauseSlots slots = held.slots;
  slots[Cause::kCachedIdle] = batcher_.cached_idle_slots();
  const std::int64_t free_slots =
      batcher_.free_slots() + held.ahead - slots[Cause::kCachedIdle];
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
                           std::int32_t preemptions, const Held& held) {
  const absl::StatusOr<CauseSlots> slots = Account(free, held);
  if (!slots.ok()) return slots.status();
  totals_.peak_slots = std::max(totals_.peak_slots, slots->allocated());
  totals_.peak_running = std::max(totals_.peak_running, batcher_.num_running());
  const Sample sample{
      .replica = index_,
      .begin_ns = now_ns_,
      .duration_ns = duration_ns,
      .is_step = is_step,
      .slots = *slots,
      .running = batcher_.num_running(),
      .waiting = batcher_.num_waiting(),
      .preemptions = preemptions,
      .blocked = free,
      .head = queue_.empty() ? -1 : requests_[queue_.front()].id,
      .largest_free_slots = batcher_.largest_free_slots() + held.ahead,
      .work = held.work};
  observer_.OnSample(sample);
  if (MemoryVisitor* const visitor = observer_.WatchMemory(sample)) {
    batcher_.VisitMemory(*visitor);
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
