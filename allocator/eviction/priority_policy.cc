// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/priority_policy.h"

#include <algorithm>

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

}  // namespace

PriorityPolicy::PriorityPolicy(BlockCount num_blocks)
    : PolicyBase(num_blocks),
      levels_(num_blocks, kMaxPriority + 1),
      expiring_(num_blocks),
      priorities_(static_cast<std::size_t>(num_blocks.value())),
      expired_(static_cast<std::size_t>(num_blocks.value())) {}

// The block is in no list.
void PriorityPolicy::Retain(BlockId block, std::int32_t priority,
                            std::int64_t expires_ns) {
  constexpr std::int32_t kDefault = CachedBlockInfo::kDefaultRetentionPriority;
  priority = std::clamp(priority, 0, kMaxPriority);
  if (expires_ns <= now_ns_) priority = kDefault;
  priorities_[Index(block)] = static_cast<std::uint8_t>(priority);
  expired_[Index(block)] = expires_ns <= now_ns_ ? 1 : 0;
  if (expiring_.Contains(block)) expiring_.Remove(block);
  if (priority != kDefault && expires_ns != kNever) {
    expiring_.Push(block, expires_ns);
  }
}

void PriorityPolicy::Insert(BlockId block, const CachedBlockInfo& info) {
  Retain(block, info.priority, info.expires_ns);
}

void PriorityPolicy::Hit(BlockId block, bool candidate) {
  if (!candidate) return;
  Unlink(block);
  Link(block);
}

void PriorityPolicy::Remove(BlockId block, bool candidate) {
  if (candidate) Unlink(block);
  if (expiring_.Contains(block)) expiring_.Remove(block);
}

void PriorityPolicy::OnRetain(BlockId block, std::int32_t priority,
                              std::int64_t expires_ns) {
  PAGEDKV_CHECK(IsCached(block));
  const bool candidate = IsCandidate(block);
  if (candidate) Unlink(block);
  Retain(block, priority, expires_ns);
  if (candidate) Link(block);
}

void PriorityPolicy::SetTime(std::int64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  while (!expiring_.empty() && expiring_.front_key() <= now_ns_) {
    OnRetain(expiring_.front(), CachedBlockInfo::kDefaultRetentionPriority,
             expiring_.front_key());
  }
}

absl::Status PriorityPolicy::Check() const {
  if (absl::Status status = expiring_.CheckInvariants(); !status.ok()) {
    return status;
  }
  if (!expiring_.empty() && expiring_.front_key() <= now_ns_) {
    return Broken(expiring_.front(), "has expired");
  }
  if (absl::Status status = levels_.CheckInvariants(); !status.ok()) {
    return status;
  }
  return CheckLists(levels_.links(), levels_.lists(),
                    [this](BlockId block) -> std::size_t {
                      return priorities_[Index(block)];
                    });
}

}  // namespace pagedkv
