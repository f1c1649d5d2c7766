// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/sieve_policy.h"

namespace pagedkv {

BlockId SievePolicy::Victim() {
  if (hand_ == kNullBlock) hand_ = list_.front;
  while (hand_ != kNullBlock && visited_[Index(hand_)] != 0) {
    visited_[Index(hand_)] = 0;
    hand_ = links_.next(hand_);
    if (hand_ == kNullBlock) hand_ = list_.front;
  }
  return hand_;
}

absl::Status SievePolicy::Check() const {
  if (hand_ != kNullBlock && !IsCandidate(hand_)) {
    return Broken(hand_, "has the hand, and is no candidate");
  }
  return CheckLists(links_, {&list_, 1},
                    [](BlockId) { return std::size_t{0}; });
}

}  // namespace pagedkv
