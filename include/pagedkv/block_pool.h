// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_BLOCK_POOL_H_
#define PAGEDKV_BLOCK_POOL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv {

class FreeBlockQueue;

struct BlockPoolOptions {
  /// All blocks, the null block included: at least 2, at most 2^30.
  BlockCount num_blocks{0};
  /// Released blocks may hold content that a prefix index still names. Then
  /// blocks without content are reissued first and those with content last,
  /// in the order of their release (least recently used first). Without it the
  /// pool reissues in order of release. Costs 4 bytes per block.
  bool prefix_caching = false;
  /// With `prefix_caching`: free blocks with content are never reissued by the
  /// pool itself; whoever keeps the index chooses which of them lose their mark
  /// (`SetCached`), and only then can they be taken.
  bool external_eviction = false;
  /// Share of `num_blocks`, in [0, 1), that admission of new work leaves free
  /// so that running work can grow: fewer preemptions against a smaller batch.
  double watermark = 0.0;
  /// `BlockPool::Grow` adds blocks up to this number, which fixes what the pool
  /// takes per block: at least `num_blocks`, at most 2^30. 0: `num_blocks`.
  BlockCount max_num_blocks{0};
};

/// A block together with how often it had been freed: what to keep where a
/// block may be freed and reissued in the meantime.
struct BlockHandle {
  BlockId id;
  std::uint32_t generation = 0;
  friend bool operator==(BlockHandle, BlockHandle) = default;
};

/// The blocks of one memory budget: who is free, and how often each of the
/// others is referenced. It knows ids only, neither bytes nor tokens.
///
/// Every block but the null block is either free (reference count 0, in the
/// free queue once) or referenced (count >= 1, not in the queue). A free block
/// that is marked as cached keeps its mark until it is reissued: `Share`
/// revives it, `TryAllocate` reports it as evicted.
///
/// The pool can grow and shrink while it is in use. Blocks from `num_blocks` on
/// have left it: they are not issued. Those of them that are still referenced
/// are draining: with their last reference they are gone.
///
/// Invariants, tested by `CheckInvariants`:
///   num_free + num_used == num_blocks - 1 + num_draining
///   num_references == sum of ref_count(b)
///   num_draining == number of b >= num_blocks with ref_count(b) > 0
///   b in the free queue  <=>  ref_count(b) == 0, for 0 < b < num_blocks
///     (with external_eviction: and b is not marked as cached)
///   num_blocks <= extent, and ref_count(b) == 0 for b >= extent
///
/// Ids are first issued in the order 1, 2, 3, ...; the order of reissue is the
/// one of vLLM's v1 block pool. All operations cost O(1) per block named, and
/// do not depend on the size of the pool. Thread-compatible.
class BlockPool {
 public:
  /// InvalidArgument if an option is out of its range.
  static absl::StatusOr<BlockPool> Create(const BlockPoolOptions& options);
  BlockPool(BlockPool&&) noexcept;
  BlockPool& operator=(BlockPool&&) noexcept;
  ~BlockPool();

  [[nodiscard]] BlockCount num_blocks() const {
    return BlockCount(num_blocks_);
  }
  [[nodiscard]] BlockCount max_num_blocks() const {
    return BlockCount(static_cast<std::int64_t>(states_.size()));
  }
  /// Blocks that have left the pool and are still referenced.
  [[nodiscard]] BlockCount num_draining() const {
    return BlockCount(num_draining_);
  }
  /// Blocks whose memory is needed: ids below it may be in use. `num_blocks`,
  /// or more while blocks drain, and then less and less.
  [[nodiscard]] BlockCount extent() const { return BlockCount(extent_); }
  [[nodiscard]] BlockCount num_free() const { return BlockCount(num_free_); }
  /// Free blocks that `TryAllocate` may take: all, but for external_eviction.
  [[nodiscard]] BlockCount num_takeable() const;
  /// Blocks that are referenced, draining ones included.
  [[nodiscard]] BlockCount num_used() const {
    return BlockCount(num_blocks_ - 1 + num_draining_ - num_free_);
  }
  /// Free blocks that hold content.
  [[nodiscard]] BlockCount num_cached_free() const {
    return BlockCount(num_cached_free_);
  }
  /// Sum of all reference counts: num_used(), and what is shared beyond.
  [[nodiscard]] BlockCount num_references() const {
    return BlockCount(num_references_);
  }
  /// floor(watermark * num_blocks).
  [[nodiscard]] BlockCount watermark_blocks() const { return watermark_; }
  /// num_used / (num_blocks - 1): from 0 to 1, or more while blocks drain.
  [[nodiscard]] double usage() const;
  [[nodiscard]] bool prefix_caching() const { return prefix_caching_; }

  /// Takes `out.size()` blocks, each with reference count 1, or, when fewer can
  /// be taken, takes none and returns false. Blocks that were marked as cached
  /// lose the mark and are appended to `evicted`, in the order of `out`.
  [[nodiscard]] bool TryAllocate(std::span<BlockId> out,
                                 std::vector<BlockId>* evicted = nullptr);

  /// Adds one reference to each of `blocks`. A free block that is marked as
  /// cached comes back into use. Null blocks are skipped. Changes nothing and
  /// returns InvalidArgument for an id outside of the pool, FailedPrecondition
  /// for a block that is free and not cached.
  absl::Status Share(std::span<const BlockId> blocks);

  /// Drops one reference of each of `blocks`; those that reach 0 become free in
  /// the order given. Null blocks are skipped; a block named k times loses k
  /// references. Changes nothing and returns InvalidArgument for an id outside
  /// of the pool, FailedPrecondition for a block that would be freed twice.
  absl::Status Release(std::span<const BlockId> blocks);
  /// The same from the last to the first: how a sequence gives its table back,
  /// so that the end of a prefix is reissued before its beginning.
  absl::Status ReleaseReversed(std::span<const BlockId> blocks);
  /// The same as `Release`, and refuses (FailedPrecondition) a handle whose
  /// block was freed since the handle was taken, even if it was reissued.
  absl::Status Release(std::span<const BlockHandle> blocks);

  /// REQUIRES: `block` is an id of this pool.
  [[nodiscard]] std::int32_t ref_count(BlockId block) const {
    return states_[Index(block)].ref_count;
  }
  /// REQUIRES: `block` is an id of this pool.
  [[nodiscard]] BlockHandle handle(BlockId block) const {
    return {block, states_[Index(block)].generation()};
  }
  /// Whether the block was neither freed nor reissued since `handle` was taken.
  [[nodiscard]] bool IsCurrent(BlockHandle handle) const;

  /// Marks (or unmarks) a block as holding content that an index names. Where
  /// it is in the free queue does not change; with external_eviction a free
  /// block enters at the front when it is unmarked, and leaves when marked.
  /// REQUIRES: prefix_caching(), and `block` is an id of this pool, neither
  /// null nor draining.
  void SetCached(BlockId block, bool cached) {
    BlockState& state = states_[Index(block)];
    if (state.ref_count == 0) {
      if (external_eviction_) MoveFree(block, cached);
      num_cached_free_ += (cached ? 1 : 0) - (state.cached() ? 1 : 0);
    }
    state.SetCached(cached);
  }
  [[nodiscard]] bool is_cached(BlockId block) const {
    return states_[Index(block)].cached();
  }

  /// Adds blocks until there are `num_blocks`, behind all that are free, in the
  /// order of their ids; those that were draining and come back in stay used.
  /// InvalidArgument for fewer than there are, and beyond `max_num_blocks`.
  /// O(blocks added).
  absl::Status Grow(BlockCount num_blocks);
  /// Takes all blocks from `num_blocks` on out of the pool: free ones at once,
  /// used ones as they are released. Those that are marked as cached, free or
  /// used, lose the mark and are appended to `evicted`. The others keep marks,
  /// references and their order of reissue. `num_blocks` and the watermark are
  /// those of the smaller pool from then on; `Grow` takes it back.
  /// InvalidArgument for fewer than 2, or more than there are. O(num_blocks).
  absl::Status BeginShrink(BlockCount num_blocks,
                           std::vector<BlockId>* evicted = nullptr);
  /// What `BeginShrink` would say.
  [[nodiscard]] absl::Status CheckShrink(BlockCount num_blocks) const;

  /// The free blocks in order of reissue. O(num_free): for tests and audits.
  [[nodiscard]] std::vector<BlockId> FreeBlocks() const;

  /// Internal, naming the block, if an invariant is broken. O(num_blocks).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct BlockState {
    std::int32_t ref_count = 0;
    // Twice the number of times that the block was freed, plus one if marked as
    // cached: counting up is then a plain addition.
    std::uint32_t generation_and_mark = 0;

    [[nodiscard]] bool cached() const { return generation_and_mark % 2 != 0; }
    void SetCached(bool cached) {
      generation_and_mark = (generation_and_mark & ~1u) | (cached ? 1u : 0u);
    }
    [[nodiscard]] std::uint32_t generation() const {
      return generation_and_mark / 2;
    }
    // Drops a reference; whether it was the last, and the block is free.
    bool Drop() {
      if (--ref_count != 0) return false;
      generation_and_mark += 2;
      return true;
    }
    void UndoDrop() {
      if (ref_count++ == 0) generation_and_mark -= 2;
    }
  };

  explicit BlockPool(const BlockPoolOptions& options);
  static std::size_t Index(BlockId block) {
    return static_cast<std::size_t>(block.value());
  }
  [[nodiscard]] bool Contains(BlockId block) const {
    return static_cast<std::uint32_t>(block.value()) < extent_;
  }
  template <typename BlockAt, typename MayRelease>
  absl::Status ReleaseEach(std::size_t count, BlockAt block_at,
                           MayRelease may_release);
  template <typename BlockAt>
  absl::Status UndoRelease(std::size_t count, BlockAt block_at);
  void MoveFree(BlockId block, bool cached);
  std::size_t Withdraw(std::span<BlockId> freed);
  void SetNumBlocks(BlockCount num_blocks);

  std::vector<BlockState> states_;  // [max_num_blocks]
  std::unique_ptr<FreeBlockQueue> free_;
  std::vector<BlockId> freed_;  // scratch: by the release under way
  std::int64_t num_free_ = 0;
  std::int64_t num_cached_free_ = 0;
  std::int64_t num_references_ = 0;
  std::int64_t num_blocks_ = 0;
  std::int64_t num_draining_ = 0;
  std::uint32_t extent_ = 0;
  double watermark_share_ = 0.0;
  BlockCount watermark_;
  bool prefix_caching_ = false;
  bool external_eviction_ = false;
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_POOL_H_
