// SPDX-License-Identifier: Apache-2.0
//
// What the prefix cache tells others: events and snapshots, why blocks were
// missed, and how long they lived.
#include <algorithm>
#include <iterator>
#include <utility>

#include "block_table/prefix_cache.h"

namespace pagedkv {

// Misses and lifetimes.

void PrefixCache::ObserveStored(
    SequenceContent& content, std::span<const TokenId> tokens,
    std::int32_t begin, std::int32_t end,
    std::span<const std::span<const BlockId>> tables) {
  const std::int32_t unit = index_.unit().value();
  if (explainer_ != nullptr) {
    const ContentKeys& keys = content.options.keys;
    ContentFingerprint from = content.fingerprint;
    if (from.depth != begin / unit) {
      from = explainer_->Extend({}, tokens, keys, begin / unit, nullptr);
    }
    content.fingerprint =
        explainer_->Extend(from, tokens, keys, end / unit, &fingerprints_);
  }
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    if (!group_rules::IsShareable(groups_[group].options)) continue;
    const std::int32_t units = groups_[group].units_per_block;
    const std::span<const BlockId> table = tables[group];
    for (std::int32_t depth = begin / unit + units; depth <= end / unit;
         depth += units) {
      const BlockId block = table[static_cast<std::size_t>(depth / units - 1)];
      // Some were not worth it, or gave way to their equals.
      if (block == kNullBlock || !index_.Contains(block) ||
          index_.home(block).depth != depth) {
        continue;
      }
      if (explainer_ != nullptr) {
        explainer_->OnStored(
            block, static_cast<int>(group),
            fingerprints_[static_cast<std::size_t>(depth - begin / unit - 1)]);
      }
      if (lifetimes_ != nullptr) lifetimes_->OnStored(block, now_ns_);
    }
  }
}

void PrefixCache::ObserveRemoved(BlockId block, RemovalReason reason) {
  if (explainer_ != nullptr) explainer_->OnRemoved(block, reason, now_ns_);
  if (lifetimes_ != nullptr) lifetimes_->OnRemoved(block, reason, now_ns_);
}

void PrefixCache::ObserveCleared(RemovalReason reason) {
  if (explainer_ != nullptr) explainer_->OnCleared(reason, now_ns_);
  if (lifetimes_ != nullptr) lifetimes_->OnCleared();
}

void PrefixCache::BeginAppend(SequenceId id, const SequenceContent& content,
                              const PrefixMatch* match,
                              std::span<const TokenId> tokens) {
  if (explainer_ != nullptr) {
    explainer_->SetTaker(id, content.options.tag);
    // One that is out of date was not meant as a question: somebody goes
    // without the cache.
    if (match != nullptr && IsCurrent(*match) && content.is_attached) {
      ExplainMisses(tokens, content.options.keys,
                    content.has_extras ? &content.extras : nullptr,
                    match->num_tokens - match->partial_tokens, missed_);
      for (const MissedBlock& block : missed_) {
        ++metrics_.blocks_missed[static_cast<std::size_t>(block.reason)];
      }
    }
  }
  if (lifetimes_ == nullptr || match == nullptr) return;
  for (const std::vector<BlockId>& hit : match->blocks) {
    for (BlockId block : hit) lifetimes_->OnHit(block, now_ns_);
  }
}

void PrefixCache::ExplainMisses(std::span<const TokenId> tokens,
                                const ContentKeys& keys,
                                const SequenceExtras* extras, TokenCount hit,
                                std::vector<MissedBlock>& missed) {
  missed.clear();
  const TokenCount num_tokens(std::ssize(tokens));
  const auto units =
      static_cast<std::int32_t>(index_.unit().FullBlocks(num_tokens).value());
  path_.clear();
  GatherLanes(index_.Walk({tokens, extras}, units, path_));
  static_cast<void>(
      explainer_->Extend({}, tokens, keys, units, &fingerprints_));
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    if (group_rules::IsShareable(groups_[group].options)) {
      ExplainGroup(group, num_tokens, hit, missed);
    }
  }
}

void PrefixCache::ExplainGroup(std::size_t group, TokenCount num_tokens,
                               TokenCount hit,
                               std::vector<MissedBlock>& missed) const {
  const GroupState& state = groups_[group];
  const BlockSize size = state.options.block_size;
  const std::vector<BlockId>& lane = lanes_[group];
  const auto unit_of = [&state](std::int64_t index) {
    return static_cast<std::size_t>((index + 1) * state.units_per_block - 1);
  };
  const auto is_cached = [&](std::int64_t index) {
    return unit_of(index) < lane.size() && lane[unit_of(index)] != kNullBlock;
  };
  const std::int64_t end = size.FullBlocks(num_tokens).value();
  // Where the longest hit of the group alone ends, alignment apart.
  std::int64_t reach = 0;
  if (group_rules::KeepsAll(state.options)) {
    while (reach < end && is_cached(reach)) ++reach;
  } else {
    reach = end;
    while (reach > 0 && !is_cached(reach - 1)) --reach;
  }
  const TokenCount reached = size.Slots(BlockCount(reach));
  const TokenCount most = std::min(reached, num_tokens - TokenCount(1));
  for (std::int64_t index = size.FullBlocks(hit).value(); index < end;
       ++index) {
    if (!group_rules::IsWorthIndexing(state.options, index,
                                      TokenCount(alignment_.value()))) {
      continue;
    }
    MissedBlock block{.group = static_cast<int>(group),
                      .index = static_cast<std::int32_t>(index)};
    const ContentFingerprint& content = fingerprints_[unit_of(index)];
    if (is_cached(index)) {
      const TokenCount block_end = size.Slots(BlockCount(index + 1));
      const TokenCount hit_end =
          alignment_.Slots(alignment_.CoveringBlocks(block_end));
      block.reason = block_end > reached  ? MissReason::kGap
                     : hit_end > most     ? MissReason::kAlignment
                     : num_shareable_ > 1 ? MissReason::kOtherGroup
                                          : MissReason::kGap;
    } else if (const MissExplainer::Removal* removal =
                   explainer_->FindRemoval(block.group, content)) {
      block.reason = MissReason::kEvicted;
      block.removal = removal->reason;
      block.taker = removal->taker;
      block.taker_tag = removal->taker_tag;
      block.age_ns = now_ns_ - removal->time_ns;
      block.removals_since = explainer_->num_removals() - removal->number;
    } else if (explainer_->HasTokens(block.group, content)) {
      block.reason = MissReason::kOtherKeys;
    } else if (state.options.kind == AttentionKind::kStateSpace) {
      continue;  // most blocks never have a state
    }
    missed.push_back(block);
  }
}

// Events.

BlocksStored PrefixCache::StoredEvent(const SequenceContent& content,
                                      std::size_t group) const {
  const KvCacheGroupOptions& options = groups_[group].options;
  BlocksStored event;
  event.group = static_cast<int>(group);
  event.block_size = options.block_size.value();
  event.adapter_id = content.options.adapter_id;
  event.adapter = content.options.keys.adapter;
  event.kind = options.kind;
  if (options.window > TokenCount(0)) event.window = options.window.value();
  return event;
}

void PrefixCache::NoteStored(const SequenceContent& content,
                             std::span<const TokenId> tokens, std::size_t group,
                             std::int32_t begin, std::int32_t end,
                             std::span<const BlockId> table, TokenCount held) {
  const BlockSize size = groups_[group].options.block_size;
  BlocksStored event = StoredEvent(content, group);
  if (begin > 0) {
    event.parent =
        index_.HashAt({content.cursor.node, begin / index_.unit().value()});
  }
  event.tokens.assign(tokens.begin() + begin, tokens.begin() + end);
  for (const PrefixIndex::Segment& segment : path_) {
    const std::int32_t units = groups_[group].units_per_block;
    for (std::int32_t depth = (segment.begin / units + 1) * units;
         depth <= segment.end; depth += units) {
      const std::int64_t index = depth / units - 1;
      if (table[static_cast<std::size_t>(index)] == kNullBlock ||
          !IsHittable(group, depth, held) ||
          std::binary_search(unchanged_.begin(), unchanged_.end(), index)) {
        continue;
      }
      event.hashes.push_back(index_.HashAt({segment.node, depth}));
      event.extra.push_back(ExtraKeysOfBlock(
          content.options.keys, size.Slots(BlockCount(index)), size));
    }
  }
  events_.Append(std::move(event));
}

void PrefixCache::NoteRemoved(RemovalReason reason) {
  for (const PrefixIndex::Removed& removed : removed_) {
    events_.Append(BlocksRemoved{.group = removed.group,
                                 .hashes = {removed.hash},
                                 .blocks = {removed.block},
                                 .reason = reason});
  }
}

KvIndexSnapshot PrefixCache::Snapshot(const BlockPool& pool) const {
  std::vector<PrefixIndex::Removed> keys;
  for (std::int32_t i = 1; i < pool.num_blocks().value(); ++i) {
    index_.AppendKeys(BlockId(i), &keys);
  }
  KvIndexSnapshot snapshot{.next_sequence = events_.next_sequence()};
  const std::string tier = BlocksStored().tier;
  for (const PrefixIndex::Removed& key : keys) {
    snapshot.entries.push_back({key.group, tier, key.hash.ToInt()});
  }
  std::sort(snapshot.entries.begin(), snapshot.entries.end());
  // Equals become one entry, and its count.
  std::size_t kept = 0;
  for (const KvIndexEntry& entry : snapshot.entries) {
    KvIndexEntry& last = snapshot.entries[kept > 0 ? kept - 1 : 0];
    if (kept > 0 && entry.group == last.group && entry.hash == last.hash) {
      ++last.count;
    } else {
      snapshot.entries[kept++] = entry;
    }
  }
  snapshot.entries.resize(kept);
  for (const KvIndexEntry& entry : snapshot.entries) {
    snapshot.digest.Add(entry.group, entry.tier, entry.hash,
                        static_cast<std::uint64_t>(entry.count));
  }
  return snapshot;
}

const IndexDigest& PrefixCache::Digest(const BlockPool& pool) {
  if (!events_.digest().has_value()) {
    events_.StartDigest(Snapshot(pool).digest);
  }
  return *events_.digest();
}

}  // namespace pagedkv
