// SPDX-License-Identifier: Apache-2.0
//
// What the next step does: who goes on, who gives way, who is admitted.
#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "scheduler/scheduler_impl.h"

namespace pagedkv {

absl::StatusOr<StepPlan> Scheduler::Impl::Schedule(std::int32_t max_steps) {
  if (max_steps < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_steps is %d; it must be at least 1", max_steps));
  }
  if (in_flight_) {
    return absl::FailedPreconditionError(
        "the last plan was not reported: call Update before Schedule");
  }
  scheduled_.clear();
  scheduled_slots_.clear();
  preempted_.clear();
  plan_ended_.swap(ended_);
  ended_.clear();

  budget_ = options_.max_num_batched_tokens;
  ScheduleRunning();
  const AdmissionBlock block = ScheduleWaiting();
  plan_tokens_ = options_.max_num_batched_tokens - budget_;
  num_steps_ = 1;
  if (max_steps > 1) AddSteps(max_steps - 1, block);
  if (options_.fill_slot_mapping) FillSlotMapping();
  TakeDeltas();
  in_flight_ = true;
  return StepPlan{.num_steps = num_steps_,
                  .scheduled = scheduled_,
                  .num_tokens = plan_tokens_,
                  .slot_mapping = slot_mapping_,
                  .table_deltas = table_deltas_,
                  .swap_out = swap_outs_,
                  .swap_in = swap_ins_,
                  .copies = copies_,
                  .fresh_blocks = fresh_blocks_,
                  .preempted = preempted_,
                  .ended = plan_ended_,
                  .admission_block = block};
}

TokenCount Scheduler::Impl::ChunkOf(TokenCount lacking,
                                    TokenCount budget) const {
  const TokenCount threshold = options_.long_prefill_token_threshold;
  if (threshold > TokenCount(0)) lacking = std::min(lacking, threshold);
  return std::min(lacking, budget);
}

// The next chunk of a sequence of `all` tokens. With state-space layers it ends
// at a multiple of their block size, so that the state there can be shared.
TokenCount Scheduler::Impl::ChunkFrom(TokenCount computed, TokenCount all,
                                      TokenCount budget) const {
  const TokenCount count = ChunkOf(all - computed, budget);
  if (state_alignment_ == 0 || computed + count == all) return count;
  const TokenCount end((computed + count).value() / state_alignment_ *
                       state_alignment_);
  return end > computed ? end - computed : count;
}

void Scheduler::Impl::ScheduleRunning() {
  TokenCount budget = budget_;
  for (std::size_t i = 0; i < running_.size() && budget > TokenCount(0); ++i) {
    const Slot slot = running_[i];
    const LiveRequest& live = request(slot);
    if (IsGroup(live)) {
      budget_ = budget;
      const std::optional<std::size_t> place = TryScheduleGroup(i);
      if (!place.has_value()) return;
      i = *place;
      budget = budget_;
      continue;
    }
    const TokenCount computed = cache_.num_tokens(live.sequence);
    const TokenCount all(live.num_tokens);
    const TokenCount count = all - computed == TokenCount(1)
                                 ? TokenCount(1)
                                 : ChunkFrom(computed, all, budget);
    // Most steps of most requests do not look at their details.
    std::span<const TokenId> tokens;
    if (live.needs_samples) tokens = details(slot).tokens;
    if (!TryAppend(live.sequence, count, tokens)) {
      budget_ = budget;
      const std::optional<std::size_t> place =
          TryMakeRoom(i, live.sequence, count, tokens);
      if (!place.has_value()) return;
      i = *place;
      budget = budget_;
    }
    budget -= count;
    AddToPlan(slot, live, computed, count, ScheduledSequence::Kind::kRunning);
  }
  budget_ = budget;
}

// Preempts requests for the one at `index`, until there are blocks for what its
// sequence appends. Returns where the request runs then; nullopt if it had to
// give way itself.
std::optional<std::size_t> Scheduler::Impl::TryMakeRoom(
    std::size_t index, SequenceId sequence, TokenCount count,
    std::span<const TokenId> tokens) {
  do {
    const std::size_t victim = VictimIndex();
    const BlockCount needed =
        cache_.BlocksToCover(sequence, cache_.num_tokens(sequence) + count);
    Preempt(victim, request(running_[index]).id, needed);
    if (victim == index) return std::nullopt;
    if (victim < index) --index;
  } while (!TryAppend(sequence, count, tokens));
  return index;
}

// The next tokens of the prompt of the group at `index`, or of each of its
// sequences. Returns as `TryMakeRoom`.
std::optional<std::size_t> Scheduler::Impl::TryScheduleGroup(
    std::size_t index) {
  const Slot slot = running_[index];
  const auto schedule = [&](const SequenceGroup::Member& member,
                            TokenCount count, std::span<const TokenId> tokens) {
    const TokenCount computed = cache_.num_tokens(member.sequence);
    if (!TryAppend(member.sequence, count, tokens)) {
      const std::optional<std::size_t> place =
          TryMakeRoom(index, member.sequence, count, tokens);
      if (!place.has_value()) return false;
      index = *place;
    }
    budget_ -= count;
    AddMemberToPlan(slot, member, computed, count,
                    ScheduledSequence::Kind::kRunning);
    return true;
  };
  if (!ForEachChunk(slot, budget_, schedule)) return std::nullopt;
  return index;
}

// Calls `schedule(member, count, tokens)` for the sequences of a group that
// compute something in a step, in their order, while it returns true; whether
// it always did. `budget` is what is left of the step, after each call.
bool Scheduler::Impl::ForEachChunk(Slot slot, const TokenCount& budget,
                                   ScheduleChunk schedule) {
  const LiveRequest& live = request(slot);
  const SequenceGroup& group = this->group(live);
  if (!group.has_spread()) {
    const SequenceGroup::Member& first = group.members().front();
    const TokenCount count =
        ChunkFrom(cache_.num_tokens(first.sequence),
                  TokenCount(details(slot).num_prompt_tokens), budget);
    return schedule(first, count, details(slot).tokens);
  }
  // They sample together or not at all. Else each goes up to its last token.
  const TokenCount all(live.num_tokens);
  TokenCount lacking(0);
  bool is_cut = false;
  for (const SequenceGroup::Member& member : group.members()) {
    const TokenCount missing = all - cache_.num_tokens(member.sequence);
    lacking += missing;
    is_cut |= ChunkOf(missing, missing) < missing;
  }
  const bool samples = lacking <= budget && !is_cut;
  const TokenCount end = samples ? all : all - TokenCount(1);
  for (const SequenceGroup::Member& member : group.members()) {
    const TokenCount computed = cache_.num_tokens(member.sequence);
    if (computed == end) continue;
    const TokenCount whole = ChunkFrom(computed, end, end - computed);
    if (budget == TokenCount(0) ||
        (!options_.chunked_prefill && whole > budget)) {
      break;
    }
    const TokenCount count =
        samples ? end - computed : ChunkFrom(computed, end, budget);
    if (!schedule(member, count, member.tokens)) return false;
  }
  return true;
}

void Scheduler::Impl::AddMemberToPlan(Slot slot,
                                      const SequenceGroup::Member& member,
                                      TokenCount num_computed,
                                      TokenCount num_tokens,
                                      ScheduledSequence::Kind kind) {
  AddToPlan(slot, request(slot), num_computed, num_tokens, kind);
  ScheduledSequence& entry = scheduled_.back();
  entry.sequence = member.sequence;
  entry.sequence_index = static_cast<std::int16_t>(member.index);
  const SequenceGroup& group = this->group(request(slot));
  if (group.is_beam()) {
    entry.num_samples = 0;
  } else if (entry.samples && !group.has_branched()) {
    entry.num_samples = group.width();
  }
}

AdmissionBlock Scheduler::Impl::ScheduleWaiting() {
  for (DropStaleFronts(); num_waiting_ > 0; DropStaleFronts()) {
    if (!preempted_.empty()) return AdmissionBlock::kPreempted;
    if (budget_ == TokenCount(0)) return AdmissionBlock::kTokenBudget;
    const bool is_swapped = !swapped_.empty();
    const Slot slot = (is_swapped ? swapped_ : waiting_).front().slot;
    LiveRequest& live = request(slot);
    if (num_running_sequences_ + NumPlaces(live) > options_.max_num_seqs) {
      return AdmissionBlock::kSequences;
    }
    if (is_swapped) {
      const AdmissionBlock block = TrySwapIn(slot);
      if (block != AdmissionBlock::kNone) return block;
      swapped_.PopFront();
      live.is_swapped = false;
      StartRunning(slot);
      AddResumedToPlan(slot);
      continue;
    }
    const SequenceId sequence = TryEnter(slot);
    if (sequence == SequenceId()) return AdmissionBlock::kSequences;
    const AdmissionBlock block = TryAdmit(slot, sequence);
    if (block != AdmissionBlock::kNone) {
      Leave(live);
      return block;
    }
    const TokenCount count = cache_.num_tokens(sequence) - match_.num_tokens;
    waiting_.PopFront();
    TakeBackAnnouncement(details(slot));
    StartRunning(slot);
    budget_ -= count;
    const auto kind = live.was_preempted ? ScheduledSequence::Kind::kResumed
                                         : ScheduledSequence::Kind::kNew;
    if (IsGroup(live)) {
      AddMemberToPlan(slot, group(live).members().front(), match_.num_tokens,
                      count, kind);
    } else {
      AddToPlan(slot, live, match_.num_tokens, count, kind);
    }
  }
  return AdmissionBlock::kNone;
}

void Scheduler::Impl::StartRunning(Slot slot) {
  LiveRequest& live = request(slot);
  --num_waiting_;
  live.state = RequestState::kRunning;
  num_running_sequences_ += NumPlaces(live);
  running_.push_back(slot);
}

// An empty sequence for the request, and what else of the cache's rows it will
// need; the default id if there are too few.
SequenceId Scheduler::Impl::TryEnter(Slot slot) {
  LiveRequest& live = request(slot);
  const SequenceOptions& options = details(slot).sequence;
  if (IsGroup(live)) {
    SequenceGroup& group = this->group(live);
    return group.TryEnter(cache_, options) ? group.members().front().sequence
                                           : SequenceId();
  }
  const absl::StatusOr<SequenceId> added = cache_.AddSequence(options);
  if (added.ok()) live.sequence = *added;
  return added.ok() ? *added : SequenceId();
}

// Gives back all that the request has in the cache.
void Scheduler::Impl::Leave(LiveRequest& live) {
  if (IsGroup(live)) {
    group(live).Leave(cache_);
    return;
  }
  PAGEDKV_CHECK(cache_.Release(live.sequence).ok());
  live.sequence = SequenceId();
}

// Gives the empty sequence what the cache has of it, which `match_` then says,
// and blocks for its first chunk; or says what is in the way. The first of a
// group's sequences only computes the prompt.
AdmissionBlock Scheduler::Impl::TryAdmit(Slot slot, SequenceId sequence) {
  const LiveRequest& live = request(slot);
  const RequestDetails& details = this->details(slot);
  const TokenCount all(IsGroup(live) ? details.num_prompt_tokens
                                     : live.num_tokens);
  match_.num_tokens = TokenCount(0);
  if (!details.tokens.empty()) {
    PAGEDKV_CHECK(cache_.Match(sequence, details.tokens, match_).ok());
  }
  const TokenCount lacking = all - match_.num_tokens;
  if (!options_.chunked_prefill && ChunkOf(lacking, lacking) > budget_) {
    return AdmissionBlock::kTokenBudget;
  }
  const TokenCount must_fit =
      options_.reserve_full_prompt ? all : TokenCount(0);
  const TokenCount count = ChunkFrom(match_.num_tokens, all, budget_);
  blocks_refused_ = BlockCount(0);
  if (IsGroup(live) && options_.reserve_full_prompt) {
    // What its sequences had before they were preempted, too.
    const TokenCount encoder = details.sequence.num_encoder_tokens;
    const BlockCount needed =
        BlocksLacking(details, all) - cache_.BlocksFor(all, encoder) +
        cache_.BlocksForForks(
            static_cast<std::int32_t>(group(live).members().size()), all,
            TokenCount(live.num_tokens), encoder);
    blocks_refused_ = needed;
    const BlockCount free = cache_.pool().num_free();
    if (needed > free) return AdmissionBlock::kBlocks;
    if (!running_.empty() && needed + cache_.pool().watermark_blocks() > free) {
      return AdmissionBlock::kWatermark;
    }
  }
  const absl::StatusOr<bool> granted =
      cache_.TryAppend(sequence, count,
                       {.must_fit = must_fit,
                        .keep_watermark = !running_.empty(),
                        .tokens = details.tokens,
                        .match = details.tokens.empty() ? nullptr : &match_});
  PAGEDKV_CHECK(granted.ok());
  if (*granted) return AdmissionBlock::kNone;
  const BlockCount lacking_blocks =
      BlocksLacking(details, std::max(must_fit, match_.num_tokens + count));
  blocks_refused_ = std::max(blocks_refused_, lacking_blocks);
  return lacking_blocks > cache_.pool().num_free() ? AdmissionBlock::kBlocks
                                                   : AdmissionBlock::kWatermark;
}

// Free blocks that it takes to admit `covered` tokens after `match_`, whose
// blocks are free themselves where nobody uses them.
BlockCount Scheduler::Impl::BlocksLacking(const RequestDetails& details,
                                          TokenCount covered) const {
  BlockCount lacking =
      cache_.BlocksFor(covered, details.sequence.num_encoder_tokens);
  if (match_.num_tokens == TokenCount(0)) return lacking;
  for (const std::vector<BlockId>& hit : match_.blocks) {
    lacking -=
        BlockCount(std::count_if(hit.begin(), hit.end(), [this](BlockId block) {
          return block == kNullBlock || cache_.pool().ref_count(block) > 0;
        }));
  }
  return lacking;
}

// Lets the plan go on for up to `most` steps more, as far as nothing else would
// happen in them. The first step is planned, and what it says holds for all.
void Scheduler::Impl::AddSteps(std::int32_t most, AdmissionBlock block) {
  if (!preempted_.empty() ||
      std::cmp_not_equal(scheduled_.size(), num_running_sequences_) ||
      plan_tokens_ != TokenCount(num_running_sequences_)) {
    return;
  }
  const std::optional<BlockCount> reserve = FreeBlocksToKeep(block);
  if (!reserve.has_value()) return;
  for (std::size_t i = 0; i < scheduled_.size(); ++i) {
    const ScheduledSequence& entry = scheduled_[i];
    if (entry.kind != ScheduledSequence::Kind::kRunning ||
        entry.num_samples != 1) {
      return;
    }
    const LiveRequest& live = request(scheduled_slots_[i]);
    most = std::min(most, live.end_tokens - live.num_tokens - 1);
  }
  if (most <= 0 || scheduled_.empty()) return;
  horizon_.Reset(most);
  for (const ScheduledSequence& entry : scheduled_) {
    horizon_.Add(entry.sequence);
  }
  const std::int32_t steps = horizon_.NumSteps(*reserve);
  if (steps == 0) return;
  for (const ScheduledSequence& entry : scheduled_) {
    PAGEDKV_CHECK(TryAppend(entry.sequence, TokenCount(steps), {}));
  }
  num_steps_ += steps;
}

// How many free blocks further steps must leave so that the first that waits is
// not admitted for the same cause as in this one, while nobody finishes;
// nullopt if that cannot be said.
std::optional<BlockCount> Scheduler::Impl::FreeBlocksToKeep(
    AdmissionBlock block) const {
  // Blocks that the copies of this step read cannot be swapped into.
  if (!swapped_.empty() && !cache_.copies().empty()) return std::nullopt;
  const bool may_find = swapped_.empty() && !waiting_.empty() &&
                        cache_.pool().prefix_caching() &&
                        !details(waiting_.front().slot).tokens.empty();
  switch (block) {
    case AdmissionBlock::kNone:
    case AdmissionBlock::kSequences:
      return BlockCount(0);
    case AdmissionBlock::kTokenBudget:
      if (may_find && budget_ > TokenCount(0)) return std::nullopt;
      return BlockCount(0);
    case AdmissionBlock::kBlocks:
      if (may_find) return std::nullopt;
      return BlockCount(0);
    case AdmissionBlock::kWatermark:
      if (may_find) return std::nullopt;
      return blocks_refused_;
    case AdmissionBlock::kPreempted:
      break;
  }
  return std::nullopt;
}

void Scheduler::Impl::FillSlotMapping() {
  for (int group = 0; group < cache_.num_groups(); ++group) {
    std::vector<std::int64_t>& slots =
        slot_mapping_[static_cast<std::size_t>(group)];
    if (cache_.group_options(group).kind == AttentionKind::kCross) continue;
    slots.resize(static_cast<std::size_t>(plan_tokens_.value() * num_steps_));
    if (num_steps_ > 1) {
      const std::size_t stride = scheduled_.size();
      for (std::size_t i = 0; i < stride; ++i) {
        const ScheduledSequence& entry = scheduled_[i];
        std::size_t next = i;
        for (std::int32_t step = 0; step < num_steps_; ++step, next += stride) {
          slots[next] =
              cache_.Slot(entry.sequence, entry.num_computed + step, group);
        }
      }
      continue;
    }
    std::int64_t* next = slots.data();
    for (const ScheduledSequence& entry : scheduled_) {
      if (entry.num_tokens == 1) {
        *next++ = cache_.Slot(entry.sequence, entry.num_computed, group);
        continue;
      }
      const auto count = static_cast<std::size_t>(entry.num_tokens);
      cache_.FillSlotMapping(entry.sequence, entry.num_computed, {next, count},
                             group);
      next += count;
    }
  }
}

// Takes over what the engine has to upload and copy, so that what changes while
// the plan is in flight (an abort, a fork by the client) comes with the next.
void Scheduler::Impl::TakeDeltas() {
  for (std::size_t group = 0; group < dirty_ranges_.size(); ++group) {
    const std::span<const DirtyRange> dirty =
        cache_.tables(static_cast<int>(group)).dirty_ranges();
    dirty_ranges_[group].assign(dirty.begin(), dirty.end());
    table_deltas_[group] = dirty_ranges_[group];
  }
  swap_outs_.assign(cache_.swap_outs().begin(), cache_.swap_outs().end());
  swap_ins_.assign(cache_.swap_ins().begin(), cache_.swap_ins().end());
  copies_.assign(cache_.copies().begin(), cache_.copies().end());
  fresh_blocks_.assign(cache_.fresh_blocks().begin(),
                       cache_.fresh_blocks().end());
  cache_.ClearDirty();
  cache_.ClearCopies();
}

// The last admitted, or the least important; among equals the first admitted.
std::size_t Scheduler::Impl::VictimIndex() const {
  if (options_.policy == SchedulingPolicy::kFcfs) return running_.size() - 1;
  const auto less_important = [this](Slot a, Slot b) {
    return std::pair(details(a).priority, details(a).arrival) <
           std::pair(details(b).priority, details(b).arrival);
  };
  return static_cast<std::size_t>(
      std::max_element(running_.begin(), running_.end(), less_important) -
      running_.begin());
}

void Scheduler::Impl::Preempt(std::size_t running_index, RequestId on_behalf_of,
                              BlockCount blocks_needed) {
  const Slot slot = running_[running_index];
  LiveRequest& live = request(slot);
  const BlockCount blocks_free = cache_.pool().num_free();
  TokenCount lost = NumComputed(slot);
  // What was planned of it earlier in this step is not computed, and never will
  // be: nobody may find it.
  const auto planned =
      std::find(scheduled_slots_.begin(), scheduled_slots_.end(), slot);
  if (planned != scheduled_slots_.end()) {
    const auto first =
        static_cast<std::size_t>(planned - scheduled_slots_.begin());
    const std::size_t end = EndOfEntries(first);
    for (std::size_t i = first; i < end; ++i) {
      const ScheduledSequence& entry = scheduled_[i];
      budget_ += TokenCount(entry.num_tokens);
      lost -= TokenCount(entry.num_tokens);
      if (cache_.vllm_compatible() &&
          options_.preemption == PreemptionMode::kRecompute) {
        continue;
      }
      PAGEDKV_CHECK(
          cache_.Retract(entry.sequence, TokenCount(entry.num_computed)).ok());
    }
    const auto from = static_cast<std::ptrdiff_t>(first);
    const auto to = static_cast<std::ptrdiff_t>(end);
    scheduled_.erase(scheduled_.begin() + from, scheduled_.begin() + to);
    scheduled_slots_.erase(scheduled_slots_.begin() + from,
                           scheduled_slots_.begin() + to);
  }
  live.is_swapped = options_.preemption == PreemptionMode::kSwap &&
                    lost > TokenCount(0) && TrySwapOut(live);
  preempted_.push_back({.request = live.id,
                        .on_behalf_of = on_behalf_of,
                        .blocks_needed = blocks_needed,
                        .blocks_free = blocks_free,
                        .tokens_lost = live.is_swapped ? TokenCount(0) : lost,
                        .mode = live.is_swapped ? PreemptionMode::kSwap
                                                : PreemptionMode::kRecompute});
  if (!live.is_swapped) Leave(live);
  live.was_preempted = true;
  num_running_sequences_ -= NumPlaces(live);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_index));
  (live.is_swapped ? swapped_ : waiting_).PushFront(EnterQueue(slot));
}

// Behind the entries of the plan that are of the same request as the first.
std::size_t Scheduler::Impl::EndOfEntries(std::size_t first) const {
  std::size_t end = first + 1;
  while (end < scheduled_.size() &&
         scheduled_[end].request == scheduled_[first].request) {
    ++end;
  }
  return end;
}

TokenCount Scheduler::Impl::NumComputed(Slot slot) const {
  const LiveRequest& live = request(slot);
  if (!IsGroup(live)) return cache_.num_tokens(live.sequence);
  return group(live).NumComputed(cache_,
                                 TokenCount(details(slot).num_prompt_tokens));
}

}  // namespace pagedkv
