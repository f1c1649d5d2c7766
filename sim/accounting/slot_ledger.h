// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_ACCOUNTING_SLOT_LEDGER_H_
#define SIM_ACCOUNTING_SLOT_LEDGER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"

#include "sim/accounting/causes.h"

namespace pagedkv::sim {

/// When steps begin that follow one another without a gap, and what it takes to
/// integrate over them what changes by one slot a step.
class StepTimes {
 public:
  void Clear() {
    begin_ns_.clear();
    moment_.clear();
  }
  /// A step that begins at `begin_ns`, not before the last.
  void Add(std::int64_t begin_ns) {
    absl::int128 moment = 0;
    if (!begin_ns_.empty()) {
      const auto last = static_cast<std::int64_t>(begin_ns_.size()) - 1;
      moment =
          moment_.back() + absl::int128(last) * (begin_ns - begin_ns_.back());
    }
    begin_ns_.push_back(begin_ns);
    moment_.push_back(moment);
  }
  [[nodiscard]] std::size_t size() const { return begin_ns_.size(); }
  [[nodiscard]] std::int64_t begin_ns(std::size_t step) const {
    return begin_ns_[step];
  }
  /// Sum over the steps i before `step` of i times their duration.
  [[nodiscard]] absl::int128 moment(std::size_t step) const {
    return moment_[step];
  }

 private:
  std::vector<std::int64_t> begin_ns_;
  std::vector<absl::int128> moment_;
};

/// What every sequence holds, summed up by cause. With n tokens present, final
/// length f, r slots requested and a >= r granted, a sequence has
///
///   token     n                    internal  max(0, r - f)
///   reserved  min(r, f) - n        round-up  a - r
///
/// (SIMULATOR.md's U, I, R and P), which add up to a. The ledger also
/// integrates over time what each sequence holds in vain. It knows neither pool
/// nor policy; integers only. Every change costs O(1), whatever the number of
/// sequences. Thread-compatible.
class SlotLedger {
 public:
  /// What a sequence held without using it, in slots * nanoseconds.
  struct Integrals {
    absl::int128 waste = 0;     ///< internal and round-up
    absl::int128 reserved = 0;  ///< reserved
  };

  /// `sequence` is a new one from `now_ns` on, with nothing held yet. Numbers
  /// are small: memory grows with the largest.
  /// REQUIRES: the one that had the number before holds nothing.
  void Reset(std::size_t sequence, std::int64_t now_ns) {
    if (sequence >= holdings_.size()) holdings_.resize(sequence + 1);
    holdings_[sequence] = Holding{.since_ns = now_ns};
  }

  /// Gives `sequence`, of final length `final_slots`, another grant from
  /// `now_ns` on.
  /// REQUIRES: present <= requested <= granted, present <= final_slots.
  void Grant(std::size_t sequence, std::int64_t final_slots,
             std::int64_t requested, std::int64_t granted, std::int64_t now_ns);

  /// `sequence` has `present` tokens in memory from `now_ns` on.
  /// REQUIRES: they are within its grant and its final length.
  void Fill(std::size_t sequence, std::int64_t present, std::int64_t now_ns) {
    Holding& holding = holdings_[sequence];
    Settle(holding, now_ns);
    const std::int64_t added = present - holding.present;
    holding.present = present;
    holding.reserved -= added;
    token_ += added;
    reserved_ -= added;
  }

  /// The same as `Fill` with one token more at the beginning of each of the
  /// steps `first` ... `last` - 1. REQUIRES: first < last <= times.size().
  /// O(1).
  void FillSteps(std::size_t sequence, std::size_t first, std::size_t last,
                 const StepTimes& times);

  /// `sequence` holds nothing from `now_ns` on.
  void Release(std::size_t sequence, std::int64_t now_ns);

  [[nodiscard]] std::int64_t present(std::size_t sequence) const {
    return holdings_[sequence].present;
  }
  [[nodiscard]] std::int64_t requested(std::size_t sequence) const {
    return holdings_[sequence].requested;
  }
  [[nodiscard]] std::int64_t granted(std::size_t sequence) const {
    return holdings_[sequence].granted();
  }
  /// Up to the last change of the sequence.
  [[nodiscard]] const Integrals& integrals(std::size_t sequence) const {
    return holdings_[sequence].integrals;
  }

  /// The sums over all sequences: token, reserved, internal and round-up.
  [[nodiscard]] CauseSlots slots() const;

  /// Internal, naming the sequence or the cause, if a holding breaks its bounds
  /// or a sum is not the sum of the holdings. O(sequences).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct Holding {
    std::int64_t present = 0;
    std::int64_t requested = 0;
    std::int64_t reserved = 0;
    std::int64_t internal = 0;
    std::int64_t round_up = 0;
    std::int64_t since_ns = 0;  // the integrals are complete up to here
    Integrals integrals = {};
    [[nodiscard]] std::int64_t granted() const { return requested + round_up; }
  };

  static void Settle(Holding& holding, std::int64_t now_ns) {
    const absl::int128 elapsed = now_ns - holding.since_ns;
    holding.integrals.waste += elapsed * (holding.internal + holding.round_up);
    holding.integrals.reserved += elapsed * holding.reserved;
    holding.since_ns = now_ns;
  }

  std::vector<Holding> holdings_;
  std::int64_t token_ = 0;
  std::int64_t reserved_ = 0;
  std::int64_t internal_ = 0;
  std::int64_t round_up_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_ACCOUNTING_SLOT_LEDGER_H_
