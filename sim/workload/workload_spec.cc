// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_spec.h"

#include <cstddef>

namespace pagedkv::sim {

const Distribution& ByPrompt::For(std::int64_t prompt_tokens) const {
  std::size_t i = 0;
  while (i + 1 < ranges.size() && prompt_tokens > ranges[i].up_to) ++i;
  return ranges[i].tokens;
}

double WorkloadSpec::requests_per_s() const {
  double sum = 0.0;
  for (const WorkloadClass& each : classes) {
    const double turns = each.turns.mean();
    sum += each.arrivals.sessions_per_s *
           (turns + (turns - 1.0) * each.branches.mean());
  }
  return sum;
}

}  // namespace pagedkv::sim
