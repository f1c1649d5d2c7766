// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/step_time.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kFemtosecondsPerNanosecond = 1'000'000;

absl::int128 Femtoseconds(const StepCost& cost, const StepWork& work) {
  const auto times = [](std::int64_t a, std::int64_t b) {
    return absl::int128(a) * b;
  };
  return cost.per_step + times(cost.per_sequence, work.sequences) +
         times(cost.per_computed_token, work.computed_tokens) +
         times(cost.per_prefill_attention, work.prefill_attention) +
         times(cost.per_resident_token, work.resident_tokens);
}

}  // namespace

std::int64_t StepTime::NanosecondsOf(const StepWork& work) const {
  const absl::int128 femtoseconds =
      Femtoseconds(serial, work) +
      std::max(Femtoseconds(compute, work), Femtoseconds(memory, work)) +
      absl::int128(per_swapped_token) * work.swapped_tokens;
  const absl::int128 nanoseconds =
      (femtoseconds + kFemtosecondsPerNanosecond / 2) /
      kFemtosecondsPerNanosecond;
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 4;
  return static_cast<std::int64_t>(
      std::clamp<absl::int128>(nanoseconds, 1, kMost));
}

}  // namespace pagedkv::sim
