// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_QUEUE_LRU_POLICY_H_
#define ALLOCATOR_EVICTION_QUEUE_LRU_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// LRU that looks at the queue: what waiting requests will hit is not given up
/// while there is another candidate. Of expected blocks only, the least
/// recently used goes first, so a long queue cannot block the pool.
///
/// The idea: vllm-project/vllm#48485. Expected blocks that `Victim` comes
/// across are parked, in the order of LRU. When its last expectation is taken
/// back, a parked block is the next victim: it is older than all that was not
/// parked. `Victim` costs O(1) amortised: an expectation or a use pays for its
/// parking. 14 bytes per block. Thread-compatible.
class QueueLruPolicy final : public PolicyBase {
 public:
  explicit QueueLruPolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks),
        lists_{},
        links_(num_blocks.value()),
        parked_(static_cast<std::size_t>(num_blocks.value())),
        expectations_(static_cast<std::size_t>(num_blocks.value())) {}

  [[nodiscard]] std::string_view name() const override { return "queue-lru"; }
  [[nodiscard]] BlockId Victim() override;
  void OnExpect(BlockId block, bool expected) override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo&) override {
    expectations_[Index(block)] = 0;
  }
  void Hit(BlockId block, bool candidate) override {
    if (!candidate) return;
    Unlink(block);
    Link(block);
  }
  void Link(BlockId block) override {
    parked_[Index(block)] = kRecent;
    links_.PushBack(lists_[kRecent], block);
  }
  void Unlink(BlockId block) override {
    links_.Remove(lists_[parked_[Index(block)]], block);
  }
  [[nodiscard]] absl::Status Check() const override;

 private:
  static constexpr std::uint8_t kRecent = 0;
  static constexpr std::uint8_t kParked = 1;

  BlockList lists_[2];
  BlockLinks links_;
  std::vector<std::uint8_t> parked_;         // by block: the list it is in
  std::vector<std::uint32_t> expectations_;  // by block
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_QUEUE_LRU_POLICY_H_
