// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_MEMORY_VISITOR_H_
#define SIM_REPLAY_MEMORY_VISITOR_H_

#include <cstddef>
#include <cstdint>

namespace pagedkv::sim {

/// What a slot is used for at some moment. The first four are the causes of
/// these names, seen where they lie.
enum class SlotUse : std::uint8_t {
  kToken,       ///< holds KV of one sequence
  kReserved,    ///< its owner will use it later
  kInternal,    ///< granted, and nobody will ever use it
  kRoundUp,     ///< padding of the allocator
  kShared,      ///< holds KV of several sequences
  kCachedIdle,  ///< content that nobody uses, reclaimable at once
  kTail,        ///< can never be given to anybody
  kFree,
};
inline constexpr std::size_t kNumSlotUses = 8;

/// Slots `begin` ... `begin` + `slots` - 1 of the pool.
struct SlotRun {
  std::int64_t begin = 0;
  std::int64_t slots = 0;
  SlotUse use = SlotUse::kFree;
  std::int64_t owner = -1;  ///< `TraceRequest::id`; -1: nobody, or several
};

/// Is shown where everything lies: runs in any order that do not overlap. What
/// is in none of them is free.
class MemoryVisitor {
 public:
  virtual ~MemoryVisitor() = default;
  virtual void OnRun(const SlotRun& run) = 0;
};

/// One sequence's grant, as `SlotLedger` divides it.
struct PlacedGrant {
  std::int64_t begin = 0;    ///< the first slot
  std::int64_t present = 0;  ///< tokens in it
  std::int64_t final_slots = 0;
  std::int64_t requested = 0;
  std::int64_t granted = 0;
  std::int64_t owner = -1;
};

/// Shows the parts of a grant that lies in one piece, without the empty ones.
void ShowGrant(const PlacedGrant& grant, MemoryVisitor& visitor);

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_MEMORY_VISITOR_H_
