// SPDX-License-Identifier: Apache-2.0
//
// A pool that grows and shrinks under the sequences.
#include <algorithm>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/prefix_cache.h"
#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {

absl::Status KvCacheManager::Grow(BlockCount num_blocks) {
  absl::Status status = pool_.Grow(num_blocks);
  if (status.ok() && cache_ != nullptr) cache_->SetNumBlocks(num_blocks);
  return status;
}

absl::Status KvCacheManager::BeginShrink(BlockCount num_blocks) {
  if (absl::Status status = pool_.CheckShrink(num_blocks); !status.ok()) {
    return status;
  }
  // What they read may be free already, and would lose its memory.
  const std::size_t moves = swap_outs().size() + swap_ins().size();
  if (!copies_.empty() || !fresh_.empty() || moves > 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the pool cannot shrink while %d copies, %d moves and %d fresh blocks "
        "wait: take them, and call ClearCopies",
        copies_.size(), moves, fresh_.size()));
  }
  if (cache_ != nullptr) {
    for (std::int64_t id = num_blocks.value(); id < pool_.num_blocks().value();
         ++id) {
      const BlockId block(static_cast<std::int32_t>(id));
      if (pool_.is_cached(block)) Unindex(block, RemovalReason::kWithdrawn);
    }
    cache_->SetNumBlocks(num_blocks);
  }
  PAGEDKV_CHECK(pool_.BeginShrink(num_blocks).ok());
  return absl::OkStatus();
}

// Draining blocks are not indexed: a sequence that found one would keep it for
// longer, and the next for longer still.
std::span<const BlockId> KvCacheManager::IndexableTable(SequenceId id,
                                                        int group) {
  indexable_.resize(groups_.size());
  std::vector<BlockId>& table = indexable_[static_cast<std::size_t>(group)];
  const std::span<const BlockId> whole = block_table(id, group);
  table.assign(whole.begin(), whole.end());
  std::replace_if(
      table.begin(), table.end(),
      [this](BlockId block) {
        return block.value() >= pool_.num_blocks().value();
      },
      kNullBlock);
  return table;
}

// Of the block at `index` of a table.
std::int32_t KvCacheManager::WrittenTokens(std::size_t row, const Group& group,
                                           std::size_t index) const {
  const bool is_cross = group.options.kind == AttentionKind::kCross;
  const TokenCount tokens =
      is_cross ? encoder_tokens_[row] : TokenCount(sequences_[row].num_tokens);
  const BlockSize size = group.options.block_size;
  const TokenCount before =
      size.Slots(BlockCount(static_cast<std::int64_t>(index)));
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>((tokens - before).value(), 0, size.value()));
}

absl::StatusOr<BlockCount> KvCacheManager::Drain(BlockCount max_copies) {
  if (max_copies < BlockCount(0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("cannot move %d blocks: negative", max_copies.value()));
  }
  // By draining block. Who comes across it later has it moved as well.
  absl::flat_hash_map<BlockId, std::size_t> index_of;
  std::vector<BlockCopy> moves;
  if (pool_.num_draining() == BlockCount(0)) return BlockCount(0);
  for (std::size_t row = 0; row < sequences_.size(); ++row) {
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      Group& group = groups_[g];
      const std::span<const BlockId> table =
          group.tables.row(static_cast<std::int32_t>(row));
      for (std::size_t i = 0; i < table.size(); ++i) {
        const BlockId block = table[i];
        if (block.value() < pool_.num_blocks().value()) continue;
        auto found = index_of.find(block);
        if (found != index_of.end()) {
          Share({&moves[found->second].destination, 1});
        } else {
          if (std::cmp_equal(moves.size(), max_copies.value()) ||
              pool_.num_free() == BlockCount(0)) {
            continue;
          }
          BlockCopy& move = moves.emplace_back();
          move.group = static_cast<std::int32_t>(g);
          move.source = block;
          Take({&move.destination, 1});
          found = index_of.emplace(block, moves.size() - 1).first;
        }
        BlockCopy& move = moves[found->second];
        move.num_tokens =
            std::max(move.num_tokens, WrittenTokens(row, group, i));
        group.tables.Set(static_cast<std::int32_t>(row),
                         static_cast<std::int32_t>(i), move.destination);
        PAGEDKV_CHECK(pool_.Release({&block, 1}).ok());
      }
    }
  }
  for (const BlockCopy& move : moves) {
    if (move.num_tokens > 0) AskForCopy(move);
  }
  return BlockCount(static_cast<std::int64_t>(moves.size()));
}

}  // namespace pagedkv
