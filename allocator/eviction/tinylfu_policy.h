// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_TINYLFU_POLICY_H_
#define ALLOCATOR_EVICTION_TINYLFU_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/frequency_sketch.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// W-TinyLFU: new content enters a window, 1 % of the capacity, least recently
/// used first. What leaves the window must have been seen more often of late
/// than the one that the main segments would give up in its place; the other of
/// the two is the victim. The main segments are a segmented LRU, 80 % of them
/// protected. A sketch counts what was seen, evicted or not.
///
/// Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission
/// policy", ACM TOS 13(4), 2017. Not Caffeine's climbing window, nor its random
/// admission against chosen collisions: the library has no randomness. Blocks
/// in use count for their segment. O(1) amortised; 18 bytes per block and 8 to
/// 16 for the sketch. Thread-compatible.
class TinyLfuPolicy final : public PolicyBase {
 public:
  explicit TinyLfuPolicy(BlockCount num_blocks);

  [[nodiscard]] std::string_view name() const override { return "tinylfu"; }
  [[nodiscard]] BlockId Victim() override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo& info) override;
  void Hit(BlockId block, bool candidate) override;
  void Link(BlockId block) override;
  void Unlink(BlockId block) override { segments_.Unlink(block); }
  void Remove(BlockId block, bool candidate) override;
  void ChangeCapacity() override;
  [[nodiscard]] absl::Status Check() const override {
    return CheckSegments(segments_);
  }

 private:
  static constexpr std::size_t kWindow = 0;
  static constexpr std::size_t kProbation = 1;
  static constexpr std::size_t kProtected = 2;

  void SetShares();
  // Makes the segments as large as they may be, if candidates allow it.
  void Balance();

  std::int64_t max_window_ = 0;
  std::int64_t max_main_ = 0;
  std::int64_t max_protected_ = 0;
  BlockSegments segments_;
  FrequencySketch sketch_;
  std::vector<std::uint64_t> contents_;  // by block
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_TINYLFU_POLICY_H_
