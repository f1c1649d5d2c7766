// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/s3_fifo_policy.h"

#include <algorithm>

namespace pagedkv {

S3FifoPolicy::S3FifoPolicy(BlockCount num_blocks)
    : PolicyBase(num_blocks),
      queues_(num_blocks, 2),
      // One more: a victim's ghost comes before its successor in the cache is
      // looked up, and must not displace just that.
      ghosts_(MaxGhosts() + 1, 1),
      hits_(static_cast<std::size_t>(num_blocks.value())),
      contents_(static_cast<std::size_t>(num_blocks.value())) {
  SetShares();
}

void S3FifoPolicy::SetShares() {
  max_small_ = std::max<std::int64_t>(1, capacity() / 10);
  max_ghosts_ = MaxGhosts();
}

void S3FifoPolicy::ChangeCapacity() {
  SetShares();
  while (ghosts_.size(0) > max_ghosts_) ghosts_.EraseOldest(0);
  // Another queue may be the one to give something up.
  victim_ = kNullBlock;
}

void S3FifoPolicy::Insert(BlockId block, const CachedBlockInfo& info) {
  hits_[Index(block)] = 0;
  contents_[Index(block)] = info.content;
  std::size_t queue = kSmall;
  if (const GhostId ghost = ghosts_.Find(info.content); ghost != kNoGhost) {
    ghosts_.Erase(ghost);
    queue = kMain;
  } else if (!has_evicted_ && queues_.num_members(kSmall) >= max_small_) {
    queue = kMain;
  }
  queues_.Add(block, queue);
  while (ghosts_.size(0) > max_ghosts_) ghosts_.EraseOldest(0);
}

void S3FifoPolicy::Hit(BlockId block, bool) {
  std::uint8_t& hits = hits_[Index(block)];
  if (hits < kMaxHits) ++hits;
  if (block == victim_) victim_ = kNullBlock;
}

void S3FifoPolicy::Unlink(BlockId block) {
  queues_.Unlink(block);
  if (block == victim_) victim_ = kNullBlock;
}

void S3FifoPolicy::Remove(BlockId block, bool candidate) {
  if (candidate) {
    Unlink(block);
    if (queues_.segment(block) == kSmall) {
      ghosts_.Push(0, contents_[Index(block)]);
    }
  }
  queues_.Drop(block);
}

BlockId S3FifoPolicy::SmallVictim() {
  BlockId block = queues_.front(kSmall);
  while (block != kNullBlock && hits_[Index(block)] >= kHitsToStay) {
    hits_[Index(block)] = 0;
    queues_.Move(block, kMain, true);
    block = queues_.front(kSmall);
  }
  return block;
}

BlockId S3FifoPolicy::MainVictim() {
  BlockId block = queues_.front(kMain);
  while (block != kNullBlock && hits_[Index(block)] > 0) {
    --hits_[Index(block)];
    queues_.Move(block, kMain, true);
    block = queues_.front(kMain);
  }
  return block;
}

BlockId S3FifoPolicy::Victim() {
  if (victim_ != kNullBlock) return victim_;
  has_evicted_ = true;
  if (queues_.num_members(kMain) <= capacity() - max_small_) {
    victim_ = SmallVictim();
  }
  if (victim_ == kNullBlock) victim_ = MainVictim();
  // All that the main queue has is in use.
  if (victim_ == kNullBlock) victim_ = SmallVictim();
  if (victim_ == kNullBlock) victim_ = MainVictim();
  return victim_;
}

absl::Status S3FifoPolicy::Check() const {
  if (victim_ != kNullBlock && !IsCandidate(victim_)) {
    return Broken(victim_, "is the victim, and no candidate");
  }
  if (absl::Status status = ghosts_.CheckInvariants(); !status.ok()) {
    return status;
  }
  return CheckSegments(queues_);
}

}  // namespace pagedkv
