// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/arc_policy.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv {

ArcPolicy::ArcPolicy(BlockCount num_blocks)
    : PolicyBase(num_blocks),
      lists_(num_blocks, 2),
      // One more: the victim's ghost comes before the ghosts are cut.
      ghosts_(capacity() + 1, 2),
      contents_(static_cast<std::size_t>(num_blocks.value())) {}

void ArcPolicy::Adapt(GhostId ghost) {
  if (ghosts_.marked(ghost)) return;
  ghosts_.Mark(ghost);
  const auto b1 = static_cast<double>(ghosts_.size(kSeenOnce));
  const auto b2 = static_cast<double>(ghosts_.size(kSeenAgain));
  if (ghosts_.list(ghost) == kSeenOnce) {
    target_ = std::min(target_ + std::max(1.0, b2 / b1),
                       static_cast<double>(capacity()));
  } else {
    target_ = std::max(target_ - std::max(1.0, b1 / b2), 0.0);
  }
}

void ArcPolicy::OnMiss(const CachedBlockInfo& info) {
  const GhostId ghost = ghosts_.Find(info.content);
  missed_in_b2_ = ghost != kNoGhost && ghosts_.list(ghost) == kSeenAgain;
  if (ghost != kNoGhost) Adapt(ghost);
}

void ArcPolicy::Insert(BlockId block, const CachedBlockInfo& info) {
  contents_[Index(block)] = info.content;
  missed_in_b2_ = false;
  if (const GhostId ghost = ghosts_.Find(info.content); ghost != kNoGhost) {
    Adapt(ghost);
    ghosts_.Erase(ghost);
    lists_.Add(block, kSeenAgain);
  } else {
    lists_.Add(block, kSeenOnce);
  }
  CutGhosts();
}

void ArcPolicy::ChangeCapacity() {
  target_ = std::min(target_, static_cast<double>(capacity()));
  CutGhosts();
}

void ArcPolicy::CutGhosts() {
  // |T1| + |B1| <= c and |T1| + |T2| + |B1| + |B2| <= 2 c.
  const std::int64_t t1 = lists_.num_members(kSeenOnce);
  const std::int64_t cached = t1 + lists_.num_members(kSeenAgain);
  while (ghosts_.size(kSeenOnce) > 0 &&
         t1 + ghosts_.size(kSeenOnce) > capacity()) {
    ghosts_.EraseOldest(kSeenOnce);
  }
  while (ghosts_.size(kSeenAgain) > 0 &&
         cached + ghosts_.size(kSeenOnce) + ghosts_.size(kSeenAgain) >
             2 * capacity()) {
    ghosts_.EraseOldest(kSeenAgain);
  }
}

void ArcPolicy::Remove(BlockId block, bool candidate) {
  if (candidate) {
    Unlink(block);
    ghosts_.Push(lists_.segment(block), contents_[Index(block)]);
  }
  lists_.Drop(block);
}

BlockId ArcPolicy::Victim() {
  const auto t1 = static_cast<double>(lists_.num_members(kSeenOnce));
  const bool from_t1 =
      t1 > 0 && (t1 > target_ || (missed_in_b2_ && t1 == target_));
  const BlockId block = lists_.front(from_t1 ? kSeenOnce : kSeenAgain);
  return block != kNullBlock ? block
                             : lists_.front(from_t1 ? kSeenAgain : kSeenOnce);
}

absl::Status ArcPolicy::Check() const {
  if (target_ < 0 || target_ > static_cast<double>(capacity())) {
    return absl::InternalError(absl::StrFormat(
        "arc: the target is %g of %d blocks", target_, capacity()));
  }
  if (absl::Status status = ghosts_.CheckInvariants(); !status.ok()) {
    return status;
  }
  return CheckSegments(lists_);
}

}  // namespace pagedkv
