// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/contiguous_batcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/memory_visitor.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

ContiguousBatcher::ContiguousBatcher(std::int32_t max_num_seqs,
                                     TokenCount max_num_batched_tokens,
                                     const LiveRequests& requests,
                                     ContiguousMemory& memory)
    : max_num_seqs_(max_num_seqs),
      max_num_batched_tokens_(max_num_batched_tokens.value()),
      requests_(requests),
      memory_(memory) {}

absl::StatusOr<bool> ContiguousBatcher::Submit(RequestId id) {
  if (!memory_.CouldHold(requests_[id])) return false;
  waiting_.push_back({.id = id});
  return true;
}

absl::StatusOr<BatchStep> ContiguousBatcher::Schedule(std::int32_t max_steps) {
  scheduled_.clear();
  preempted_.clear();
  std::int64_t budget = max_num_batched_tokens_;
  ScheduleRunning(budget);
  const Cause blocked = Admit(budget);
  num_steps_ = AlikeSteps(max_steps);
  return BatchStep{.num_steps = num_steps_,
                   .scheduled = scheduled_,
                   .preempted = preempted_,
                   .blocked = blocked};
}

// While all running sequences decode and none finishes, nothing that was
// granted at admission changes, and so neither does what is refused.
std::int32_t ContiguousBatcher::AlikeSteps(std::int32_t max_steps) const {
  if (max_steps == 1 || memory_.grows() || !preempted_.empty() ||
      scheduled_.size() != running_.size()) {
    return 1;
  }
  std::int32_t steps = max_steps;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (scheduled_[i].kind != ScheduledSequence::Kind::kRunning ||
        scheduled_[i].num_tokens != 1 || !scheduled_[i].samples) {
      return 1;
    }
    steps = std::min(steps,
                     request(running_[i]).output_tokens - running_[i].sampled);
  }
  return steps;
}

void ContiguousBatcher::ScheduleRunning(std::int64_t& budget) {
  for (std::size_t i = 0; i < running_.size() && budget > 0; ++i) {
    const std::int64_t num_tokens =
        std::min(KnownTokens(running_[i]) - running_[i].computed, budget);
    const std::int64_t present = running_[i].computed + num_tokens;
    while (
        !memory_.TryGrow(request(running_[i]), running_[i].computed, present)) {
      PreemptLast(running_[i].id);
      if (i == running_.size()) return;  // it was the last itself
    }
    Emit(running_[i], num_tokens, ScheduledSequence::Kind::kRunning);
    budget -= num_tokens;
  }
}

Cause ContiguousBatcher::Admit(std::int64_t& budget) {
  std::int64_t longest_running = 0;
  for (const Sequence& sequence : running_) {
    longest_running = std::max(longest_running, sequence.present);
  }
  while (!waiting_.empty()) {
    if (!preempted_.empty() || budget == 0 || num_running() == max_num_seqs_) {
      return Cause::kBlockedPolicy;
    }
    Sequence& head = waiting_.front();
    const std::int64_t known = KnownTokens(head);
    const std::int64_t num_tokens = std::min(known, budget);
    if (!memory_.TryAdmit({.request = request(head),
                           .known_tokens = known,
                           .first_tokens = num_tokens,
                           .longest_running = longest_running},
                          head.place)) {
      return memory_.admission_block();
    }
    Emit(head, num_tokens,
         head.was_preempted ? ScheduledSequence::Kind::kResumed
                            : ScheduledSequence::Kind::kNew);
    budget -= num_tokens;
    longest_running = std::max(longest_running, known);
    running_.push_back(head);
    waiting_.pop_front();
  }
  return Cause::kIdle;
}

void ContiguousBatcher::Emit(Sequence& sequence, std::int64_t num_tokens,
                             ScheduledSequence::Kind kind) {
  sequence.present = sequence.computed + num_tokens;
  scheduled_.push_back(
      {.request = sequence.id,
       .sequence = SequenceId(),
       .num_computed = static_cast<std::int32_t>(sequence.computed),
       .num_tokens = static_cast<std::int32_t>(num_tokens),
       .kind = kind,
       .samples = sequence.present == KnownTokens(sequence)});
}

void ContiguousBatcher::PreemptLast(RequestId on_behalf_of) {
  Sequence victim = running_.back();
  running_.pop_back();
  preempted_.push_back({.request = victim.id,
                        .on_behalf_of = on_behalf_of,
                        .blocks_needed = BlockCount(0),
                        .blocks_free = BlockCount(0),
                        .tokens_lost = TokenCount(victim.computed)});
  memory_.Release(request(victim), victim.computed, victim.place);
  waiting_.push_front(
      {.id = victim.id, .sampled = victim.sampled, .was_preempted = true});
}

absl::StatusOr<std::span<const FinishedRequest>> ContiguousBatcher::Update() {
  finished_.clear();
  for (Sequence& sequence : running_) {
    sequence.present += num_steps_ - 1;
    sequence.computed = sequence.present;
    sequence.sampled += num_steps_ - 1;
    if (sequence.computed < KnownTokens(sequence)) continue;  // prompt chunk
    ++sequence.sampled;
    if (sequence.sampled < request(sequence).output_tokens) continue;
    memory_.Release(request(sequence), sequence.present, sequence.place);
    finished_.push_back(
        {.id = sequence.id, .num_output_tokens = TokenCount(sequence.sampled)});
  }
  if (!finished_.empty()) {
    std::erase_if(running_, [this](const Sequence& sequence) {
      return sequence.sampled == request(sequence).output_tokens;
    });
  }
  return finished_;
}

absl::Status ContiguousBatcher::Fail(std::vector<RequestId>& lost) {
  for (const Sequence& sequence : running_) {
    memory_.Release(request(sequence), sequence.present, sequence.place);
    lost.push_back(sequence.id);
  }
  for (const Sequence& sequence : waiting_) lost.push_back(sequence.id);
  running_.clear();
  waiting_.clear();
  return absl::OkStatus();
}

bool ContiguousBatcher::VisitMemory(MemoryVisitor& visitor) const {
  if (!memory_.places_sequences()) return false;
  memory_.VisitTail(visitor);
  for (const Sequence& sequence : running_) {
    memory_.VisitSequence(request(sequence), sequence.present, sequence.place,
                          visitor);
  }
  return true;
}

}  // namespace pagedkv::sim
