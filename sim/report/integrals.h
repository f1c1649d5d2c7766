// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_INTEGRALS_H_
#define SIM_REPORT_INTEGRALS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/numeric/int128.h"

#include "sim/accounting/causes.h"
#include "sim/replay/simulation.h"

namespace pagedkv::sim {

/// Sums over samples, each times its weight; a mean is a sum over `weight`.
/// With `absl::int128` they are exact: slots times nanoseconds of any run fit.
template <typename Number>
struct Integrals {
  Number weight{};
  std::array<Number, kNumCauses> slots{};  ///< by cause
  Number running{};
  Number waiting{};
  Number largest_free{};

  Integrals& operator+=(const Integrals& other) {
    weight += other.weight;
    for (std::size_t i = 0; i < kNumCauses; ++i) slots[i] += other.slots[i];
    running += other.running;
    waiting += other.waiting;
    largest_free += other.largest_free;
    return *this;
  }
};

using ExactIntegrals = Integrals<absl::int128>;

/// Adds what `sample` shows, `weight` times.
inline void AddSample(const Sample& sample, std::int64_t weight,
                      ExactIntegrals& integrals) {
  const absl::int128 wide = weight;
  integrals.weight += wide;
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    integrals.slots[i] += wide * sample.slots[static_cast<Cause>(i)];
  }
  integrals.running += wide * sample.running;
  integrals.waiting += wide * sample.waiting;
  integrals.largest_free += wide * sample.largest_free_slots;
}

/// Rounded to doubles, for statistics.
inline Integrals<double> Rounded(const ExactIntegrals& exact) {
  Integrals<double> rounded;
  rounded.weight = static_cast<double>(exact.weight);
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    rounded.slots[i] = static_cast<double>(exact.slots[i]);
  }
  rounded.running = static_cast<double>(exact.running);
  rounded.waiting = static_cast<double>(exact.waiting);
  rounded.largest_free = static_cast<double>(exact.largest_free);
  return rounded;
}

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_INTEGRALS_H_
