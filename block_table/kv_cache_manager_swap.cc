// SPDX-License-Identifier: Apache-2.0
//
// Sequences that leave the pool for the swap space, and come back.
#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/group_rules.h"
#include "block_table/prefix_cache.h"
#include "block_table/swap_space.h"
#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

// A limit that no number of tokens is within: no append passes it by.
constexpr std::int32_t kNoLimit = -1;

absl::Status NamedTwice(SequenceId id) {
  return absl::InvalidArgumentError(
      absl::StrFormat("sequence %#x is named twice", id.value()));
}

bool IsNamedTwice(std::span<const SequenceId> ids, std::size_t index) {
  return std::find(
             ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(index),
             ids[index]) != ids.begin() + static_cast<std::ptrdiff_t>(index);
}

}  // namespace

BlockCount KvCacheManager::num_swap_blocks() const {
  return swap_ == nullptr ? BlockCount(0) : swap_->num_blocks();
}
BlockCount KvCacheManager::num_free_swap_blocks() const {
  return swap_ == nullptr ? BlockCount(0) : swap_->num_free();
}
std::span<const BlockSwap> KvCacheManager::swap_outs() const {
  if (swap_ == nullptr) return {};
  return std::as_const(*swap_).swap_outs();
}
std::span<const BlockSwap> KvCacheManager::swap_ins() const {
  if (swap_ == nullptr) return {};
  return std::as_const(*swap_).swap_ins();
}

absl::Status KvCacheManager::Swapped(SequenceId id) {
  return absl::FailedPreconditionError(absl::StrFormat(
      "sequence %#x is swapped out: swap it in first, or release it",
      id.value()));
}

absl::Status KvCacheManager::CheckSwapOut(
    std::span<const SequenceId> ids) const {
  std::vector<BlockId> arriving;  // ascending
  for (const BlockSwap& swap : swap_ins()) arriving.push_back(swap.block);
  std::sort(arriving.begin(), arriving.end());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const SequenceId id = ids[i];
    if (!IsLive(id)) return NotLive(id);
    if (IsSwapped(id)) return Swapped(id);
    if (IsNamedTwice(ids, i)) return NamedTwice(id);
    if (num_pinned_[Row(id)] > 0) {
      return absl::FailedPreconditionError(
          absl::StrFormat("sequence %#x pins a prefix in the pool: release it "
                          "instead of swapping it out",
                          id.value()));
    }
    if (arriving.empty()) continue;
    for (int group = 0; group < num_groups(); ++group) {
      for (BlockId block : block_table(id, group)) {
        if (std::binary_search(arriving.begin(), arriving.end(),
                               SourceBeforeStep(group, block))) {
          return absl::FailedPreconditionError(absl::StrFormat(
              "sequence %#x has %d in group %d, which is swapped in by the "
              "same step: swap it out in the next",
              id.value(), block.value(), group));
        }
      }
    }
  }
  return absl::OkStatus();
}

// Where lies, before the copies that are asked for, what the block holds after
// them.
BlockId KvCacheManager::SourceBeforeStep(int group, BlockId block) const {
  for (auto copy = copies_.rbegin(); copy != copies_.rend(); ++copy) {
    if (copy->group == group && copy->destination == block) {
      block = copy->source;
    }
  }
  return block;
}

// The entries that hold tokens, be it in the pool or in the swap space.
std::span<const BlockId> KvCacheManager::HeldTable(SequenceId id,
                                                   int group) const {
  if (IsSwapped(id)) {
    return swap_->table(Row(id), static_cast<std::size_t>(group));
  }
  const std::span<const BlockId> table = block_table(id, group);
  if (group_options(group).kind == AttentionKind::kCross) return table;
  return table.first(static_cast<std::size_t>(
      block_size(group).CoveringBlocks(num_tokens(id)).value()));
}

// Replaces `held_` by the blocks that the sequences hold, each once.
void KvCacheManager::GatherHeld(std::span<const SequenceId> ids) {
  held_.clear();
  held_index_.clear();
  for (SequenceId id : ids) {
    for (int group = 0; group < num_groups(); ++group) {
      const std::span<const BlockId> table = HeldTable(id, group);
      for (std::size_t i = 0; i < table.size(); ++i) {
        if (table[i] == kNullBlock) continue;
        const std::int32_t in_block =
            WrittenTokens(Row(id), groups_[static_cast<std::size_t>(group)], i);
        const auto [entry, is_new] =
            held_index_.try_emplace(table[i], held_.size());
        if (is_new) held_.push_back({.group = group, .block = table[i]});
        HeldBlock& held = held_[entry->second];
        held.num_tokens = std::max(held.num_tokens, in_block);
        ++held.num_owners;
      }
    }
  }
}

absl::StatusOr<bool> KvCacheManager::TrySwapOut(
    std::span<const SequenceId> ids) {
  if (absl::Status status = CheckSwapOut(ids); !status.ok()) return status;
  if (swap_ == nullptr) return false;
  if (gives_back_) {
    for (SequenceId id : ids) ReleaseSkipped(id, num_tokens(id));
  }
  GatherHeld(ids);
  const BlockCount needed(static_cast<std::int64_t>(held_.size()));
  if (needed > swap_->num_free()) return false;
  taken_.resize(held_.size());
  swap_->Take(taken_);
  for (std::size_t i = 0; i < held_.size(); ++i) {
    swap_->swap_outs().push_back(
        {.group = held_[i].group,
         .block = SourceBeforeStep(held_[i].group, held_[i].block),
         .swap_block = taken_[i],
         .num_tokens = held_[i].num_tokens});
  }
  for (SequenceId id : ids) {
    if (HoldsTokens(Row(id))) --num_holding_;
    for (int group = 0; group < num_groups(); ++group) {
      std::vector<BlockId> table = TakenTable(HeldTable(id, group));
      swap_->Share(shared_);
      swap_->SetTable(Row(id), static_cast<std::size_t>(group),
                      std::move(table));
    }
    for (Group& group : groups_) ShrinkTable(group, row(id), 0);
    Sequence& sequence = sequences_[Row(id)];
    sequence.append_limit = sequence.write_limit = kNoLimit;
    // When it comes back, its blocks are others: none of them is indexed.
    if (cache_ != nullptr) cache_->Rewind(content(id), TokenCount(0));
  }
  return true;
}

// `table` with the blocks of `taken_` instead of those of `held_`. Those that
// another entry names already are listed in `shared_`.
std::vector<BlockId> KvCacheManager::TakenTable(
    std::span<const BlockId> table) {
  shared_.clear();
  std::vector<BlockId> taken(table.size(), kNullBlock);
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i] == kNullBlock) continue;
    const std::size_t index = held_index_.find(table[i])->second;
    taken[i] = taken_[index];
    if (std::exchange(held_[index].is_named, true)) {
      shared_.push_back(taken[i]);
    }
  }
  return taken;
}

absl::StatusOr<bool> KvCacheManager::TrySwapIn(
    std::span<const SequenceId> ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!IsLive(ids[i])) return NotLive(ids[i]);
    if (!IsSwapped(ids[i])) {
      return absl::FailedPreconditionError(
          absl::StrFormat("sequence %#x is not swapped out", ids[i].value()));
    }
    if (IsNamedTwice(ids, i)) return NamedTwice(ids[i]);
  }
  GatherHeld(ids);
  taken_.resize(held_.size());
  if (!TryTakeForSwap(taken_)) return false;
  for (std::size_t i = 0; i < held_.size(); ++i) {
    swap_->swap_ins().push_back({.group = held_[i].group,
                                 .block = taken_[i],
                                 .swap_block = held_[i].block,
                                 .num_tokens = held_[i].num_tokens});
    if (lists_fresh_) touched(taken_[i]).is_swapped_in = true;
  }
  for (SequenceId id : ids) {
    for (int group = 0; group < num_groups(); ++group) {
      const std::vector<BlockId> table = TakenTable(HeldTable(id, group));
      PAGEDKV_CHECK(pool_.Share(shared_).ok());
      std::copy(
          table.begin(), table.end(),
          groups_[static_cast<std::size_t>(group)]
              .tables.Extend(row(id), static_cast<std::int32_t>(table.size()))
              .begin());
    }
    Sequence& sequence = sequences_[Row(id)];
    // The next append goes through `Cover`: the last block may be shared.
    sequence.append_limit = sequence.write_limit = sequence.num_tokens;
    swap_->MoveOut(Row(id));
    if (HoldsTokens(Row(id))) ++num_holding_;
  }
  return true;
}

// Fills `blocks` with free ones that the step's copies neither read nor write:
// they are made after the blocks are swapped in.
bool KvCacheManager::TryTakeForSwap(std::span<BlockId> blocks) {
  std::vector<BlockId> copied;  // free and ascending
  for (const BlockCopy& copy : copies_) {
    for (BlockId block : {copy.source, copy.destination}) {
      if (pool_.ref_count(block) == 0) copied.push_back(block);
    }
  }
  std::sort(copied.begin(), copied.end());
  copied.erase(std::unique(copied.begin(), copied.end()), copied.end());
  if (BlockCount(static_cast<std::int64_t>(blocks.size() + copied.size())) >
      pool_.num_free()) {
    return false;
  }
  Take(blocks);
  std::vector<BlockId> refused;
  for (BlockId& block : blocks) {
    while (std::binary_search(copied.begin(), copied.end(), block)) {
      refused.push_back(block);
      Take({&block, 1});
    }
  }
  PAGEDKV_CHECK(pool_.Release(refused).ok());
  return true;
}

BlockCount KvCacheManager::BlocksToSwapIn(std::span<const SequenceId> ids,
                                          std::span<const TokenCount> counts,
                                          bool in_chunks) {
  GatherHeld(ids);
  BlockCount needed(static_cast<std::int64_t>(held_.size()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (counts[i] == TokenCount(0)) continue;
    for (int group = 0; group < num_groups(); ++group) {
      needed += BlocksBeyondHeld(ids[i], group, counts[i], in_chunks);
    }
  }
  // Who writes into a shared block copies it, but for the last that holds it.
  for (const HeldBlock& held : held_) {
    needed += BlockCount(std::min(held.num_writers, held.num_owners - 1));
  }
  return needed;
}

// What the swapped sequence takes in one group to append `count` tokens, own
// copies of shared blocks aside; notes whom it would write to.
BlockCount KvCacheManager::BlocksBeyondHeld(SequenceId id, int group,
                                            TokenCount count, bool in_chunks) {
  const KvCacheGroupOptions& options = group_options(group);
  const std::span<const BlockId> table = HeldTable(id, group);
  const BlockCount length(static_cast<std::int64_t>(table.size()));
  if (options.kind == AttentionKind::kCross) {
    return length > BlockCount(0)
               ? BlockCount(0)
               : options.block_size.CoveringBlocks(encoder_tokens_[Row(id)]);
  }
  const auto first = static_cast<std::size_t>(
      options.block_size.FullBlocks(num_tokens(id)).value());
  if (first < table.size() && table[first] != kNullBlock) {
    ++held_[held_index_.find(table[first])->second].num_writers;
  }
  const TokenCount tokens = num_tokens(id) + count;
  BlockCount added = options.block_size.CoveringBlocks(tokens) - length;
  if (options.kind == AttentionKind::kStateSpace) {
    added = std::min(added, BlockCount(1));
  }
  if (in_chunks) {
    const BlockCount most =
        group_rules::MostBlocks(options, tokens, max_in_flight_tokens_,
                                max_sequence_tokens_) -
        BlockCount(std::count_if(table.begin(), table.end(), [](BlockId block) {
          return block != kNullBlock;
        }));
    added = std::min(added, std::max(most, BlockCount(0)));
  }
  return added;
}

absl::Status KvCacheManager::CheckSwapped(std::size_t row) const {
  const Sequence& sequence = sequences_[row];
  const bool is_swapped = sequence.write_limit < 0;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const KvCacheGroupOptions& options = groups_[g].options;
    const std::span<const BlockId> table = swap_->table(row, g);
    const std::int32_t length =
        groups_[g].tables.length(static_cast<std::int32_t>(row));
    const std::int64_t covering =
        options.block_size.CoveringBlocks(TokenCount(sequence.num_tokens))
            .value();
    const bool is_covered = options.kind == AttentionKind::kCross ||
                            std::cmp_equal(table.size(), covering);
    if (is_swapped ? (is_covered && length == 0) : table.empty()) continue;
    return absl::InternalError(absl::StrFormat(
        "sequence in row %d with %d tokens is%s swapped out, and has %d blocks "
        "in the pool and %d in the swap space, in group %d",
        row, sequence.num_tokens, is_swapped ? "" : " not", length,
        table.size(), g));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
