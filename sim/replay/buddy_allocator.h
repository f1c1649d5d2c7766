// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_BUDDY_ALLOCATOR_H_
#define SIM_REPLAY_BUDDY_ALLOCATOR_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"

namespace pagedkv::sim {

/// A binary buddy allocator (Knuth, TAOCP 1, 2.5) over slots 0 ... capacity -
/// 1: chunks are powers of two, each at a multiple of its size. The capacity
/// need not be one: 15728 slots are arenas of 8192 + 4096 + 2048 + 1024 + 256 +
/// 64 + 32 + 16. A request takes the lowest chunk of the smallest size that
/// suffices, split as far as it goes; a free chunk merges with its free buddy.
///
/// Invariants, tested by `CheckInvariants`:
///   live and free chunks tile [0, capacity)
///   no two buddies are both free
/// Deterministic; O(log n) in the number of chunks, per split or merge.
/// Thread-compatible.
class BuddyAllocator {
 public:
  /// REQUIRES: capacity >= 0.
  explicit BuddyAllocator(std::int64_t capacity);

  /// The offset of a new chunk of `slots` (>= 1) rounded up to a power of two;
  /// none if no free chunk is large enough.
  [[nodiscard]] std::optional<std::int64_t> TryAllocate(std::int64_t slots);

  /// Frees the chunk at `offset`. NotFound if none was allocated there.
  absl::Status Release(std::int64_t offset);

  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  [[nodiscard]] std::int64_t free_slots() const { return free_slots_; }
  /// The largest chunk that can be allocated now; 0 if none. O(1).
  [[nodiscard]] std::int64_t largest_free() const;

  /// Internal, naming the chunk, if an invariant is broken. O(chunks).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  // A chunk of order k has 2^k slots.
  static constexpr int kNumOrders = 63;

  void AddFree(int order, std::int64_t offset);
  void RemoveFree(int order, std::int64_t offset);

  std::int64_t capacity_;
  std::int64_t free_slots_;
  std::array<absl::btree_set<std::int64_t>, kNumOrders> free_;  // offsets
  std::uint64_t free_orders_ = 0;            // bit k: free_[k] is not empty
  absl::btree_map<std::int64_t, int> live_;  // offset -> order
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_BUDDY_ALLOCATOR_H_
