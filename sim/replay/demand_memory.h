// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_DEMAND_MEMORY_H_
#define SIM_REPLAY_DEMAND_MEMORY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "pagedkv/types.h"
#include "sim/replay/policy.h"

namespace pagedkv::sim {

/// A request in unbounded memory: one step after another, from its admission to
/// its finish, it has one token more, until its last is sampled.
struct DemandRequest {
  std::int64_t id = 0;
  std::int64_t arrival_ns = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;

  /// As `FinalSlots` of the request.
  [[nodiscard]] std::int64_t final_slots() const {
    return std::int64_t{prompt_tokens} + output_tokens - 1;
  }
};

/// What a request holds over its whole life; the integrals are in slots *
/// steps.
struct DemandHolding {
  std::int64_t most_granted = 0;
  std::int64_t waste = 0;  ///< internal and round-up
  std::int64_t reserved = 0;
};

/// The unbounded memory of one policy, in sums over its residents: nothing is
/// done per resident and step. As `SlotLedger` and the policy's own memory
/// would have it, step by step. Thread-compatible.
class DemandMemory {
 public:
  /// Which of the residents it is: below the most that there ever were at once,
  /// and free to be used again once finished.
  using Slot = std::size_t;

  /// Whether a policy's memory can be summed up so. Blocks of enormous size
  /// would take memory of that size.
  static bool IsKnown(const Policy& policy);
  /// REQUIRES: IsKnown(policy).
  static std::unique_ptr<DemandMemory> Create(const GrantRule& rule,
                                              TokenCount capacity);
  virtual ~DemandMemory() = default;

  /// The next step begins: every resident has one more token.
  void BeginStep() {
    tokens_ += num_residents_;
    Grow();
    Reach(granted_);
  }
  /// The request is admitted in the step that has begun, with its whole prompt.
  void Admit(Slot slot, const DemandRequest& request) {
    ++num_residents_;
    tokens_ += request.prompt_tokens;
    Take(slot, request);
    Reach(granted_);
  }
  /// The step was the last of the request.
  void Finish(Slot slot, const DemandRequest& request) {
    --num_residents_;
    tokens_ -= request.final_slots();
    GiveBack(slot, request);
  }

  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  [[nodiscard]] std::int64_t reserved() const {
    return requested_ - internal_ - tokens_;
  }
  [[nodiscard]] std::int64_t internal() const { return internal_; }
  [[nodiscard]] std::int64_t round_up() const { return granted_ - requested_; }
  [[nodiscard]] std::int64_t free_slots() const { return usable_ - granted_; }
  [[nodiscard]] virtual std::int64_t largest_free_slots() const {
    return free_slots();
  }
  [[nodiscard]] std::int64_t tail_slots() const { return tail_; }
  /// The least capacity that would have served so far.
  [[nodiscard]] virtual TokenCount needed() const {
    return TokenCount(extent_);
  }
  /// As in `SimulationTotals`.
  [[nodiscard]] virtual std::int64_t copied_slots() const { return 0; }
  [[nodiscard]] virtual std::int64_t transient_peak_slots() const { return 0; }

  [[nodiscard]] virtual DemandHolding HoldingOf(
      const DemandRequest& request) const = 0;

 protected:
  DemandMemory(TokenCount capacity, std::int64_t tail)
      : usable_(capacity.value() - tail), tail_(tail) {}

  virtual void Grow() = 0;
  virtual void Take(Slot slot, const DemandRequest& request) = 0;
  virtual void GiveBack(Slot slot, const DemandRequest& request) = 0;

  // Sums over the residents.
  void Hold(std::int64_t requested, std::int64_t granted,
            std::int64_t internal) {
    requested_ += requested;
    granted_ += granted;
    internal_ += internal;
  }
  // Memory was in use up to `extent`, if only for a moment.
  void Reach(std::int64_t extent) { extent_ = std::max(extent_, extent); }
  [[nodiscard]] std::int64_t granted() const { return granted_; }
  [[nodiscard]] std::int64_t extent() const { return extent_; }
  [[nodiscard]] std::int64_t num_residents() const { return num_residents_; }

 private:
  std::int64_t usable_;
  std::int64_t tail_;
  std::int64_t num_residents_ = 0;
  std::int64_t tokens_ = 0;
  std::int64_t requested_ = 0;
  std::int64_t granted_ = 0;
  std::int64_t internal_ = 0;
  std::int64_t extent_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_DEMAND_MEMORY_H_
