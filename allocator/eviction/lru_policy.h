// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_LRU_POLICY_H_
#define ALLOCATOR_EVICTION_LRU_POLICY_H_

#include <string_view>

#include "absl/status/status.h"

#include "allocator/eviction/id_list.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Gives up the least recently used candidate. What serving engines do by
/// default, and right for a cache of conversations; a scan flushes it.
/// O(1); 9 bytes per block. Thread-compatible.
class LruPolicy final : public PolicyBase {
 public:
  explicit LruPolicy(BlockCount num_blocks)
      : PolicyBase(num_blocks), links_(num_blocks.value()) {}

  [[nodiscard]] std::string_view name() const override { return "lru"; }
  [[nodiscard]] BlockId Victim() override { return list_.front; }

 protected:
  void Insert(BlockId, const CachedBlockInfo&) override {}
  void Hit(BlockId block, bool candidate) override {
    if (candidate) links_.MoveToBack(list_, block);
  }
  void Link(BlockId block) override { links_.PushBack(list_, block); }
  void Unlink(BlockId block) override { links_.Remove(list_, block); }
  [[nodiscard]] absl::Status Check() const override {
    return CheckLists(links_, {&list_, 1},
                      [](BlockId) { return std::size_t{0}; });
  }

 private:
  BlockLinks links_;
  BlockList list_;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_LRU_POLICY_H_
