// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_ARC_POLICY_H_
#define ALLOCATOR_EVICTION_ARC_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/block_segments.h"
#include "allocator/eviction/ghost_table.h"
#include "allocator/eviction/policy_base.h"

namespace pagedkv {

/// Adaptive replacement cache: content seen once is in T1, content seen again
/// in T2, both least recently used first. B1 and B2 remember what was given up
/// of each. Content that is asked for again and is in B1 shows that T1 is too
/// small, in B2 that T2 is; `target` follows, and T1 is given up from while it
/// is above it.
///
/// Megiddo and Modha, "ARC: a self-tuning, low overhead replacement cache",
/// FAST 2003, Fig. 4. There a miss is known
/// before the victim is chosen: `OnMiss` says it. The ghosts are cut after an
/// insertion, not before the eviction that makes room for it, with the same
/// result. Blocks in use count for T1 and T2. O(1); 18 bytes per block, and 32
/// to 40 for each of its ghosts, as many as the capacity. Thread-compatible.
class ArcPolicy final : public PolicyBase {
 public:
  explicit ArcPolicy(BlockCount num_blocks);

  [[nodiscard]] std::string_view name() const override { return "arc"; }
  void OnMiss(const CachedBlockInfo& info) override;
  [[nodiscard]] BlockId Victim() override;

 protected:
  void Insert(BlockId block, const CachedBlockInfo& info) override;
  void Hit(BlockId block, bool candidate) override {
    lists_.Move(block, kSeenAgain, candidate);
  }
  void Link(BlockId block) override { lists_.Link(block); }
  void Unlink(BlockId block) override { lists_.Unlink(block); }
  void Remove(BlockId block, bool candidate) override;
  void ChangeCapacity() override;
  [[nodiscard]] absl::Status Check() const override;

 private:
  // T1 and B1; T2 and B2.
  static constexpr std::size_t kSeenOnce = 0;
  static constexpr std::size_t kSeenAgain = 1;

  // Moves the target for a ghost that is asked for, once.
  void Adapt(GhostId ghost);
  void CutGhosts();

  BlockSegments lists_;
  GhostTable ghosts_;
  std::vector<std::uint64_t> contents_;  // by block
  double target_ = 0.0;                  // size of T1, from 0 to the capacity
  bool missed_in_b2_ =
      false;  // the content that the next victim makes room for
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_ARC_POLICY_H_
