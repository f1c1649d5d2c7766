// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/tinylfu_policy.h"

#include <algorithm>

namespace pagedkv {

TinyLfuPolicy::TinyLfuPolicy(BlockCount num_blocks)
    : PolicyBase(num_blocks),
      segments_(num_blocks, 3),
      sketch_(capacity()),
      contents_(static_cast<std::size_t>(num_blocks.value())) {
  SetShares();
}

void TinyLfuPolicy::SetShares() {
  max_window_ = std::max<std::int64_t>(1, capacity() / 100);
  max_main_ = capacity() - max_window_;
  max_protected_ = max_main_ * 4 / 5;
}

void TinyLfuPolicy::ChangeCapacity() {
  SetShares();
  sketch_.SetNumContents(capacity());
  Balance();
}

void TinyLfuPolicy::Balance() {
  while (segments_.num_members(kProtected) > max_protected_ &&
         segments_.front(kProtected) != kNullBlock) {
    segments_.Move(segments_.front(kProtected), kProbation, true);
  }
  while (segments_.num_members(kWindow) > max_window_ &&
         segments_.num_members(kProbation) + segments_.num_members(kProtected) <
             max_main_ &&
         segments_.front(kWindow) != kNullBlock) {
    segments_.Move(segments_.front(kWindow), kProbation, true);
  }
}

void TinyLfuPolicy::Insert(BlockId block, const CachedBlockInfo& info) {
  contents_[Index(block)] = info.content;
  sketch_.Add(info.content);
  segments_.Add(block, kWindow);
  Balance();
}

void TinyLfuPolicy::Hit(BlockId block, bool candidate) {
  sketch_.Add(contents_[Index(block)]);
  const std::size_t segment = segments_.segment(block);
  segments_.Move(block, segment == kWindow ? kWindow : kProtected, candidate);
  Balance();
}

void TinyLfuPolicy::Link(BlockId block) {
  segments_.Link(block);
  Balance();
}

void TinyLfuPolicy::Remove(BlockId block, bool candidate) {
  if (candidate) Unlink(block);
  segments_.Drop(block);
}

BlockId TinyLfuPolicy::Victim() {
  BlockId incumbent = segments_.front(kProbation);
  if (incumbent == kNullBlock) incumbent = segments_.front(kProtected);
  const BlockId entrant = segments_.front(kWindow);
  if (entrant == kNullBlock) return incumbent;
  if (incumbent == kNullBlock) return entrant;
  // The window has room for what comes next: nothing has to leave it.
  if (segments_.num_members(kWindow) < max_window_) return incumbent;
  // A draw is the incumbent's: in a scan all are seen once.
  return sketch_.Estimate(contents_[Index(entrant)]) >
                 sketch_.Estimate(contents_[Index(incumbent)])
             ? incumbent
             : entrant;
}

}  // namespace pagedkv
