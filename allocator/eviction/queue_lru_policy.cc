// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/queue_lru_policy.h"

namespace pagedkv {

BlockId QueueLruPolicy::Victim() {
  for (;;) {
    const BlockId block = lists_[kRecent].front;
    if (block == kNullBlock) return lists_[kParked].front;
    if (expectations_[Index(block)] == 0) return block;
    links_.Remove(lists_[kRecent], block);
    links_.PushBack(lists_[kParked], block);
    parked_[Index(block)] = kParked;
  }
}

void QueueLruPolicy::OnExpect(BlockId block, bool expected) {
  if (!IsCached(block)) return;
  std::uint32_t& expectations = expectations_[Index(block)];
  if (expected) {
    ++expectations;
    return;
  }
  if (expectations == 0) return;
  --expectations;
  if (expectations == 0 && IsCandidate(block) &&
      parked_[Index(block)] == kParked) {
    links_.Remove(lists_[kParked], block);
    links_.PushFront(lists_[kRecent], block);
    parked_[Index(block)] = kRecent;
  }
}

absl::Status QueueLruPolicy::Check() const {
  for (BlockId block : links_.ToVector(lists_[kParked])) {
    if (expectations_[Index(block)] == 0) {
      return Broken(block, "is parked, and nobody expects it");
    }
  }
  return CheckLists(links_, lists_, [this](BlockId block) -> std::size_t {
    return parked_[Index(block)];
  });
}

}  // namespace pagedkv
