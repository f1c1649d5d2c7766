// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_SIEVE_POLICY_H_
#define ALLOCATOR_EVICTION_SIEVE_POLICY_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/id_list.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// SIEVE: a hand goes from the oldest candidate to the newest and around. It
/// takes the mark of being hit away from those that have it, and stops at the
/// first without, which is the victim. A hit moves nothing, so new content that
/// is not hit is given up soon.
///
/// Zhang et al., "SIEVE is simpler than LRU", NSDI 2024. A block that comes
/// back from use counts as the newest and keeps its mark. `Victim` moves the
/// hand: O(1) amortised, as a hit pays for its mark. 10 bytes per block.
/// Thread-compatible.
class SievePolicy final : public PolicyBase {
 public:
  explicit SievePolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks),
        links_(num_blocks.value()),
        visited_(static_cast<std::size_t>(num_blocks.value())) {}

  [[nodiscard]] std::string_view name() const override { return "sieve"; }
  [[nodiscard]] BlockId Victim() override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo&) override {
    visited_[Index(block)] = 0;
  }
  void Hit(BlockId block, bool) override { visited_[Index(block)] = 1; }
  void Link(BlockId block) override { links_.PushBack(list_, block); }
  void Unlink(BlockId block) override {
    if (hand_ == block) hand_ = links_.next(block);
    links_.Remove(list_, block);
  }
  [[nodiscard]] absl::Status Check() const override;

 private:
  BlockLinks links_;
  BlockList list_;                     // from the oldest to the newest
  std::vector<std::uint8_t> visited_;  // by block
  BlockId hand_ = kNullBlock;          // null: begins at the oldest
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_SIEVE_POLICY_H_
