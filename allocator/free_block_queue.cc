// SPDX-License-Identifier: Apache-2.0
#include "allocator/free_block_queue.h"

#include <bit>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// Entries that one push moves while holes are being closed. At more than one
// the gap reaches the tail before the tail, which each push advances by one,
// reaches the capacity.
constexpr int kMovesPerPush = 4;

}  // namespace

FreeBlockQueue::FreeBlockQueue(std::int64_t num_blocks, std::int64_t max_blocks,
                               bool removable)
    : removable_(removable) {
  const auto blocks = static_cast<std::uint64_t>(max_blocks);
  // Compaction starts at a span of 1.5 times the blocks and ends before twice
  // the blocks; a batch may add as many again.
  const std::uint64_t capacity = std::bit_ceil(removable ? 3 * blocks : blocks);
  compact_above_ = blocks + blocks / 2;
  mask_ = capacity - 1;
  ring_.assign(capacity, kHole);
  if (removable) positions_.assign(blocks, 0);
  for (std::int64_t id = 1; id < num_blocks; ++id) {
    PushBack(BlockId(static_cast<std::int32_t>(id)));
  }
}

void FreeBlockQueue::Remove(BlockId block) {
  PAGEDKV_CHECK(removable_);
  BlockId& entry = ring_[positions_[static_cast<std::size_t>(block.value())]];
  PAGEDKV_CHECK(entry == block);
  entry = kHole;
  --size_;
  if (size_ == 0) tail_ = gap_begin_ = gap_end_ = head_;
}

void FreeBlockQueue::RemoveFrom(BlockId first) {
  std::uint64_t end = head_;
  for (std::uint64_t position = head_; position != tail_; ++position) {
    const BlockId block = At(position);
    if (block != kHole && block < first) Place(end++, block);
  }
  tail_ = end;
  size_ = end - head_;
  gap_begin_ = gap_end_ = head_;
}

void FreeBlockQueue::CompactSome() {
  for (int move = 0; move < kMovesPerPush; ++move) {
    if (gap_end_ == tail_) {
      tail_ = gap_begin_;
      gap_begin_ = gap_end_ = head_;
      return;
    }
    const BlockId block = At(gap_end_);
    if (block != kHole) {
      At(gap_end_) = kHole;
      Place(gap_begin_++, block);
    }
    ++gap_end_;
  }
}

std::vector<BlockId> FreeBlockQueue::ToVector() const {
  std::vector<BlockId> blocks;
  blocks.reserve(size_);
  for (std::uint64_t position = head_; position != tail_; ++position) {
    if (At(position) != kHole) blocks.push_back(At(position));
  }
  return blocks;
}

absl::Status FreeBlockQueue::CheckInvariants() const {
  if (tail_ - head_ > ring_.size() || gap_begin_ < head_ ||
      gap_end_ < gap_begin_ || tail_ < gap_end_) {
    return absl::InternalError(
        absl::StrFormat("free queue: %d positions of %d, gap from %d to %d",
                        static_cast<std::int64_t>(tail_ - head_), ring_.size(),
                        static_cast<std::int64_t>(gap_begin_ - head_),
                        static_cast<std::int64_t>(gap_end_ - head_)));
  }
  std::size_t live = 0;
  for (std::uint64_t position = head_; position != tail_; ++position) {
    const BlockId block = At(position);
    if (block == kHole) continue;
    ++live;
    const bool in_gap = gap_begin_ <= position && position < gap_end_;
    if (in_gap ||
        (removable_ && positions_[static_cast<std::size_t>(block.value())] !=
                           (position & mask_))) {
      return absl::InternalError(
          absl::StrFormat("free queue: block %d is not where its position says",
                          block.value()));
    }
  }
  if (live != size_) {
    return absl::InternalError(
        absl::StrFormat("free queue: counts %d blocks, holds %d", size_, live));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
