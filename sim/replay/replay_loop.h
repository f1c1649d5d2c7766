// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_REPLAY_LOOP_H_
#define SIM_REPLAY_REPLAY_LOOP_H_

#include <cstdint>

#include "absl/status/status.h"

#include "sim/replay/arrival_queue.h"
#include "sim/replay/replica.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"

namespace pagedkv::sim {

/// Drives one replica through a workload: offers each request when it is due,
/// or, saturated, as fast as they are admitted. One run each.
/// Thread-compatible.
class ReplayLoop {
 public:
  /// All must outlive the loop.
  ReplayLoop(const SimulationOptions& options, RequestSource& source,
             Replica& replica, SimulationObserver& observer);

  absl::Status Run();

 private:
  absl::Status OfferRequests();
  void TellEnded();

  const SimulationOptions& options_;
  const bool saturated_;
  ArrivalQueue arrivals_;
  Replica& replica_;
  SimulationObserver& observer_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_REPLAY_LOOP_H_
