// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_CONTIGUOUS_MEMORY_H_
#define SIM_REPLAY_CONTIGUOUS_MEMORY_H_

#include <algorithm>
#include <cstdint>
#include <memory>

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/memory_visitor.h"
#include "sim/replay/policy.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// The memory of a baseline: grants what `GrantRule` says, and finds a place
/// for it. Thread-compatible.
class ContiguousMemory {
 public:
  /// Where a sequence lies; meaningless in memory that only counts.
  using Place = std::int64_t;

  /// The request at the head of the queue, and what surrounds it.
  struct Admission {
    const TraceRequest& request;
    std::int64_t known_tokens = 0;  ///< prompt, and output before a preemption
    std::int64_t first_tokens = 0;  ///< of these, present after its first step
    std::int64_t longest_running = 0;  ///< tokens present; 0: nothing runs
  };

  /// More than any workload asks for, and far from overflow.
  static constexpr TokenCount kUnbounded{std::int64_t{1} << 48};

  /// `unbounded`: nothing is ever refused, as if memory went on beyond
  /// `capacity`, from which the free slots are still counted.
  static std::unique_ptr<ContiguousMemory> Create(const GrantRule& rule,
                                                  TokenCount capacity,
                                                  bool unbounded);
  virtual ~ContiguousMemory() = default;

  /// Whether the request could finish if it were alone.
  [[nodiscard]] virtual bool CouldHold(const TraceRequest& request) const = 0;
  /// Takes what the request is granted at its admission. False, and nothing has
  /// changed, if there is no room.
  [[nodiscard]] virtual bool TryAdmit(const Admission& admission,
                                      Place& place) = 0;
  /// Whether the free slots would have sufficed for the last request refused.
  [[nodiscard]] virtual Cause admission_block() const {
    return Cause::kBlockedCapacity;
  }
  /// Whether admitted requests ever need more than they were granted.
  [[nodiscard]] virtual bool grows() const { return false; }
  /// Makes room for `to` tokens of an admitted request in place of `from`.
  /// False, and nothing has changed, if there is none.
  [[nodiscard]] virtual bool TryGrow(const TraceRequest& /*request*/,
                                     std::int64_t /*from*/,
                                     std::int64_t /*to*/) {
    return true;  // granted at admission
  }
  /// Frees a sequence of which `present` tokens are in memory.
  virtual void Release(const TraceRequest& request, std::int64_t present,
                       Place place) = 0;

  /// Slots that belong to nobody and can be granted.
  [[nodiscard]] std::int64_t free_slots() const { return usable_ - used_; }
  [[nodiscard]] virtual std::int64_t largest_free_slots() const = 0;
  /// Slots that cannot be granted: the capacity is no multiple of the chunk.
  [[nodiscard]] std::int64_t tail_slots() const { return tail_; }
  /// The least memory that would have held everything so far, where it lay.
  [[nodiscard]] std::int64_t extent_slots() const { return extent_; }
  /// Slots copied for growth.
  [[nodiscard]] virtual std::int64_t copied_slots() const { return 0; }

  /// Whether sequences have a place: otherwise the two below show nothing.
  [[nodiscard]] virtual bool places_sequences() const { return false; }
  /// Shows the grant of a sequence of which `present` tokens are in memory.
  virtual void VisitSequence(const TraceRequest& /*request*/,
                             std::int64_t /*present*/, Place /*place*/,
                             MemoryVisitor& /*visitor*/) const {}
  /// Shows the slots that cannot be granted.
  void VisitTail(MemoryVisitor& visitor) const {
    if (tail_ == 0) return;
    visitor.OnRun({.begin = usable_, .slots = tail_, .use = SlotUse::kTail});
  }

 protected:
  ContiguousMemory(std::int64_t capacity, std::int64_t tail)
      : usable_(capacity - tail), tail_(tail) {}

  [[nodiscard]] std::int64_t usable_slots() const { return usable_; }
  [[nodiscard]] std::int64_t used_slots() const { return used_; }
  // `slots` more are in use (fewer, if negative).
  void Use(std::int64_t slots) { used_ += slots; }
  // Memory was in use up to `extent`, if only for a moment.
  void Reach(std::int64_t extent) { extent_ = std::max(extent_, extent); }

 private:
  std::int64_t usable_;
  std::int64_t tail_;
  std::int64_t used_ = 0;
  std::int64_t extent_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_CONTIGUOUS_MEMORY_H_
