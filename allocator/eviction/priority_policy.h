// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_PRIORITY_POLICY_H_
#define ALLOCATOR_EVICTION_PRIORITY_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_heap.h"
#include "allocator/eviction/block_levels.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Gives up the candidate of the lowest retention priority, and among those the
/// least recently used. When a block's time to live is over it has the default
/// priority, and a candidate then counts as just used.
///
/// NVIDIA TensorRT-LLM, `KvCacheRetentionConfig` and `LRUEvictionPolicy`. There
/// the time runs from the block's release; here it ends at a time that the
/// caller chose, and in use as well. O(1), but O(log n) for blocks with a time
/// to live; `SetTime` so much for each that expires. 40 bytes per block and
/// 2 KiB. Thread-compatible.
class PriorityPolicy final : public PolicyBase {
 public:
  explicit PriorityPolicy(BlockCount num_blocks);

  [[nodiscard]] std::string_view name() const override { return "priority"; }
  [[nodiscard]] BlockId Victim() override { return levels_.Front(); }
  void SetTime(std::int64_t now_ns) override;
  [[nodiscard]] bool has_expired(BlockId block) const override {
    return expired_[Index(block)] != 0;
  }
  void OnRetain(BlockId block, std::int32_t priority,
                std::int64_t expires_ns) override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo& info) override;
  void Hit(BlockId block, bool candidate) override;
  void Link(BlockId block) override {
    levels_.PushBack(priorities_[Index(block)], block);
  }
  void Unlink(BlockId block) override {
    levels_.Remove(priorities_[Index(block)], block);
  }
  void Remove(BlockId block, bool candidate) override;
  [[nodiscard]] absl::Status Check() const override;

 private:
  static constexpr std::int32_t kMaxPriority = 100;

  void Retain(BlockId block, std::int32_t priority, std::int64_t expires_ns);

  BlockLevels levels_;
  BlockHeap expiring_;
  std::vector<std::uint8_t> priorities_;  // by block
  std::vector<std::uint8_t> expired_;     // by block
  std::int64_t now_ns_ = std::numeric_limits<std::int64_t>::min();
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_PRIORITY_POLICY_H_
