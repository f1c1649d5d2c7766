// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_FREE_BLOCK_QUEUE_H_
#define ALLOCATOR_FREE_BLOCK_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// The free blocks of a pool in order of reissue: taken from the front, given
/// back at either end and, if `removable`, taken from any position.
///
/// A ring of ids, so that a batch is taken and given back at the speed of a
/// sequential copy. Not an intrusive list: following its links costs a cache
/// miss per block once the pool outgrows the cache. Removal leaves a hole,
/// which the front skips. Where holes pile up, each later push moves a few
/// entries together (`Compact`), so that no single operation pays for all.
///
///   ring positions:  head ... gap_begin [holes] gap_end ... tail
///   size == live entries in [head, tail);  tail - head <= capacity
///   removable: ring[position[b]] == b for each b in the queue
///
/// Thread-compatible.
class FreeBlockQueue {
 public:
  /// Holds the ids 1 .. num_blocks - 1 in this order, and has room for those
  /// below `max_blocks`.
  FreeBlockQueue(std::int64_t num_blocks, std::int64_t max_blocks,
                 bool removable);

  [[nodiscard]] std::size_t size() const { return size_; }

  /// Takes the first blocks. REQUIRES: out.size() <= size().
  void PopFront(std::span<BlockId> out) {
    const BlockId* const ring = ring_.data();
    const std::uint64_t mask = mask_;
    std::uint64_t head = head_;
    for (BlockId& block : out) {
      while (ring[head & mask] == kHole) ++head;
      block = ring[head++ & mask];
    }
    head_ = head;
    size_ -= out.size();
    if (size_ == 0) tail_ = head_;
    if (gap_begin_ < head_ || size_ == 0) gap_begin_ = gap_end_ = head_;
  }
  /// The blocks go to the end, the first of them first.
  /// REQUIRES: none of them is in the queue.
  void PushBack(std::span<const BlockId> blocks) {
    if (removable_ && tail_ + blocks.size() - head_ > compact_above_) {
      for (BlockId block : blocks) PushBack(block);
      return;
    }
    BlockId* const ring = ring_.data();
    const std::uint64_t mask = mask_;
    std::uint64_t tail = tail_;
    if (removable_) {
      std::uint32_t* const positions = positions_.data();
      for (BlockId block : blocks) {
        const std::uint64_t position = tail++ & mask;
        ring[position] = block;
        positions[static_cast<std::size_t>(block.value())] =
            static_cast<std::uint32_t>(position);
      }
    } else {
      for (BlockId block : blocks) ring[tail++ & mask] = block;
    }
    tail_ = tail;
    size_ += blocks.size();
  }
  /// REQUIRES: `block` is not in the queue, as for `PushFront`.
  void PushBack(BlockId block) {
    Compact();
    Place(tail_++, block);
    ++size_;
  }
  void PushFront(BlockId block) {
    Compact();
    Place(--head_, block);
    ++size_;
  }
  /// REQUIRES: removable, and `block` is in the queue.
  void Remove(BlockId block);

  /// Takes all blocks from `first` on out; the others keep their order.
  /// O(capacity).
  void RemoveFrom(BlockId first);

  /// From front to back. O(capacity).
  [[nodiscard]] std::vector<BlockId> ToVector() const;

  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  // The null block never is in a queue, so it marks the holes.
  static constexpr BlockId kHole = kNullBlock;

  BlockId& At(std::uint64_t position) { return ring_[position & mask_]; }
  [[nodiscard]] BlockId At(std::uint64_t position) const {
    return ring_[position & mask_];
  }
  void Place(std::uint64_t position, BlockId block) {
    At(position) = block;
    if (removable_) {
      positions_[static_cast<std::size_t>(block.value())] =
          static_cast<std::uint32_t>(position & mask_);
    }
  }
  void Compact() {
    if (removable_ && tail_ - head_ > compact_above_) CompactSome();
  }
  void CompactSome();

  std::vector<BlockId> ring_;
  std::uint64_t mask_;
  // Positions count on without wrapping; start in the middle so that the head
  // may go back.
  std::uint64_t head_ = std::uint64_t{1} << 62;
  std::uint64_t tail_ = head_;
  std::size_t size_ = 0;
  bool removable_;
  std::vector<std::uint32_t> positions_;  // by block; empty if not removable
  std::uint64_t compact_above_;           // span that starts a compaction
  std::uint64_t gap_begin_ = head_;       // [gap_begin, gap_end) are holes
  std::uint64_t gap_end_ = head_;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_FREE_BLOCK_QUEUE_H_
