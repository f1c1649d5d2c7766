// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/policy_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "sim/trace/mix64.h"

namespace pagedkv::sim {

PolicyCache::PolicyCache(const BlockTrace& trace, BlockCount capacity,
                         std::unique_ptr<EvictionPolicy> policy)
    : trace_(trace),
      policy_(std::move(policy)),
      keeps_parents_(!policy_->may_evict_parents()),
      blocks_(static_cast<std::size_t>(NumBlocks(capacity).value())),
      block_of_(static_cast<std::size_t>(trace.num_contents().value()), kNone),
      last_request_(block_of_.size(), 0) {}

absl::StatusOr<std::int64_t> PolicyCache::Serve(std::size_t request) {
  const std::span<const std::uint32_t> contents = trace_.contents(request);
  const std::int64_t hits = std::find_if(contents.begin(), contents.end(),
                                         [this](std::uint32_t content) {
                                           return block_of_[content] == kNone;
                                         }) -
                            contents.begin();
  policy_->SetTime(trace_.arrival_ns(request));
  CollectUses(request);
  // In use before the first eviction, and without parents, so that no victim is
  // above a block in use.
  for (const Use& use : uses_) {
    const std::int32_t block = block_of_[use.content];
    if (block == kNone) continue;
    if (use.position < hits) policy_->OnHit(BlockId(block));
    policy_->OnUse(BlockId(block));
    At(block).in_use = true;
    if (keeps_parents_) Unlink(block);
  }
  for (const Use& use : uses_) {
    std::int32_t& block = block_of_[use.content];
    if (block == kNone) {
      // Mixed, as ids of a trace may be 0, 1, 2, ... and hashes are not.
      const CachedBlockInfo info = {.content = Mix64(trace_.id(use.content)),
                                    .position = use.position};
      policy_->OnMiss(info);
      const absl::StatusOr<std::int32_t> taken = Take();
      if (!taken.ok()) return taken.status();
      block = *taken;
      At(block) = {.content = use.content, .cached = true, .in_use = true};
      policy_->OnInsert(BlockId(block), info);
    }
    if (keeps_parents_ && use.position > 0) Link(block, block_of_[use.parent]);
  }
  for (std::size_t i = uses_.size(); i > 0; --i) {
    const std::int32_t block = block_of_[uses_[i - 1].content];
    At(block).in_use = false;
    policy_->OnIdle(BlockId(block));
  }
  return hits;
}

void PolicyCache::CollectUses(std::size_t request) {
  uses_.clear();
  const std::size_t capacity = blocks_.size() - 1;
  std::uint32_t parent = 0;
  std::int32_t position = 0;
  for (const std::uint32_t content : trace_.contents(request)) {
    if (last_request_[content] != request + 1) {
      if (uses_.size() == capacity) return;
      last_request_[content] = request + 1;
      uses_.push_back({content, parent, position});
    }
    parent = content;
    ++position;
  }
}

absl::StatusOr<std::int32_t> PolicyCache::Take() {
  if (static_cast<std::size_t>(num_fresh_) < blocks_.size()) {
    return num_fresh_++;
  }
  return Evict();
}

absl::StatusOr<std::int32_t> PolicyCache::Evict() {
  std::int32_t block = policy_->Victim().value();
  if (block <= kNone || static_cast<std::size_t>(block) >= blocks_.size() ||
      !At(block).cached || At(block).in_use) {
    return absl::InternalError(absl::StrFormat(
        "policy %s gives block %d as its victim of %d candidates",
        std::string(policy_->name()), block, policy_->num_candidates()));
  }
  while (At(block).first_child != kNone) block = At(block).first_child;
  Unlink(block);
  policy_->OnRemove(BlockId(block));
  block_of_[At(block).content] = kNone;
  At(block).cached = false;
  return block;
}

void PolicyCache::Link(std::int32_t block, std::int32_t parent) {
  Block& child = At(block);
  Block& above = At(parent);
  child.parent = parent;
  child.previous = above.last_child;
  child.next = kNone;
  if (above.last_child != kNone) {
    At(above.last_child).next = block;
  } else {
    above.first_child = block;
  }
  above.last_child = block;
}

void PolicyCache::Unlink(std::int32_t block) {
  Block& child = At(block);
  if (child.parent == kNone) return;
  Block& above = At(child.parent);
  if (child.previous != kNone) {
    At(child.previous).next = child.next;
  } else {
    above.first_child = child.next;
  }
  if (child.next != kNone) {
    At(child.next).previous = child.previous;
  } else {
    above.last_child = child.previous;
  }
  child.parent = child.previous = child.next = kNone;
}

absl::Status PolicyCache::CheckInvariants() const {
  const auto broken = [](std::size_t block, const char* what) {
    return absl::InternalError(absl::StrFormat("block %d %s", block, what));
  };
  std::int64_t num_cached = 0;
  std::size_t num_children = 0;
  std::size_t num_listed = 0;
  for (std::size_t i = 1; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const auto id = static_cast<std::int32_t>(i);
    if (block.in_use) return broken(i, "is in use between requests");
    if (!block.cached) {
      if (block.parent != kNone || block.first_child != kNone) {
        return broken(i, "has a family, but no content");
      }
      continue;
    }
    ++num_cached;
    if (block_of_[block.content] != id) {
      return broken(i, "has a content that is elsewhere");
    }
    if (block.parent != kNone) {
      ++num_children;
      if (!blocks_[static_cast<std::size_t>(block.parent)].cached) {
        return broken(i, "has lost its parent");
      }
    }
    std::int32_t before = kNone;
    for (std::int32_t child = block.first_child; child != kNone;
         child = blocks_[static_cast<std::size_t>(child)].next) {
      const Block& listed = blocks_[static_cast<std::size_t>(child)];
      if (listed.parent != id || listed.previous != before) {
        return broken(i, "lists a child that is another's, or out of order");
      }
      ++num_listed;
      before = child;
    }
    if (before != block.last_child) return broken(i, "has another last child");
  }
  const auto num_contents =
      std::count_if(block_of_.begin(), block_of_.end(),
                    [](std::int32_t block) { return block != kNone; });
  if (num_contents != num_cached || num_listed != num_children ||
      policy_->num_candidates() != num_cached) {
    return absl::InternalError(absl::StrFormat(
        "%d blocks are cached, %d contents have one, the policy has %d "
        "candidates; %d blocks have a parent, %d are listed by theirs",
        num_cached, num_contents, policy_->num_candidates(), num_children,
        num_listed));
  }
  return policy_->CheckInvariants();
}

absl::StatusOr<HitCounts> SimulatePolicy(
    const BlockTrace& trace, BlockCount capacity,
    std::unique_ptr<EvictionPolicy> policy) {
  PolicyCache cache(trace, capacity, std::move(policy));
  HitCounts counts;
  for (std::size_t request = 0; request < trace.num_requests(); ++request) {
    const TokenCount prompt = trace.prompt(request);
    counts.AddRequest(static_cast<std::int64_t>(trace.contents(request).size()),
                      prompt);
    const absl::StatusOr<std::int64_t> hits = cache.Serve(request);
    if (!hits.ok()) return hits.status();
    counts.AddHits(*hits, trace.block_size(), prompt);
  }
  return counts;
}

}  // namespace pagedkv::sim
