// SPDX-License-Identifier: Apache-2.0
//
// How a sequence grows: what an append needs, and how it is given.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/group_rules.h"
#include "block_table/prefix_cache.h"
#include "block_table/swap_space.h"
#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {

absl::Status KvCacheManager::CheckAppend(SequenceId id, TokenCount count,
                                         const AppendOptions& options) const {
  if (!IsLive(id)) return NotLive(id);
  if (IsSwapped(id)) return Swapped(id);
  if (count < TokenCount(0) || options.lookahead < TokenCount(0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "cannot append %d tokens with a lookahead of %d: negative",
        count.value(), options.lookahead.value()));
  }
  TokenCount computed = num_tokens(id);
  if (options.match != nullptr) {
    computed += options.match->num_tokens;
    if (num_tokens(id) > TokenCount(0) || HoldsTokens(Row(id))) {
      return absl::FailedPreconditionError(
          absl::StrFormat("a sequence of %d tokens cannot begin with a match",
                          num_tokens(id).value()));
    }
    if (options.match->num_tokens > TokenCount(0) &&
        (cache_ == nullptr || !cache_->IsCurrent(*options.match))) {
      return absl::FailedPreconditionError(
          "the match is out of date: match again after a change");
    }
  }
  if (count > max_sequence_tokens_ - computed) {
    return absl::OutOfRangeError(absl::StrFormat(
        "a sequence of %d tokens cannot grow by %d: max_sequence_tokens is %d",
        computed.value(), count.value(), max_sequence_tokens_.value()));
  }
  return absl::OkStatus();
}

// Whether `count` more tokens can be written; where it takes no more than
// blocks at the end of the only table, takes them. Most appends that are not
// inline are of this kind.
bool KvCacheManager::TryExtendWritable(SequenceId id, TokenCount count) {
  Sequence& sequence = sequences_[Row(id)];
  if (count.value() <= sequence.write_limit - sequence.num_tokens) return true;
  if (!is_simple_) return false;
  const BlockSize size = block_size();
  const TokenCount covered = TokenCount(sequence.num_tokens) + count;
  BlockTables& tables = groups_.front().tables;
  const std::int32_t length = tables.length(row(id));
  // With the table's end at the sequence's, no block is shared that would be
  // written.
  if (length == 0 ||
      size.Slots(BlockCount(length)) != TokenCount(sequence.num_tokens)) {
    return false;
  }
  const BlockCount added = size.CoveringBlocks(covered) - BlockCount(length);
  if (added > pool_.num_free()) return false;
  Take(tables.Extend(row(id), static_cast<std::int32_t>(added.value())));
  sequence.write_limit = static_cast<std::int32_t>(
      std::min(size.Slots(BlockCount(length) + added), max_sequence_tokens_)
          .value());
  return true;
}

// Nothing to find fault with: what `CheckAppend` would say at greater length.
bool KvCacheManager::IsPlainAppend(SequenceId id, TokenCount count,
                                   const AppendOptions& options) const {
  return options.match == nullptr && options.lookahead >= TokenCount(0) &&
         count >= TokenCount(0) && IsLive(id) && !IsSwapped(id) &&
         count <= max_sequence_tokens_ - num_tokens(id);
}

absl::StatusOr<bool> KvCacheManager::TryAppend(SequenceId id, TokenCount count,
                                               const AppendOptions& options) {
  if (!IsPlainAppend(id, count, options)) {
    absl::Status status = CheckAppend(id, count, options);
    if (!status.ok()) return status;
  } else if (options.lookahead == TokenCount(0) &&
             options.must_fit == TokenCount(0) && !options.keep_watermark &&
             TryExtendWritable(id, count)) {
    Sequence& sequence = sequences_[Row(id)];
    const TokenCount computed(sequence.num_tokens);
    sequence.num_tokens += static_cast<std::int32_t>(count.value());
    if (!options.tokens.empty() && cache_ != nullptr) {
      RegisterContent(id, options.tokens, computed);
    }
    RefreshAppendLimit(id);
    return true;
  }
  const TokenCount old_tokens = num_tokens(id);
  const PrefixMatch* const match =
      options.match != nullptr && options.match->num_tokens > TokenCount(0)
          ? options.match
          : nullptr;
  Demand demand;
  demand.match = match;
  demand.computed =
      old_tokens + (match != nullptr ? match->num_tokens : TokenCount(0));
  const TokenCount new_tokens = demand.computed + count;
  const BlockCount withheld =
      options.keep_watermark ? pool_.watermark_blocks() : BlockCount(0);
  if (options.must_fit > TokenCount(0)) {
    demand.covered = std::min(options.must_fit, max_sequence_tokens_);
    demand.tokens = demand.covered;
    if (BlocksNeeded(id, demand, /*is_admission=*/true) + withheld >
        pool_.num_free()) {
      return false;
    }
  }
  if (gives_back_) ReleaseSkipped(id, demand.computed);
  demand.tokens = new_tokens;
  demand.covered = new_tokens + std::min(options.lookahead,
                                         max_sequence_tokens_ - new_tokens);
  if (BlocksNeeded(id, demand, /*is_admission=*/false) + withheld >
      pool_.num_free()) {
    return false;
  }

  if (demand.covered == old_tokens) return true;
  if (cache_ != nullptr && cache_->is_observed()) {
    cache_->BeginAppend(id, content(id), options.match, options.tokens);
  }
  const bool held_none = !HoldsTokens(Row(id));
  if (match != nullptr) AdoptMatch(id, *match);
  for (int group = 0; group < num_groups(); ++group) Cover(id, group, demand);
  if (held_none && HoldsTokens(Row(id))) ++num_holding_;
  if (match != nullptr && match->partial_tokens > TokenCount(0)) {
    CopyPartial(id, *match);
  }
  Sequence& sequence = sequences_[Row(id)];
  sequence.num_tokens = static_cast<std::int32_t>(new_tokens.value());
  if (cache_ != nullptr) {
    if (options.match != nullptr) {
      const TokenCount known(std::ssize(options.tokens));
      cache_->CountRequest(*options.match, std::max(known, new_tokens));
    }
    if (!options.tokens.empty()) {
      RegisterContent(id, options.tokens, demand.computed);
    }
  }
  RefreshLimits(id, demand);
  return true;
}

BlockCount KvCacheManager::BlocksToCover(SequenceId id,
                                         TokenCount covered) const {
  if (covered <= num_tokens(id)) return BlockCount(0);
  return BlocksNeeded(
      id, {.computed = num_tokens(id), .tokens = covered, .covered = covered},
      /*is_admission=*/false);
}

BlockCount KvCacheManager::BlocksNeeded(SequenceId id, const Demand& demand,
                                        bool is_admission) const {
  BlockCount needed(0);
  if (demand.covered <= num_tokens(id)) return needed;
  for (int group = 0; group < num_groups(); ++group) {
    needed += BlocksNeeded(id, group, demand, is_admission);
  }
  return needed;
}

// The free blocks that it takes to meet the demand in one group: new ones, own
// copies of shared ones, and those of the match that nobody else holds.
BlockCount KvCacheManager::BlocksNeeded(SequenceId id, int group,
                                        const Demand& demand,
                                        bool is_admission) const {
  const KvCacheGroupOptions& options = group_options(group);
  const BlockSize size = options.block_size;
  const std::span<const BlockId> table = block_table(id, group);
  const auto length = static_cast<std::int64_t>(table.size());
  if (options.kind == AttentionKind::kCross) {
    const TokenCount encoder = encoder_tokens_[Row(id)];
    return length > 0 ? BlockCount(0) : size.CoveringBlocks(encoder);
  }
  BlockCount end = size.CoveringBlocks(demand.slots(options));
  std::int64_t needed = 0;
  std::int64_t present = length;
  if (demand.match != nullptr) {
    const auto& hit = demand.match->blocks[static_cast<std::size_t>(group)];
    const std::int64_t skipped =
        group_rules::SkippedBlocks(options, demand.computed).value();
    const std::int64_t sinks = group_rules::SinkBlocks(options).value();
    present = std::max(skipped, static_cast<std::int64_t>(hit.size()));
    for (std::int64_t i = 0; std::cmp_less(i, hit.size()); ++i) {
      const BlockId block = hit[static_cast<std::size_t>(i)];
      if ((i >= skipped || i < sinks) && block != kNullBlock &&
          pool_.ref_count(block) == 0) {
        ++needed;
      }
    }
  }
  for (std::int64_t i = size.FullBlocks(num_tokens(id)).value();
       i < std::min(end.value(), length); ++i) {
    if (IsShared(table[static_cast<std::size_t>(i)])) ++needed;
  }
  if (is_admission) {
    end = std::min(end, group_rules::MostBlocks(options, demand.covered,
                                                max_in_flight_tokens_,
                                                max_sequence_tokens_));
  }
  std::int64_t added = std::max<std::int64_t>(end.value() - present, 0);
  if (options.kind == AttentionKind::kStateSpace) {
    added = std::min<std::int64_t>(added, 1);
  }
  return BlockCount(needed + added);
}

// Blocks that no token from position `computed` on looks at go back to the
// pool, the last first.
void KvCacheManager::ReleaseSkipped(SequenceId id, TokenCount computed) {
  for (Group& group : groups_) {
    const std::span<const BlockId> table = group.tables.row(row(id));
    const auto sinks = group_rules::SinkBlocks(group.options).value();
    auto end = static_cast<std::int32_t>(std::min<std::int64_t>(
        group_rules::SkippedBlocks(group.options, computed).value(),
        static_cast<std::int64_t>(table.size())));
    given_back_.clear();
    // A null block ends it: what lies before was given back before. But between
    // two states lie the blocks that the step from one to the other skipped.
    const bool has_gaps = group.options.kind == AttentionKind::kStateSpace;
    for (std::int32_t i = end - 1; i >= sinks; --i) {
      const BlockId block = table[static_cast<std::size_t>(i)];
      if (block == kNullBlock) {
        if (has_gaps && given_back_.empty()) continue;
        break;
      }
      given_back_.push_back(block);
      group.tables.Set(row(id), i, kNullBlock);
    }
    if (given_back_.empty()) continue;
    PAGEDKV_CHECK(pool_.Release(given_back_).ok());
    NoteIdle(given_back_);
  }
}

void KvCacheManager::AdoptMatch(SequenceId id, const PrefixMatch& match) {
  cache_->Adopt(content(id), match);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    const std::vector<BlockId>& hit = match.blocks[g];
    if (hit.empty()) continue;
    const std::int64_t skipped =
        group_rules::SkippedBlocks(group.options, match.num_tokens).value();
    const std::int64_t sinks = group_rules::SinkBlocks(group.options).value();
    const std::span<BlockId> table =
        group.tables.Extend(row(id), static_cast<std::int32_t>(hit.size()));
    for (std::size_t i = 0; i < hit.size(); ++i) {
      const bool is_kept =
          std::cmp_greater_equal(i, skipped) || std::cmp_less(i, sinks);
      table[i] = is_kept ? hit[i] : kNullBlock;
    }
    if (cache_->has_policy()) {
      for (BlockId block : table) {
        if (block != kNullBlock) cache_->OnHit(block);
      }
    }
    Share(table);
  }
}

// Makes the slots from the end of what is computed up to `covered` writable in
// one group. REQUIRES: the pool has as many free blocks as are needed.
void KvCacheManager::Cover(SequenceId id, int group, const Demand& demand) {
  const KvCacheGroupOptions& options = group_options(group);
  const BlockSize size = options.block_size;
  BlockTables& tables = groups_[static_cast<std::size_t>(group)].tables;
  const std::int32_t row = KvCacheManager::row(id);
  const std::int32_t length = tables.length(row);
  if (options.kind == AttentionKind::kCross) {
    const TokenCount encoder = encoder_tokens_[Row(id)];
    if (length > 0 || encoder == TokenCount(0)) return;
    Take(tables.Extend(
        row, static_cast<std::int32_t>(size.CoveringBlocks(encoder).value())));
    return;
  }
  const auto end = static_cast<std::int32_t>(
      size.CoveringBlocks(demand.slots(options)).value());
  const auto first =
      static_cast<std::int32_t>(size.FullBlocks(demand.computed).value());
  for (std::int32_t i = first; i < std::min(end, length); ++i) {
    OwnBlock(id, group, i, demand.computed);
  }
  if (end <= length) return;
  std::span<BlockId> added = tables.Extend(row, end - length);
  if (options.kind == AttentionKind::kStateSpace) {
    // Only the last state is kept; the others are never written.
    std::fill(added.begin(), added.end() - 1, kNullBlock);
    added = added.last(1);
  }
  Take(added);
}

// Makes the block at `index` one that the sequence may write from position
// `computed` on: its own, and indexed for nothing that lies behind.
void KvCacheManager::OwnBlock(SequenceId id, int group, std::int32_t index,
                              TokenCount computed) {
  BlockTables& tables = groups_[static_cast<std::size_t>(group)].tables;
  const BlockSize size = block_size(group);
  const BlockId block = tables.row(row(id))[static_cast<std::size_t>(index)];
  if (!IsShared(block)) {
    if (block != kNullBlock && pool_.is_cached(block) &&
        cache_->content_of(block)->num_tokens > computed) {
      Unindex(block, RemovalReason::kInvalid);
    }
    return;
  }
  BlockId own;
  Take({&own, 1});
  const TokenCount start = size.Slots(BlockCount(index));
  const auto in_block = static_cast<std::int32_t>(
      std::max(TokenCount(0), computed - start).value());
  if (in_block > 0) AskForCopy({group, block, own, in_block});
  PAGEDKV_CHECK(pool_.Release({&block, 1}).ok());
  tables.Set(row(id), index, own);
}

void KvCacheManager::CopyPartial(SequenceId id, const PrefixMatch& match) {
  const BlockId own = block_table(id)[match.blocks[0].size()];
  cache_->CountCopied(match.partial_tokens);
  // The source may have been evicted for the block that it is copied to.
  if (own == match.partial_source) return;
  AskForCopy({0, match.partial_source, own,
              static_cast<std::int32_t>(match.partial_tokens.value())});
}

void KvCacheManager::RegisterContent(SequenceId id,
                                     std::span<const TokenId> tokens,
                                     TokenCount computed) {
  SequenceContent& content = this->content(id);
  const bool drains = pool_.num_draining() > BlockCount(0);
  if (num_tokens(id) < cache_->NextDue(content) ||
      (!drains && cache_->TryRegisterNext(content, tokens, num_tokens(id),
                                          block_table(id), pool_))) {
    return;
  }
  tables_of_.clear();
  for (int group = 0; group < num_groups(); ++group) {
    tables_of_.push_back(drains ? IndexableTable(id, group)
                                : block_table(id, group));
  }
  for (const PrefixCache::Equal& equal : cache_->Register(
           content, tokens, computed, num_tokens(id), tables_of_, pool_)) {
    BlockTables& tables = groups_[static_cast<std::size_t>(equal.group)].tables;
    const BlockId own =
        tables.row(row(id))[static_cast<std::size_t>(equal.index)];
    // For one of several holders it would take a block and give none back.
    if (IsShared(own) && pool_.ref_count(equal.indexed) == 0) continue;
    Share({&equal.indexed, 1});
    tables.Set(row(id), equal.index, equal.indexed);
    PAGEDKV_CHECK(pool_.Release({&own, 1}).ok());
    cache_->CountDeduplicated();
  }
}

// Up to where the next appends change nothing but the number of tokens.
void KvCacheManager::RefreshLimits(SequenceId id, const Demand& demand) {
  Sequence& sequence = sequences_[Row(id)];
  const TokenCount tokens(sequence.num_tokens);
  TokenCount limit = max_sequence_tokens_;
  for (const Group& group : groups_) {
    if (group.options.kind == AttentionKind::kCross) continue;
    const BlockSize size = group.options.block_size;
    limit = std::min(
        limit, size.Slots(size.CoveringBlocks(demand.slots(group.options))));
    if (!gives_back_) continue;
    const std::optional<TokenCount> skip =
        group_rules::NextSkip(group.options, demand.computed);
    if (skip.has_value()) limit = std::min(limit, std::max(tokens, *skip));
  }
  sequence.write_limit = static_cast<std::int32_t>(limit.value());
  RefreshAppendLimit(id);
}

void KvCacheManager::RefreshAppendLimit(SequenceId id) {
  Sequence& sequence = sequences_[Row(id)];
  sequence.append_limit = sequence.write_limit;
  if (cache_ == nullptr) return;
  const TokenCount unshared = cache_->NextDue(content(id)) - TokenCount(1);
  sequence.append_limit = static_cast<std::int32_t>(std::min<std::int64_t>(
      sequence.write_limit,
      std::max<std::int64_t>(sequence.num_tokens, unshared.value())));
}

// Fills `blocks` with free ones, evicting what they held.
void KvCacheManager::Take(std::span<BlockId> blocks) {
  if (cache_ != nullptr && cache_->has_policy()) {
    const BlockCount wanted(static_cast<std::int64_t>(blocks.size()));
    while (pool_.num_takeable() < wanted) {
      const BlockId victim = cache_->Victim(pool_);
      PAGEDKV_CHECK(victim != kNullBlock);
      Unindex(victim, cache_->ReasonOf(victim));
    }
  }
  evicted_.clear();
  PAGEDKV_CHECK(pool_.TryAllocate(blocks, &evicted_));
  if (!evicted_.empty()) cache_->RemoveEvicted(evicted_);
  if (lists_fresh_) NoteFresh(blocks);
}

void KvCacheManager::NoteFresh(std::span<const BlockId> blocks) {
  const auto copies = static_cast<std::int32_t>(copies_.size());
  for (BlockId block : blocks) {
    Touched& touched = this->touched(block);
    fresh_.push_back({block, touched.is_copied ? copies : 0});
    // The sequence for which it was swapped in is gone, and no copy reads it:
    // the content would only come on top of the cleaning.
    if (touched.is_swapped_in && !touched.is_copied) {
      touched.is_swapped_in = false;
      std::erase_if(swap_->swap_ins(), [block](const BlockSwap& swap) {
        return swap.block == block;
      });
    }
  }
}

void KvCacheManager::AskForCopy(const BlockCopy& copy) {
  copies_.push_back(copy);
  if (!lists_fresh_) return;
  touched(copy.source).is_copied = true;
  touched(copy.destination).is_copied = true;
}

void KvCacheManager::Share(std::span<const BlockId> blocks) {
  if (cache_ != nullptr && cache_->has_policy()) {
    for (BlockId block : blocks) {
      if (block != kNullBlock && pool_.ref_count(block) == 0) {
        cache_->OnUse(block);
      }
    }
  }
  PAGEDKV_CHECK(pool_.Share(blocks).ok());
}

// After a release: tells the policy which of `blocks` nobody uses any longer,
// the last first, as a table is released.
void KvCacheManager::NoteIdle(std::span<const BlockId> blocks) {
  if (cache_ == nullptr || !cache_->has_policy()) return;
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    if (*block != kNullBlock && pool_.ref_count(*block) == 0 &&
        pool_.is_cached(*block)) {
      cache_->OnIdle(*block);
    }
  }
}

void KvCacheManager::Unindex(BlockId block, RemovalReason reason) {
  pool_.SetCached(block, false);
  cache_->Remove(block, reason);
}

}  // namespace pagedkv
