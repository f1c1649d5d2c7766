// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_spec.h"

#include <cmath>
#include <cstddef>

namespace pagedkv::sim {

const Distribution& ByPrompt::For(std::int64_t prompt_tokens) const {
  std::size_t i = 0;
  while (i + 1 < ranges.size() && prompt_tokens > ranges[i].up_to) ++i;
  return ranges[i].values;
}

double WorkloadClass::MeanTurns() const {
  if (turns.ranges.size() == 1) return turns.ranges[0].values.mean();
  std::int64_t before = 0;  // of the message, on average
  for (const SharedTexts& texts : shared) {
    before += std::llround(texts.draws.mean() * texts.tokens.mean());
  }
  constexpr std::uint32_t kSteps = 1024;
  double sum = 0.0;
  for (std::uint32_t step = 0; step < kSteps; ++step) {
    const std::uint32_t word = (2 * step + 1) << 21;
    sum += turns.For(before + first_message.At(word)).mean();
  }
  return sum / kSteps;
}

double WorkloadSpec::requests_per_s() const {
  double sum = 0.0;
  for (const WorkloadClass& each : classes) {
    const double turns = each.MeanTurns();
    sum += each.arrivals.sessions_per_s *
           (turns + (turns - 1.0) * each.branches.mean());
  }
  return sum;
}

}  // namespace pagedkv::sim
