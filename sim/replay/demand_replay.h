// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_DEMAND_REPLAY_H_
#define SIM_REPLAY_DEMAND_REPLAY_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"

namespace pagedkv::sim {

/// A demand run (`SimulationOptions::demand`) in closed form. In unbounded
/// memory nobody waits for anybody: a request is admitted at the first step
/// that begins at or after its arrival, computes its whole prompt there, and
/// stays for as many steps as it has output tokens. So a run costs O(1) per
/// request and per step, whatever the number and the length of the residents
/// (O(log residents) per request where chunks have a place), and memory for the
/// residents only. To the observer it is the same, call for call and bit for
/// bit, as `Simulate`.
///
/// It takes two passes over the requests: `MeasureDemand` finds how much memory
/// is needed, `ReplayDemand` runs in it.

/// Whether the run has a closed form: a fixed clock, no prefix cache, one
/// replica, and a policy that is no oddity.
[[nodiscard]] bool HasClosedForm(const Policy& policy,
                                 const SimulationOptions& options);

/// What the first pass finds.
struct Demand {
  std::int64_t num_requests = 0;
  std::vector<TokenCount> capacities;  ///< by policy
};

/// Several policies cost one pass. `should_stop` is polled at every step, and
/// stops it (Cancelled). FailedPrecondition where a request waits for another,
/// closed loop; other errors as `Simulate`, and those of the source.
/// REQUIRES: HasClosedForm for each policy.
absl::StatusOr<Demand> MeasureDemand(std::span<const Policy> policies,
                                     const SimulationOptions& options,
                                     RequestSource& requests,
                                     const std::function<bool()>& should_stop);

/// One policy of the second pass.
struct DemandRun {
  Policy policy;
  TokenCount capacity;           ///< as measured
  SimulationObserver* observer;  ///< not null; outlives the run
};

/// Totals by run. The first observer that wants to stop stops all (Cancelled).
/// Errors as above.
absl::StatusOr<std::vector<SimulationTotals>> ReplayDemand(
    std::span<const DemandRun> runs, const SimulationOptions& options,
    RequestSource& requests);

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_DEMAND_REPLAY_H_
