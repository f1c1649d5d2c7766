// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_LFU_POLICY_H_
#define ALLOCATOR_EVICTION_LFU_POLICY_H_

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_levels.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Gives up the candidate that was used least often since it was cached, and
/// among those the one used least recently. Keeps what was popular once for
/// ever, as nothing ages.
///
/// One list per frequency, as Shah, Mitra and Matani, "An O(1) algorithm for
/// implementing the LFU cache eviction scheme", 2010, but in an array, so that
/// a block which was in use finds its list again. So frequencies end at 4,095
/// uses: beyond, recency decides. O(1); 11 bytes per block and 64 KiB.
/// Thread-compatible.
class LfuPolicy final : public PolicyBase {
 public:
  explicit LfuPolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks),
        levels_(num_blocks, BlockLevels::kMaxLevels),
        uses_(static_cast<std::size_t>(num_blocks.value())) {}

  [[nodiscard]] std::string_view name() const override { return "lfu"; }
  [[nodiscard]] BlockId Victim() override { return levels_.Front(); }

 protected:
  void Insert(BlockId block, const CachedBlockInfo&) override {
    uses_[Index(block)] = 1;
  }
  void Hit(BlockId block, bool candidate) override {
    if (candidate) Unlink(block);
    std::uint16_t& uses = uses_[Index(block)];
    if (uses < BlockLevels::kMaxLevels - 1) ++uses;
    if (candidate) Link(block);
  }
  void Link(BlockId block) override {
    levels_.PushBack(uses_[Index(block)], block);
  }
  void Unlink(BlockId block) override {
    levels_.Remove(uses_[Index(block)], block);
  }
  [[nodiscard]] absl::Status Check() const override {
    absl::Status levels = levels_.CheckInvariants();
    return levels.ok() ? CheckLists(levels_.links(), levels_.lists(),
                                    [this](BlockId block) -> std::size_t {
                                      return uses_[Index(block)];
                                    })
                       : levels;
  }

 private:
  BlockLevels levels_;
  std::vector<std::uint16_t> uses_;  // by block
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_LFU_POLICY_H_
