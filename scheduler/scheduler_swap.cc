// SPDX-License-Identifier: Apache-2.0
//
// Requests that leave for the swap space with all their sequences, and come
// back.
#include <algorithm>

#include "base/check.h"
#include "scheduler/scheduler_impl.h"

namespace pagedkv {

// Lists what the request has in the cache, the spare rows of a group aside.
void Scheduler::Impl::GatherSequences(const LiveRequest& live) {
  swap_sequences_.clear();
  if (!IsGroup(live)) {
    swap_sequences_.push_back(live.sequence);
    return;
  }
  for (const SequenceGroup::Member& member : group(live).members()) {
    if (member.sequence != SequenceId()) {
      swap_sequences_.push_back(member.sequence);
    }
  }
}

bool Scheduler::Impl::TrySwapOut(const LiveRequest& live) {
  GatherSequences(live);
  const absl::StatusOr<bool> granted = cache_.TrySwapOut(swap_sequences_);
  PAGEDKV_CHECK(granted.ok());
  return *granted;
}

// Gives a request that is swapped out its blocks again, if there are enough for
// them and for what it computes in this step; or says what is in the way.
//
// With nothing else running there are: what it holds and lacks is no more than
// what `Submit` has found to fit.
AdmissionBlock Scheduler::Impl::TrySwapIn(Slot slot) {
  GatherSequences(request(slot));
  if (!ChooseResumedChunks(slot)) return AdmissionBlock::kTokenBudget;
  BlockCount needed = cache_.BlocksToSwapIn(swap_sequences_, swap_counts_);
  if (options_.reserve_full_prompt) {
    needed =
        std::max(needed, cache_.BlocksToSwapIn(swap_sequences_, swap_lacking_,
                                               /*in_chunks=*/true));
  }
  blocks_refused_ = needed;
  const BlockCount free = cache_.pool().num_free();
  if (needed > free) return AdmissionBlock::kBlocks;
  if (!running_.empty() && needed + cache_.pool().watermark_blocks() > free) {
    return AdmissionBlock::kWatermark;
  }
  const absl::StatusOr<bool> granted = cache_.TrySwapIn(swap_sequences_);
  PAGEDKV_CHECK(granted.ok());
  return *granted ? AdmissionBlock::kNone : AdmissionBlock::kBlocks;
}

// How many tokens each of the listed sequences computes of this step's budget,
// and how many it lacks up to where it samples; whether there are any.
bool Scheduler::Impl::ChooseResumedChunks(Slot slot) {
  const LiveRequest& live = request(slot);
  const bool computes_prompt = IsGroup(live) && !group(live).has_spread();
  const TokenCount all(computes_prompt ? details(slot).num_prompt_tokens
                                       : live.num_tokens);
  swap_counts_.assign(swap_sequences_.size(), TokenCount(0));
  swap_lacking_.clear();
  for (SequenceId sequence : swap_sequences_) {
    swap_lacking_.push_back(all - cache_.num_tokens(sequence));
  }
  if (!IsGroup(live)) {
    const TokenCount lacking = swap_lacking_.front();
    if (!options_.chunked_prefill && ChunkOf(lacking, lacking) > budget_) {
      return false;
    }
    swap_counts_.front() = ChunkFrom(all - lacking, all, budget_);
    return true;
  }
  TokenCount budget = budget_;
  ForEachChunk(slot, budget,
               [&](const SequenceGroup::Member& member, TokenCount count,
                   std::span<const TokenId>) {
                 const auto index =
                     std::find(swap_sequences_.begin(), swap_sequences_.end(),
                               member.sequence) -
                     swap_sequences_.begin();
                 swap_counts_[static_cast<std::size_t>(index)] = count;
                 budget -= count;
                 return true;
               });
  return budget < budget_;
}

// Appends to the listed sequences, which are in the pool again, what was chosen
// for them.
void Scheduler::Impl::AddResumedToPlan(Slot slot) {
  constexpr auto kResumed = ScheduledSequence::Kind::kResumed;
  const LiveRequest& live = request(slot);
  std::size_t index = 0;
  const auto append = [&](std::span<const TokenId> tokens) {
    const SequenceId sequence = swap_sequences_[index];
    PAGEDKV_CHECK(TryAppend(sequence, swap_counts_[index], tokens));
    budget_ -= swap_counts_[index];
  };
  if (!IsGroup(live)) {
    const TokenCount computed = cache_.num_tokens(live.sequence);
    append(details(slot).tokens);
    AddToPlan(slot, live, computed, swap_counts_[index], kResumed);
    return;
  }
  for (const SequenceGroup::Member& member : group(live).members()) {
    if (member.sequence == SequenceId()) continue;
    if (swap_counts_[index] > TokenCount(0)) {
      const TokenCount computed = cache_.num_tokens(member.sequence);
      append(group(live).has_spread()
                 ? std::span<const TokenId>(member.tokens)
                 : std::span<const TokenId>(details(slot).tokens));
      AddMemberToPlan(slot, member, computed, swap_counts_[index], kResumed);
    }
    ++index;
  }
}

}  // namespace pagedkv
