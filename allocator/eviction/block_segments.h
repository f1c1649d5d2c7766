// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_BLOCK_SEGMENTS_H_
#define ALLOCATOR_EVICTION_BLOCK_SEGMENTS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "allocator/eviction/id_list.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Cached blocks divided among a few segments. A block in use stays a member of
/// its segment, so that shares are shares of what is cached, but is in no list:
/// lists hold candidates. Each call costs O(1). 9 bytes per block.
/// Thread-compatible.
class BlockSegments {
 public:
  BlockSegments(BlockCount num_blocks, std::size_t num_segments)
      : links_(num_blocks.value()),
        segment_of_(static_cast<std::size_t>(num_blocks.value())),
        lists_(num_segments),
        num_members_(num_segments) {}

  [[nodiscard]] std::size_t segment(BlockId block) const {
    return segment_of_[static_cast<std::size_t>(block.value())];
  }
  [[nodiscard]] std::int64_t num_members(std::size_t segment) const {
    return num_members_[segment];
  }
  /// The candidate that was linked first; the null block if there is none.
  [[nodiscard]] BlockId front(std::size_t segment) const {
    return lists_[segment].front;
  }
  [[nodiscard]] std::span<const BlockList> lists() const { return lists_; }
  [[nodiscard]] const BlockLinks& links() const { return links_; }

  /// The block becomes a member, but no candidate.
  void Add(BlockId block, std::size_t segment) {
    segment_of_[static_cast<std::size_t>(block.value())] =
        static_cast<std::uint8_t>(segment);
    ++num_members_[segment];
  }
  /// A member is one no longer. REQUIRES: it is not linked.
  void Drop(BlockId block) { --num_members_[segment(block)]; }
  void Link(BlockId block) { links_.PushBack(lists_[segment(block)], block); }
  void Unlink(BlockId block) { links_.Remove(lists_[segment(block)], block); }
  /// To the back of a segment's list, or just to its members if not `linked`.
  void Move(BlockId block, std::size_t segment, bool linked) {
    if (linked) Unlink(block);
    Drop(block);
    Add(block, segment);
    if (linked) Link(block);
  }

 private:
  BlockLinks links_;
  std::vector<std::uint8_t> segment_of_;
  std::vector<BlockList> lists_;
  std::vector<std::int64_t> num_members_;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_BLOCK_SEGMENTS_H_
