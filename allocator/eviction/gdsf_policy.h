// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_GDSF_POLICY_H_
#define ALLOCATOR_EVICTION_GDSF_POLICY_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_heap.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Gives up the candidate whose next use is worth least: its value is
///
///   clock + uses * (1 + position)
///
/// where the clock is the value of what was given up last, so that what is not
/// used falls behind, and 1 + position stands for the cost of computing the
/// block again: attention reads all that comes before it.
///
/// GreedyDual-Size-Frequency: Cherkasova, "Improving WWW proxies performance
/// with GreedyDual-Size-Frequency caching policy", HP Labs TR-98-69, 1998, with
/// blocks of one size. There new content competes with what is cached and may
/// be refused; a block must be had, so the victim goes first and the new
/// content gets its value after, as in Cao and Irani, "Cost-aware WWW proxy
/// caching algorithms" (GreedyDual-Size), USITS 1997. O(log n); 37 bytes per
/// block. Thread-compatible.
class GdsfPolicy final : public PolicyBase {
 public:
  explicit GdsfPolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks),
        values_(num_blocks),
        costs_(static_cast<std::size_t>(num_blocks.value())),
        uses_(static_cast<std::size_t>(num_blocks.value())) {}

  [[nodiscard]] std::string_view name() const override { return "gdsf"; }
  [[nodiscard]] BlockId Victim() override {
    return values_.empty() ? kNullBlock : values_.front();
  }

 protected:
  void Insert(BlockId block, const CachedBlockInfo& info) override;
  void Hit(BlockId block, bool candidate) override;
  void Link(BlockId block) override { values_.Push(block, Value(block)); }
  void Unlink(BlockId block) override { values_.Remove(block); }
  void Remove(BlockId block, bool candidate) override;
  [[nodiscard]] absl::Status Check() const override;

 private:
  // A value is above the clock by 2^40 at most where positions stay below 2^20,
  // and the clock by as much per turnover of the cache: it does not overflow.
  static constexpr std::int32_t kMaxUses = 1 << 20;

  [[nodiscard]] std::int64_t Value(BlockId block) const {
    return clock_ + std::int64_t{uses_[Index(block)]} * costs_[Index(block)];
  }

  BlockHeap values_;
  std::vector<std::int32_t> costs_;  // by block
  std::vector<std::int32_t> uses_;   // by block
  std::int64_t clock_ = 0;           // <= every value in the heap
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_GDSF_POLICY_H_
