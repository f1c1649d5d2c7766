// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/gdsf_policy.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_format.h"

namespace pagedkv {

void GdsfPolicy::Insert(BlockId block, const CachedBlockInfo& info) {
  costs_[Index(block)] =
      1 + std::clamp(info.position, 0,
                     std::numeric_limits<std::int32_t>::max() - 1);
  uses_[Index(block)] = 1;
}

void GdsfPolicy::Hit(BlockId block, bool candidate) {
  std::int32_t& uses = uses_[Index(block)];
  if (uses < kMaxUses) ++uses;
  if (candidate) values_.Update(block, Value(block));
}

void GdsfPolicy::Remove(BlockId block, bool candidate) {
  if (!candidate) return;
  // Where another block goes in the victim's place, the victim's value counts:
  // the clock may not pass what is still there.
  clock_ = values_.front_key();
  Unlink(block);
}

absl::Status GdsfPolicy::Check() const {
  if (values_.size() != num_candidates()) {
    return absl::InternalError(absl::StrFormat(
        "gdsf: values %d candidates of %d", values_.size(), num_candidates()));
  }
  if (!values_.empty() && values_.front_key() < clock_) {
    return Broken(values_.front(), "is worth less than the clock");
  }
  return values_.CheckInvariants();
}

}  // namespace pagedkv
