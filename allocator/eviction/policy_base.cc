// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/policy_base.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {

PolicyBase::State& PolicyBase::Cached(BlockId block) {
  PAGEDKV_CHECK(IsCached(block));
  return states_[Index(block)];
}

void PolicyBase::OnInsert(BlockId block, const CachedBlockInfo& info) {
  PAGEDKV_CHECK(block != kNullBlock && Index(block) < states_.size());
  State& state = states_[Index(block)];
  PAGEDKV_CHECK(state == State::kNone);
  state = State::kUsed;
  Insert(block, info);
}

void PolicyBase::OnHit(BlockId block) {
  Hit(block, Cached(block) == State::kCandidate);
}

void PolicyBase::OnUse(BlockId block) {
  State& state = Cached(block);
  PAGEDKV_CHECK(state == State::kCandidate);
  state = State::kUsed;
  --num_candidates_;
  Unlink(block);
}

void PolicyBase::OnIdle(BlockId block) {
  State& state = Cached(block);
  PAGEDKV_CHECK(state == State::kUsed);
  state = State::kCandidate;
  ++num_candidates_;
  Link(block);
}

void PolicyBase::OnRemove(BlockId block) {
  State& state = Cached(block);
  const bool candidate = state == State::kCandidate;
  state = State::kNone;
  if (candidate) --num_candidates_;
  Remove(block, candidate);
}

void PolicyBase::SetCapacity(BlockCount num_blocks) {
  PAGEDKV_CHECK(num_blocks >= BlockCount(2) &&
                num_blocks.value() <= std::ssize(states_));
  capacity_ = num_blocks.value() - 1;
  ChangeCapacity();
}

absl::Status PolicyBase::Broken(BlockId block, std::string_view what) const {
  return absl::InternalError(absl::StrFormat("%s: block %d %s",
                                             std::string(name()), block.value(),
                                             std::string(what)));
}

absl::Status PolicyBase::CheckInvariants() const {
  const auto candidates =
      std::count(states_.begin(), states_.end(), State::kCandidate);
  if (candidates != num_candidates_) {
    return absl::InternalError(
        absl::StrFormat("%s: counts %d candidates, has %d", std::string(name()),
                        num_candidates_, candidates));
  }
  if (states_[0] != State::kNone) {
    return Broken(kNullBlock, "is never cached");
  }
  return Check();
}

absl::Status PolicyBase::CheckLists(
    const BlockLinks& links, std::span<const BlockList> lists,
    absl::FunctionRef<std::size_t(BlockId)> list_of) const {
  std::int64_t listed = 0;
  for (std::size_t list = 0; list < lists.size(); ++list) {
    const std::vector<BlockId> blocks = links.ToVector(lists[list]);
    if (std::ssize(blocks) != lists[list].size) {
      return Broken(lists[list].front, "begins a list that is not whole");
    }
    for (BlockId block : blocks) {
      if (!IsCandidate(block)) return Broken(block, "is listed while in use");
      if (list_of(block) != list) return Broken(block, "is in another's list");
    }
    listed += lists[list].size;
  }
  // No block can be in two lists: its links would be those of one of them.
  if (listed != num_candidates_) {
    return absl::InternalError(absl::StrFormat("%s: lists %d candidates of %d",
                                               std::string(name()), listed,
                                               num_candidates_));
  }
  return absl::OkStatus();
}

absl::Status PolicyBase::CheckSegments(const BlockSegments& segments) const {
  std::vector<std::int64_t> members(segments.lists().size());
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i] == State::kNone) continue;
    ++members[segments.segment(BlockId(static_cast<std::int32_t>(i)))];
  }
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i] != segments.num_members(i)) {
      return absl::InternalError(absl::StrFormat(
          "%s: counts %d blocks in segment %d, which has %d",
          std::string(name()), segments.num_members(i), i, members[i]));
    }
  }
  return CheckLists(segments.links(), segments.lists(),
                    [&](BlockId block) { return segments.segment(block); });
}

}  // namespace pagedkv
