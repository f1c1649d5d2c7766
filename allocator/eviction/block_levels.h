// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_BLOCK_LEVELS_H_
#define ALLOCATOR_EVICTION_BLOCK_LEVELS_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/id_list.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Lists of blocks by level, 0 <= level < kMaxLevels, of which the lowest that
/// is not empty is found with two bit scans. Each call costs O(1). 8 bytes per
/// block and 16 per level. Thread-compatible.
class BlockLevels {
 public:
  static constexpr std::size_t kMaxLevels = std::size_t{64} * 64;

  BlockLevels(BlockCount num_blocks, std::size_t num_levels)
      : links_(num_blocks.value()), lists_(num_levels) {}

  void PushBack(std::size_t level, BlockId block) {
    links_.PushBack(lists_[level], block);
    words_[level / 64] |= Bit(level);
    occupied_words_ |= Bit(level / 64);
  }
  void Remove(std::size_t level, BlockId block) {
    links_.Remove(lists_[level], block);
    if (lists_[level].size > 0) return;
    words_[level / 64] &= ~Bit(level);
    if (words_[level / 64] == 0) occupied_words_ &= ~Bit(level / 64);
  }
  /// The first block of the lowest level; the null block if all are empty.
  [[nodiscard]] BlockId Front() const {
    if (occupied_words_ == 0) return kNullBlock;
    const auto word =
        static_cast<std::size_t>(std::countr_zero(occupied_words_));
    return lists_[word * 64 +
                  static_cast<std::size_t>(std::countr_zero(words_[word]))]
        .front;
  }
  [[nodiscard]] std::span<const BlockList> lists() const { return lists_; }
  [[nodiscard]] const BlockLinks& links() const { return links_; }
  /// Internal unless the bits say which lists are empty. O(levels).
  [[nodiscard]] absl::Status CheckInvariants() const {
    for (std::size_t level = 0; level < lists_.size(); ++level) {
      const bool marked = (words_[level / 64] & Bit(level)) != 0 &&
                          (occupied_words_ & Bit(level / 64)) != 0;
      if (marked != (lists_[level].size > 0)) {
        return absl::InternalError(
            "levels: an empty list is marked, or one "
            "with blocks is not");
      }
    }
    return absl::OkStatus();
  }

 private:
  static constexpr std::uint64_t Bit(std::size_t bit) {
    return std::uint64_t{1} << (bit % 64);
  }

  BlockLinks links_;
  std::vector<BlockList> lists_;
  std::array<std::uint64_t, 64> words_{};  // one bit for each level
  std::uint64_t occupied_words_ = 0;       // one bit for each word
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_BLOCK_LEVELS_H_
