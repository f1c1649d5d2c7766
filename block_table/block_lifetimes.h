// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_BLOCK_LIFETIMES_H_
#define BLOCK_TABLE_BLOCK_LIFETIMES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/cache_histograms.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Follows a sample of the blocks of a prefix cache from caching to eviction.
/// Which are in it is a function of the seed, the block and the number of
/// contents cached before: a run that is repeated has the same sample.
///
/// Invariant: as many contents are followed as were selected and have not left.
/// Thread-compatible. O(1) per block named; of a block outside of the sample it
/// reads one byte.
class BlockLifetimes {
 public:
  /// `rate`: the share of contents that is followed, from 0 to 1.
  BlockLifetimes(BlockCount num_blocks, double rate, std::uint64_t seed);

  /// The block's content is cached. Nothing changes if it was.
  void OnStored(BlockId block, std::int64_t now_ns);
  /// A sequence begins with the block.
  void OnHit(BlockId block, std::int64_t now_ns) {
    if (phases_[Index(block)] >= Phase::kSampled) Hit(block, now_ns);
  }
  /// The content left the cache. It counts as a lifetime where it was evicted,
  /// not where it became invalid.
  void OnRemoved(BlockId block, RemovalReason reason, std::int64_t now_ns);
  /// Every content did, and none counts.
  void OnCleared();

  [[nodiscard]] const CacheHistograms& histograms() const {
    return histograms_;
  }

  /// Internal, if an invariant is broken, here or in a histogram. O(blocks).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  enum class Phase : std::uint8_t { kNotCached, kIgnored, kSampled, kHit };
  struct Times {
    std::int64_t cached_ns = 0;
    std::int64_t used_ns = 0;
  };

  static std::size_t Index(BlockId block) {
    return static_cast<std::size_t>(block.value());
  }
  [[nodiscard]] bool IsSelected(BlockId block) const;
  void Hit(BlockId block, std::int64_t now_ns);

  std::uint64_t seed_;
  double rate_;
  std::vector<Phase> phases_;  // by block
  std::vector<Times> times_;   // by block: of those that are followed
  std::uint64_t num_stored_ = 0;
  std::int64_t num_left_ = 0;  // of those that were followed
  CacheHistograms histograms_;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_BLOCK_LIFETIMES_H_
