// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_LRU_CURVE_H_
#define SIM_HITCURVE_LRU_CURVE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "pagedkv/types.h"
#include "sim/hitcurve/hit_counts.h"
#include "sim/hitcurve/lru_stack.h"

namespace pagedkv::sim {

/// The hits of LRU caches of all sizes, exactly, in one pass over the requests.
///
/// A request's hits are decided by the cache as it arrives. It then touches its
/// blocks from the last to the first, so that the end of a prompt is given up
/// before its beginning, and of a prompt that is longer than the cache the
/// beginning stays. A block is thus a hit in caches from the greatest depth, in
/// the stack before the request, of itself and the blocks before it.
///
/// Takes O(contents) memory, and O(log contents) per reference.
/// Thread-compatible.
class LruCurve {
 public:
  explicit LruCurve(BlockSize block_size) : block_size_(block_size) {}

  /// The next request: its contents from the first block of its prompt on, as
  /// small numbers (memory goes with the largest). REQUIRES: prompt >= 1 token.
  void Add(std::span<const std::uint32_t> contents, TokenCount prompt);

  /// What a cache of `size` blocks hits. O(size), at most O(contents).
  [[nodiscard]] HitCounts At(BlockCount size) const;
  /// What a cache that never evicts hits.
  [[nodiscard]] HitCounts Unbounded() const { return At(need()); }
  /// The smallest cache that hits as much as one that never evicts.
  [[nodiscard]] BlockCount need() const {
    return BlockCount(static_cast<std::int64_t>(hits_from_.size()));
  }
  [[nodiscard]] const LruStack& stack() const { return stack_; }

 private:
  /// What becomes a hit at one size.
  struct Hits {
    std::int64_t blocks = 0;
    std::int64_t tokens = 0;
    std::int64_t request_shares = 0;  // as HitCounts::hit_request_shares
  };

  BlockSize block_size_;
  LruStack stack_;
  HitCounts asked_;              // no hits in it
  std::vector<Hits> hits_from_;  // entry i: at size i + 1
};

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_LRU_CURVE_H_
