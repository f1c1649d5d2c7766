// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_cache_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxSequenceTokens = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequences = 1 << 24;

absl::Status NotLive(SequenceId id) {
  return absl::NotFoundError(absl::StrFormat(
      "sequence %#x is not live: it was released, or never added", id.value()));
}

}  // namespace

absl::StatusOr<KvCacheManager> KvCacheManager::Create(
    const KvCacheManagerOptions& options) {
  if (options.groups.empty() || options.groups.size() > kMaxKvCacheGroups) {
    return absl::InvalidArgumentError(
        absl::StrFormat("there are %d KV cache groups; there must be 1 to %d",
                        options.groups.size(), kMaxKvCacheGroups));
  }
  for (const KvCacheGroupOptions& group : options.groups) {
    if (group.block_size.value() < 1) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "block_size is %d; it must be at least 1", group.block_size.value()));
    }
  }
  if (options.max_sequence_tokens.value() < 1 ||
      options.max_sequence_tokens.value() > kMaxSequenceTokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_sequence_tokens is %d; it must be from 1 to %d",
        options.max_sequence_tokens.value(), kMaxSequenceTokens));
  }
  if (options.max_sequences < 1 || options.max_sequences > kMaxSequences) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_sequences is %d; it must be from 1 to %d",
                        options.max_sequences, kMaxSequences));
  }
  absl::StatusOr<BlockPool> pool = BlockPool::Create(options.pool);
  if (!pool.ok()) return pool.status();
  return KvCacheManager(options, *std::move(pool));
}

KvCacheManager::KvCacheManager(const KvCacheManagerOptions& options,
                               BlockPool pool)
    : pool_(std::move(pool)),
      max_sequence_tokens_(options.max_sequence_tokens),
      max_sequences_(options.max_sequences) {
  for (const KvCacheGroupOptions& group : options.groups) {
    groups_.push_back(
        {group.block_size,
         BlockTables(static_cast<std::int32_t>(
             group.block_size.CoveringBlocks(max_sequence_tokens_).value()))});
  }
}

absl::StatusOr<SequenceId> KvCacheManager::AddSequence() {
  if (num_sequences_ == max_sequences_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%d sequences are live, as many as max_sequences allows",
        num_sequences_));
  }
  ++num_sequences_;
  if (free_rows_.empty()) {
    free_rows_.push_back(static_cast<std::int32_t>(sequences_.size()));
    sequences_.emplace_back();
    for (Group& group : groups_) {
      group.tables.GrowTo(static_cast<std::int32_t>(sequences_.size()));
    }
  }
  const auto row = static_cast<std::uint32_t>(free_rows_.back());
  free_rows_.pop_back();
  const std::uint64_t generation = ++sequences_[row].generation;
  return SequenceId(generation << 32 | row);
}

absl::StatusOr<bool> KvCacheManager::TryAppend(SequenceId id, TokenCount count,
                                               const AppendOptions& options) {
  if (!IsLive(id)) return NotLive(id);
  if (count < TokenCount(0) || options.lookahead < TokenCount(0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "cannot append %d tokens with a lookahead of %d: negative",
        count.value(), options.lookahead.value()));
  }
  Sequence& sequence = sequences_[Row(id)];
  const TokenCount old_tokens(sequence.num_tokens);
  if (count > max_sequence_tokens_ - old_tokens) {
    return absl::OutOfRangeError(absl::StrFormat(
        "a sequence of %d tokens cannot grow by %d: max_sequence_tokens is %d",
        old_tokens.value(), count.value(), max_sequence_tokens_.value()));
  }
  const TokenCount new_tokens = old_tokens + count;
  const TokenCount covered =
      new_tokens +
      std::min(options.lookahead, max_sequence_tokens_ - new_tokens);
  const TokenCount must_fit =
      std::clamp(options.must_fit, covered, max_sequence_tokens_);
  const BlockCount withheld =
      options.keep_watermark ? pool_.watermark_blocks() : BlockCount(0);
  if (BlocksToCover(id, must_fit) + withheld > pool_.num_free()) return false;

  if (covered == old_tokens) return true;
  TokenCount limit = max_sequence_tokens_;
  for (int group = 0; group < num_groups(); ++group) {
    Cover(id, group, covered);
    const BlockSize size = block_size(group);
    limit = std::min(limit, size.Slots(size.CoveringBlocks(covered)));
  }
  sequence.num_tokens = static_cast<std::int32_t>(new_tokens.value());
  sequence.append_limit = static_cast<std::int32_t>(limit.value());
  return true;
}

BlockCount KvCacheManager::BlocksToCover(SequenceId id,
                                         TokenCount covered) const {
  BlockCount needed(0);
  if (covered <= num_tokens(id)) return needed;
  for (int group = 0; group < num_groups(); ++group) {
    const BlockSize size = block_size(group);
    const std::span<const BlockId> table = block_table(id, group);
    const std::int64_t end = size.CoveringBlocks(covered).value();
    const auto length = static_cast<std::int64_t>(table.size());
    needed += BlockCount(std::max<std::int64_t>(end - length, 0));
    for (std::int64_t i = size.FullBlocks(num_tokens(id)).value();
         i < std::min(end, length); ++i) {
      if (IsShared(table[static_cast<std::size_t>(i)])) needed += BlockCount(1);
    }
  }
  return needed;
}

// Makes the slots from the sequence's end up to `covered` writable in one
// group: its own copies of shared blocks, then further blocks.
// REQUIRES: the pool has BlocksToCover(id, covered) free blocks.
void KvCacheManager::Cover(SequenceId id, int group, TokenCount covered) {
  const BlockSize size = block_size(group);
  BlockTables& tables = groups_[static_cast<std::size_t>(group)].tables;
  const std::int32_t row = KvCacheManager::row(id);
  const auto end =
      static_cast<std::int32_t>(size.CoveringBlocks(covered).value());
  const TokenCount tokens = num_tokens(id);
  const auto first = static_cast<std::int32_t>(size.FullBlocks(tokens).value());
  const std::int32_t length = tables.length(row);
  for (std::int32_t i = first; i < std::min(end, length); ++i) {
    const BlockId shared = tables.row(row)[static_cast<std::size_t>(i)];
    if (!IsShared(shared)) continue;
    BlockId own;
    PAGEDKV_CHECK(pool_.TryAllocate({&own, 1}));
    const auto in_block = static_cast<std::int32_t>(
        i == first ? size.Remainder(tokens).value() : 0);
    if (in_block > 0) copies_.push_back({group, shared, own, in_block});
    PAGEDKV_CHECK(pool_.Release({&shared, 1}).ok());
    tables.Set(row, i, own);
  }
  if (end > length) {
    PAGEDKV_CHECK(pool_.TryAllocate(tables.Extend(row, end - length)));
  }
}

absl::Status KvCacheManager::Truncate(SequenceId id, TokenCount num_tokens) {
  if (absl::Status status = Rewind(id, num_tokens); !status.ok()) {
    return status;
  }
  for (Group& group : groups_) {
    ShrinkTable(group, row(id),
                static_cast<std::int32_t>(
                    group.block_size.CoveringBlocks(num_tokens).value()));
  }
  return absl::OkStatus();
}

absl::Status KvCacheManager::Rewind(SequenceId id, TokenCount num_tokens) {
  if (!IsLive(id)) return NotLive(id);
  if (num_tokens < TokenCount(0) || num_tokens > this->num_tokens(id)) {
    return absl::OutOfRangeError(
        absl::StrFormat("a sequence of %d tokens cannot be cut to %d",
                        this->num_tokens(id).value(), num_tokens.value()));
  }
  // The limit sends the next append through `Cover`: the block that it writes
  // may be shared.
  Sequence& sequence = sequences_[Row(id)];
  sequence.num_tokens = static_cast<std::int32_t>(num_tokens.value());
  sequence.append_limit = sequence.num_tokens;
  return absl::OkStatus();
}

absl::StatusOr<SequenceId> KvCacheManager::Fork(SequenceId id) {
  if (!IsLive(id)) return NotLive(id);
  absl::StatusOr<SequenceId> fork = AddSequence();
  if (!fork.ok()) return fork;
  for (Group& group : groups_) {
    const std::int64_t shared =
        group.block_size.CoveringBlocks(num_tokens(id)).value();
    const std::span<BlockId> table =
        group.tables.Extend(row(*fork), static_cast<std::int32_t>(shared));
    std::copy_n(group.tables.row(row(id)).begin(), shared, table.begin());
    PAGEDKV_CHECK(pool_.Share(table).ok());
  }
  Sequence& parent = sequences_[Row(id)];
  Sequence& child = sequences_[Row(*fork)];
  child.num_tokens = parent.num_tokens;
  // Neither may write the last block before `Cover` has looked at it.
  child.append_limit = parent.append_limit = parent.num_tokens;
  return fork;
}

absl::Status KvCacheManager::Release(SequenceId id) {
  if (!IsLive(id)) return NotLive(id);
  for (Group& group : groups_) ShrinkTable(group, row(id), 0);
  Sequence& sequence = sequences_[Row(id)];
  sequence = {.generation = sequence.generation + 1};
  free_rows_.push_back(row(id));
  --num_sequences_;
  return absl::OkStatus();
}

void KvCacheManager::ShrinkTable(Group& group, std::int32_t row,
                                 std::int32_t length) {
  const std::span<const BlockId> table = group.tables.row(row);
  PAGEDKV_CHECK(
      pool_.ReleaseReversed(table.subspan(static_cast<std::size_t>(length)))
          .ok());
  group.tables.Shrink(row, length);
}

void KvCacheManager::FillSlotMapping(SequenceId id, std::int32_t first,
                                     std::span<std::int64_t> slots,
                                     int group) const {
  const std::span<const BlockId> table = block_table(id, group);
  const auto size = static_cast<std::uint32_t>(block_size(group).value());
  const auto position = static_cast<std::uint32_t>(first);
  std::size_t index = position / size;
  std::uint32_t offset = position % size;
  for (std::size_t done = 0; done < slots.size(); ++index, offset = 0) {
    const std::int64_t base = std::int64_t{table[index].value()} * size;
    const std::size_t end =
        std::min<std::size_t>(done + (size - offset), slots.size());
    while (done < end) slots[done++] = base + offset++;
  }
}

void KvCacheManager::FillCsr(std::span<const SequenceId> ids,
                             CsrBlockTables& csr, int group) const {
  const BlockSize size = block_size(group);
  csr.indptr.assign(1, 0);
  csr.indices.clear();
  csr.last_page_len.clear();
  for (SequenceId id : ids) {
    const std::int64_t blocks = size.CoveringBlocks(num_tokens(id)).value();
    for (BlockId block :
         block_table(id, group).first(static_cast<std::size_t>(blocks))) {
      csr.indices.push_back(block.value());
    }
    csr.indptr.push_back(static_cast<std::int32_t>(csr.indices.size()));
    const TokenCount before_last =
        size.Slots(BlockCount(std::max<std::int64_t>(blocks - 1, 0)));
    csr.last_page_len.push_back(
        static_cast<std::int32_t>((num_tokens(id) - before_last).value()));
  }
}

BlockCount KvCacheManager::BlocksFor(TokenCount num_tokens) const {
  BlockCount blocks(0);
  for (const Group& group : groups_) {
    blocks += group.block_size.CoveringBlocks(num_tokens);
  }
  return blocks;
}

void KvCacheManager::ClearDirty() {
  for (Group& group : groups_) group.tables.ClearDirty();
}

absl::Status KvCacheManager::CheckInvariants() const {
  if (absl::Status status = pool_.CheckInvariants(); !status.ok()) {
    return status;
  }
  std::vector<std::int32_t> references(
      static_cast<std::size_t>(pool_.num_blocks().value()), 0);
  std::int32_t live = 0;
  for (std::size_t row = 0; row < sequences_.size(); ++row) {
    const Sequence& sequence = sequences_[row];
    const bool is_live = sequence.generation % 2 == 1;
    live += is_live ? 1 : 0;
    for (const Group& group : groups_) {
      const std::span<const BlockId> table =
          group.tables.row(static_cast<std::int32_t>(row));
      const std::int64_t covering =
          group.block_size.CoveringBlocks(TokenCount(sequence.num_tokens))
              .value();
      if (std::cmp_less(table.size(), covering) ||
          (!is_live && !table.empty())) {
        return absl::InternalError(absl::StrFormat(
            "sequence in row %d (%s) has %d tokens, %d blocks of %d", row,
            is_live ? "live" : "released", sequence.num_tokens, table.size(),
            group.block_size.value()));
      }
      for (BlockId block : table) {
        ++references[static_cast<std::size_t>(block.value())];
      }
      if (sequence.append_limit == sequence.num_tokens) continue;
      for (std::int64_t i = sequence.num_tokens / group.block_size.value();
           i * group.block_size.value() < sequence.append_limit; ++i) {
        if (std::cmp_greater_equal(i, table.size()) ||
            IsShared(table[static_cast<std::size_t>(i)])) {
          return absl::InternalError(absl::StrFormat(
              "sequence in row %d may append up to token %d, yet its block at "
              "index %d is missing or shared",
              row, sequence.append_limit, i));
        }
      }
    }
  }
  for (std::size_t i = 1; i < references.size(); ++i) {
    const std::int32_t counted =
        pool_.ref_count(BlockId(static_cast<std::int32_t>(i)));
    if (counted != references[i]) {
      return absl::InternalError(absl::StrFormat(
          "block %d has %d references, and %d table entries name it", i,
          counted, references[i]));
    }
  }
  if (live != num_sequences_ ||
      free_rows_.size() + static_cast<std::size_t>(live) != sequences_.size()) {
    return absl::InternalError(absl::StrFormat(
        "%d rows are live, %d free, %d counted as live of %d", live,
        free_rows_.size(), num_sequences_, sequences_.size()));
  }
  for (const Group& group : groups_) {
    if (absl::Status status = group.tables.CheckInvariants(); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
