// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_BLOCK_HEAP_H_
#define ALLOCATOR_EVICTION_BLOCK_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// Blocks by key, the lowest first, and of those with the same key the one that
/// got it first. A heap of four children per node: half as deep as one of two,
/// and siblings lie together. Changes cost O(log n); 28 bytes per block.
/// Thread-compatible.
///
///   heap[position[b]].block == b for each b in the heap
///   no entry comes before its parent
class BlockHeap {
 public:
  explicit BlockHeap(BlockCount num_blocks)
      : positions_(static_cast<std::size_t>(num_blocks.value()), kNowhere) {
    heap_.reserve(positions_.size());
  }

  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::int64_t size() const { return std::ssize(heap_); }
  [[nodiscard]] bool Contains(BlockId block) const {
    return positions_[Index(block)] != kNowhere;
  }
  /// REQUIRES: not empty.
  [[nodiscard]] BlockId front() const { return heap_.front().block; }
  [[nodiscard]] std::int64_t front_key() const { return heap_.front().key; }
  /// REQUIRES: Contains(block).
  [[nodiscard]] std::int64_t key(BlockId block) const {
    return heap_[static_cast<std::size_t>(positions_[Index(block)])].key;
  }

  /// REQUIRES: !Contains(block).
  void Push(BlockId block, std::int64_t key);
  /// REQUIRES: Contains(block). The block comes behind those of the same key.
  void Update(BlockId block, std::int64_t key);
  /// REQUIRES: Contains(block).
  void Remove(BlockId block);

  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct Entry {
    std::int64_t key;
    std::uint64_t order;  // counts the changes: the lower came first
    BlockId block;
  };
  static constexpr std::int32_t kNowhere = -1;
  static constexpr std::size_t kChildren = 4;

  static std::size_t Index(BlockId block) {
    return static_cast<std::size_t>(block.value());
  }
  static bool Before(const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.order < b.order;
  }
  void Place(std::size_t position, const Entry& entry);
  // Finds the place of `entry`, whose own at `position` is free.
  void Sift(std::size_t position, const Entry& entry);

  std::vector<Entry> heap_;
  std::vector<std::int32_t> positions_;  // by block
  std::uint64_t changes_ = 0;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_BLOCK_HEAP_H_
