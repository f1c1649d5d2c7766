// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_CACHE_MANAGER_H_
#define PAGEDKV_KV_CACHE_MANAGER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_pool.h"
#include "pagedkv/block_storage.h"
#include "pagedkv/block_tables.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Layers that share a block table: same attention kind, same block geometry.
struct KvCacheGroupOptions {
  BlockSize block_size{16};
};

struct KvCacheManagerOptions {
  /// The pool that all groups draw from.
  BlockPoolOptions pool;
  /// At least one, at most `kMaxKvCacheGroups`.
  std::vector<KvCacheGroupOptions> groups = {KvCacheGroupOptions{}};
  /// No sequence grows beyond this many tokens (the model's context length).
  /// Fixes the width of the block tables: 4 bytes per block and sequence.
  TokenCount max_sequence_tokens{0};
  /// No more sequences than this at a time.
  std::int32_t max_sequences = 1024;
};

inline constexpr int kMaxKvCacheGroups = 16;

/// How `KvCacheManager::TryAppend` provides for what comes after the append.
struct AppendOptions {
  /// Slots wanted beyond the appended tokens (speculative drafts); cut where
  /// they would exceed `max_sequence_tokens`.
  TokenCount lookahead{0};
  /// The append is granted only if a sequence of this many tokens in all would
  /// fit as well (a prompt that is prefilled in chunks). 0: no such condition.
  TokenCount must_fit{0};
  /// The append is granted only if it leaves the pool's watermark free.
  bool keep_watermark = false;
};

/// Sequences in, block tables out: maps each sequence's logical positions to
/// slots of physical blocks, in every KV cache group, out of one pool.
///
/// A sequence of n tokens has ceil(n / block_size) blocks in each group, and
/// more only for lookahead that was asked for. Forked sequences share blocks; a
/// sequence that writes into a shared block gets its own copy first.
///
/// Invariants, tested by `CheckInvariants`:
///   table.size() >= ceil(num_tokens / block_size), for each group
///   ref_count(b) == number of table entries that name b, for each block
/// Running out of blocks is an answer (false). A caller's mistake is a
/// `Status`. Either changes nothing, in any group. Thread-compatible.
class KvCacheManager {
 public:
  /// InvalidArgument, naming the option, if one is out of its range.
  static absl::StatusOr<KvCacheManager> Create(
      const KvCacheManagerOptions& options);

  /// A new empty sequence. ResourceExhausted at `max_sequences`.
  absl::StatusOr<SequenceId> AddSequence();

  /// Appends `count` tokens (>= 0) to the sequence: takes what blocks they need
  /// and copies a shared last block before it is written. False if the pool has
  /// too few blocks for it, and then nothing has changed.
  /// NotFound for a stale id, OutOfRange beyond `max_sequence_tokens`.
  [[nodiscard]] absl::StatusOr<bool> TryAppend(SequenceId id,
                                               TokenCount count) {
    if (IsLive(id)) {
      Sequence& sequence = sequences_[Row(id)];
      if (count.value() >= 0 &&
          count.value() <= sequence.append_limit - sequence.num_tokens) {
        sequence.num_tokens += static_cast<std::int32_t>(count.value());
        return true;
      }
    }
    return TryAppend(id, count, AppendOptions{});
  }
  [[nodiscard]] absl::StatusOr<bool> TryAppend(SequenceId id, TokenCount count,
                                               const AppendOptions& options);

  /// Forgets all tokens from `num_tokens` on and gives the blocks back that are
  /// no longer covered (rejected drafts, a beam that was cut). NotFound,
  /// OutOfRange if the sequence is shorter.
  absl::Status Truncate(SequenceId id, TokenCount num_tokens);
  /// Forgets tokens like `Truncate`, and keeps the blocks for those to come.
  absl::Status Rewind(SequenceId id, TokenCount num_tokens);

  /// A new sequence with the same tokens that shares the blocks of `id`
  /// (parallel sampling, beam search). NotFound, ResourceExhausted at
  /// `max_sequences`. O(blocks of the sequence).
  /// The tokens of `id` must have been written before the copies that follow
  /// from the fork are made: fork between steps, not between an append and the
  /// step that computes it.
  absl::StatusOr<SequenceId> Fork(SequenceId id);

  /// Ends the sequence: drops its references, last block first, group by group.
  /// NotFound.
  absl::Status Release(SequenceId id);

  [[nodiscard]] bool IsLive(SequenceId id) const {
    return Row(id) < sequences_.size() && Generation(id) % 2 == 1 &&
           sequences_[Row(id)].generation == Generation(id);
  }
  [[nodiscard]] std::int32_t num_sequences() const { return num_sequences_; }
  /// REQUIRES: IsLive(id), as all that follow.
  [[nodiscard]] TokenCount num_tokens(SequenceId id) const {
    return TokenCount(sequences_[Row(id)].num_tokens);
  }
  /// The row of the sequence in the tables of every group, from its creation to
  /// its release.
  [[nodiscard]] static std::int32_t row(SequenceId id) {
    return static_cast<std::int32_t>(Row(id));
  }
  [[nodiscard]] std::span<const BlockId> block_table(SequenceId id,
                                                     int group = 0) const {
    return tables(group).row(row(id));
  }
  /// Where the token at `position` lies: block id * block_size + offset.
  /// REQUIRES: the position is below num_tokens(id).
  [[nodiscard]] std::int64_t Slot(SequenceId id, std::int32_t position,
                                  int group = 0) const {
    const BlockSize size = block_size(group);
    const TokenCount before(position);
    const auto index =
        static_cast<std::size_t>(size.FullBlocks(before).value());
    const BlockCount block(block_table(id, group)[index].value());
    return (size.Slots(block) + size.Remainder(before)).value();
  }
  /// Writes the slots of the tokens at positions first, first + 1, ... to
  /// `slots`. REQUIRES: the positions are below num_tokens(id).
  void FillSlotMapping(SequenceId id, std::int32_t first,
                       std::span<std::int64_t> slots, int group = 0) const;
  /// Replaces `csr` by the tables of `ids`, in their order. O(blocks).
  void FillCsr(std::span<const SequenceId> ids, CsrBlockTables& csr,
               int group = 0) const;

  /// Blocks that it takes now to lengthen the sequence to `covered` tokens,
  /// over all groups, its own copies of shared blocks included.
  [[nodiscard]] BlockCount BlocksToCover(SequenceId id,
                                         TokenCount covered) const;
  /// Blocks that a sequence of `num_tokens` has, over all groups.
  [[nodiscard]] BlockCount BlocksFor(TokenCount num_tokens) const;

  /// Copies asked for since the last `ClearCopies`, to be done in this order.
  [[nodiscard]] std::span<const BlockCopy> copies() const { return copies_; }
  void ClearCopies() { copies_.clear(); }

  [[nodiscard]] const BlockPool& pool() const { return pool_; }
  [[nodiscard]] int num_groups() const {
    return static_cast<int>(groups_.size());
  }
  [[nodiscard]] BlockSize block_size(int group = 0) const {
    return groups_[static_cast<std::size_t>(group)].block_size;
  }
  [[nodiscard]] TokenCount max_sequence_tokens() const {
    return max_sequence_tokens_;
  }
  [[nodiscard]] const BlockTables& tables(int group = 0) const {
    return groups_[static_cast<std::size_t>(group)].tables;
  }
  /// Forgets what changed in the tables of all groups: after the upload.
  void ClearDirty();

  /// Internal, naming the sequence or block, what was expected and what found,
  /// if an invariant is broken, here or in the pool and tables. O(everything).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  // The generation is odd while the row holds a sequence. Tokens from
  // num_tokens up to append_limit are covered, in every group, by blocks that
  // are the sequence's own: appending them needs no look at the tables.
  struct alignas(16) Sequence {
    std::uint32_t generation = 0;
    std::int32_t num_tokens = 0;
    std::int32_t append_limit = 0;
  };

  struct Group {
    BlockSize block_size;
    BlockTables tables;
  };

  KvCacheManager(const KvCacheManagerOptions& options, BlockPool pool);

  static std::size_t Row(SequenceId id) {
    return static_cast<std::uint32_t>(id.value());
  }
  static std::uint32_t Generation(SequenceId id) {
    return static_cast<std::uint32_t>(id.value() >> 32);
  }

  [[nodiscard]] bool IsShared(BlockId block) const {
    return pool_.ref_count(block) > 1;
  }
  void Cover(SequenceId id, int group, TokenCount covered);
  void ShrinkTable(Group& group, std::int32_t row, std::int32_t length);

  BlockPool pool_;
  std::vector<Group> groups_;
  std::vector<Sequence> sequences_;      // [rows]
  std::vector<std::int32_t> free_rows_;  // reused last in, first out
  std::vector<BlockCopy> copies_;
  TokenCount max_sequence_tokens_;
  std::int32_t max_sequences_;
  std::int32_t num_sequences_ = 0;
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_CACHE_MANAGER_H_
