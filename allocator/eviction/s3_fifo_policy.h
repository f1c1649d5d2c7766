// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_S3_FIFO_POLICY_H_
#define ALLOCATOR_EVICTION_S3_FIFO_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/ghost_table.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// S3-FIFO: new content enters a small queue, a tenth of the capacity. What was
/// hit twice when it comes to its front goes on to the main queue, what was not
/// is given up and remembered; if it comes back soon, it enters the main queue
/// at once. What was hit comes to the end of the main queue again, up to three
/// times.
///
/// Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023,
/// with what its authors changed in their libCacheSim since: until the first
/// eviction, what does not fit in the small queue enters the main one. A block
/// that comes back from use goes to the end of its queue.
///
/// `Victim` moves blocks between the queues: O(1) amortised, as each move uses
/// up a hit. 19 bytes per block, and 32 to 40 for each of its ghosts, as many
/// as nine tenths of the capacity. Thread-compatible.
class S3FifoPolicy final : public PolicyBase {
 public:
  explicit S3FifoPolicy(BlockCount num_blocks);

  [[nodiscard]] std::string_view name() const override { return "s3-fifo"; }
  [[nodiscard]] BlockId Victim() override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo& info) override;
  void Hit(BlockId block, bool candidate) override;
  void Link(BlockId block) override { queues_.Link(block); }
  void Unlink(BlockId block) override;
  void Remove(BlockId block, bool candidate) override;
  void ChangeCapacity() override;
  [[nodiscard]] absl::Status Check() const override;

 private:
  static constexpr std::size_t kSmall = 0;
  static constexpr std::size_t kMain = 1;
  static constexpr std::uint8_t kMaxHits = 3;
  static constexpr std::uint8_t kHitsToStay = 2;

  [[nodiscard]] std::int64_t MaxGhosts() const { return capacity() * 9 / 10; }
  void SetShares();
  // What the queue gives up; null if it has no candidate (left).
  BlockId SmallVictim();
  BlockId MainVictim();

  std::int64_t max_small_ = 0;
  std::int64_t max_ghosts_ = 0;
  BlockSegments queues_;
  GhostTable ghosts_;
  std::vector<std::uint8_t> hits_;       // by block, up to kMaxHits
  std::vector<std::uint64_t> contents_;  // by block
  // The last answer, while it holds: what moved on the way to it would make
  // another one of the same question.
  BlockId victim_ = kNullBlock;
  bool has_evicted_ = false;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_S3_FIFO_POLICY_H_
