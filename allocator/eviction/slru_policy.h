// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_SLRU_POLICY_H_
#define ALLOCATOR_EVICTION_SLRU_POLICY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Segmented LRU: content is on probation until its first hit, and protected
/// from then on. The victim is the least recently used one on probation. Where
/// more than 80 % of the capacity is protected, the least recently used of it
/// goes back to probation, as the most recent there. So a scan flushes what is
/// on probation only.
///
/// Karedla, Love and Wherry, "Caching strategies to improve disk system
/// performance", IEEE Computer 27(3), 1994. O(1) amortised; 10 bytes per block.
/// Thread-compatible.
class SlruPolicy final : public PolicyBase {
 public:
  explicit SlruPolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks),
        max_protected_(MaxProtected()),
        segments_(num_blocks, 2) {}

  [[nodiscard]] std::string_view name() const override { return "slru"; }
  [[nodiscard]] BlockId Victim() override {
    const BlockId block = segments_.front(kProbation);
    return block != kNullBlock ? block : segments_.front(kProtected);
  }

 protected:
  void Insert(BlockId block, const CachedBlockInfo&) override {
    segments_.Add(block, kProbation);
  }
  void Hit(BlockId block, bool candidate) override {
    segments_.Move(block, kProtected, candidate);
    DemoteExcess();
  }
  void Link(BlockId block) override {
    segments_.Link(block);
    DemoteExcess();
  }
  void Unlink(BlockId block) override { segments_.Unlink(block); }
  void Remove(BlockId block, bool candidate) override {
    if (candidate) Unlink(block);
    segments_.Drop(block);
  }
  void ChangeCapacity() override {
    max_protected_ = MaxProtected();
    DemoteExcess();
  }
  [[nodiscard]] absl::Status Check() const override {
    return CheckSegments(segments_);
  }

 private:
  static constexpr std::size_t kProbation = 0;
  static constexpr std::size_t kProtected = 1;

  [[nodiscard]] std::int64_t MaxProtected() const {
    return std::max<std::int64_t>(1, capacity() * 4 / 5);
  }
  void DemoteExcess() {
    while (segments_.num_members(kProtected) > max_protected_ &&
           segments_.front(kProtected) != kNullBlock) {
      segments_.Move(segments_.front(kProtected), kProbation, true);
    }
  }

  std::int64_t max_protected_;
  BlockSegments segments_;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_SLRU_POLICY_H_
