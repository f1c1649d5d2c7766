// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/block_heap.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv {

void BlockHeap::Place(std::size_t position, const Entry& entry) {
  heap_[position] = entry;
  positions_[Index(entry.block)] = static_cast<std::int32_t>(position);
}

void BlockHeap::Sift(std::size_t position, const Entry& entry) {
  while (position > 0) {
    const std::size_t parent = (position - 1) / kChildren;
    if (!Before(entry, heap_[parent])) break;
    Place(position, heap_[parent]);
    position = parent;
  }
  for (;;) {
    std::size_t child = kChildren * position + 1;
    const std::size_t end = std::min(child + kChildren, heap_.size());
    if (child >= end) break;
    for (std::size_t sibling = child + 1; sibling < end; ++sibling) {
      if (Before(heap_[sibling], heap_[child])) child = sibling;
    }
    if (!Before(heap_[child], entry)) break;
    Place(position, heap_[child]);
    position = child;
  }
  Place(position, entry);
}

void BlockHeap::Push(BlockId block, std::int64_t key) {
  const Entry entry{key, ++changes_, block};
  heap_.push_back(entry);
  Sift(heap_.size() - 1, entry);
}

void BlockHeap::Update(BlockId block, std::int64_t key) {
  Sift(static_cast<std::size_t>(positions_[Index(block)]),
       {key, ++changes_, block});
}

void BlockHeap::Remove(BlockId block) {
  const auto position = static_cast<std::size_t>(positions_[Index(block)]);
  const Entry last = heap_.back();
  heap_.pop_back();
  if (last.block != block) Sift(position, last);
  positions_[Index(block)] = kNowhere;
}

absl::Status BlockHeap::CheckInvariants() const {
  for (std::size_t position = 0; position < heap_.size(); ++position) {
    const Entry& entry = heap_[position];
    if (positions_[Index(entry.block)] != static_cast<std::int32_t>(position) ||
        (position > 0 && Before(entry, heap_[(position - 1) / kChildren]))) {
      return absl::InternalError(absl::StrFormat(
          "heap: block %d is out of place", entry.block.value()));
    }
  }
  const auto placed =
      std::count_if(positions_.begin(), positions_.end(),
                    [](std::int32_t position) { return position != kNowhere; });
  if (placed != std::ssize(heap_)) {
    return absl::InternalError(absl::StrFormat(
        "heap: holds %d blocks, places %d", heap_.size(), placed));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
