// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_CACHE_SIMULATOR_H_
#define TESTS_SUPPORT_CACHE_SIMULATOR_H_

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pagedkv/eviction_policy.h"

namespace pagedkv {

/// A cache as textbooks have it: one request at a time, and nothing is in use
/// between requests. A policy decides in it as its publication says.
class CacheSimulator {
 public:
  CacheSimulator(EvictionPolicy& policy, std::int32_t capacity)
      : policy_(policy), contents_(static_cast<std::size_t>(capacity) + 1) {
    for (std::int32_t id = capacity; id > 0; --id) {
      free_.push_back(BlockId(id));
    }
  }

  /// Whether it was a hit.
  bool Access(const CachedBlockInfo& info) {
    if (const auto it = blocks_.find(info.content); it != blocks_.end()) {
      policy_.OnHit(it->second);
      return true;
    }
    policy_.OnMiss(info);
    if (free_.empty()) Remove(policy_.Victim());
    const BlockId block = free_.back();
    free_.pop_back();
    blocks_[info.content] = block;
    contents_[static_cast<std::size_t>(block.value())] = info.content;
    policy_.OnInsert(block, info);
    policy_.OnIdle(block);
    return false;
  }
  bool Access(std::uint64_t content) {
    return Access(CachedBlockInfo{.content = content});
  }

  void Remove(BlockId block) {
    policy_.OnRemove(block);
    blocks_.erase(contents_[static_cast<std::size_t>(block.value())]);
    free_.push_back(block);
  }

  [[nodiscard]] bool Contains(std::uint64_t content) const {
    return blocks_.count(content) != 0;
  }
  /// REQUIRES: Contains(content).
  [[nodiscard]] BlockId block(std::uint64_t content) const {
    return blocks_.at(content);
  }
  /// Of a block that is cached.
  [[nodiscard]] std::uint64_t content(BlockId block) const {
    return contents_[static_cast<std::size_t>(block.value())];
  }

 private:
  EvictionPolicy& policy_;
  std::unordered_map<std::uint64_t, BlockId> blocks_;
  std::vector<std::uint64_t> contents_;  // by block
  std::vector<BlockId> free_;
};

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_CACHE_SIMULATOR_H_
