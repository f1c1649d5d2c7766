// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLOCK_STEP_TIME_H_
#define SIM_CLOCK_STEP_TIME_H_

#include <cstdint>
#include <string>

namespace pagedkv::sim {

/// What one engine step works on: all that its duration may depend on.
struct StepWork {
  std::int64_t sequences = 0;        ///< that are scheduled
  std::int64_t computed_tokens = 0;  ///< over all of them, decode and prefill
  /// Sum over prefill chunks of the pairs of a token of the chunk and a token
  /// that it attends to: a chunk of c tokens after p has c * p + c * (c + 1)
  /// / 2.
  std::int64_t prefill_attention = 0;
  /// Tokens in memory of the scheduled sequences, those of the step included:
  /// their KV is read once.
  std::int64_t resident_tokens = 0;
  /// Tokens that move to the swap space or back before the step.
  std::int64_t swapped_tokens = 0;

  friend bool operator==(const StepWork&, const StepWork&) = default;
};

/// A linear form over `StepWork`, in femtoseconds (10^-15 s) per unit: whole
/// numbers, so that a time is the same on every machine.
struct StepCost {
  std::int64_t per_step = 0;
  std::int64_t per_sequence = 0;
  std::int64_t per_computed_token = 0;
  std::int64_t per_prefill_attention = 0;
  std::int64_t per_resident_token = 0;

  friend bool operator==(const StepCost&, const StepCost&) = default;
};

/// How long a step takes: serial + max(compute, memory) + swap. A fit of a
/// measured run and a preset of published step times have only the serial part;
/// a roofline has all three. Swapping comes on top of either, as in an engine
/// that moves blocks first and computes then: nothing overlaps.
struct StepTime {
  std::string preset = {};  ///< as on the command line and in reports
  std::string model = {};   ///< that the figures are of; empty: not said
  std::string source = {};  ///< of the figures, for people
  StepCost serial = {};
  StepCost compute = {};
  StepCost memory = {};
  std::int64_t per_swapped_token = 0;  ///< femtoseconds

  /// In nanoseconds, to the nearest, at least 1.
  [[nodiscard]] std::int64_t NanosecondsOf(const StepWork& work) const;
};

}  // namespace pagedkv::sim

#endif  // SIM_CLOCK_STEP_TIME_H_
