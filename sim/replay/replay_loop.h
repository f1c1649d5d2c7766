// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_REPLAY_LOOP_H_
#define SIM_REPLAY_REPLAY_LOOP_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "sim/replay/arrival_queue.h"
#include "sim/replay/replica.h"
#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Drives one replica, or a fleet of them, through a workload: whatever comes
/// first, an arrival, the next step of a replica, or an outage. Saturated, and
/// then there is one replica, requests are offered as fast as they are
/// admitted. One run each. Thread-compatible.
class ReplayLoop {
 public:
  /// All must outlive the loop. Replicas begin at 0 ns, and are as many as the
  /// options say.
  ReplayLoop(const SimulationOptions& options, RequestSource& source,
             std::span<Replica> replicas, Router& router,
             SimulationObserver& observer);

  absl::Status Run();

  /// What each replica was given, and lost.
  [[nodiscard]] std::span<const ReplicaTotals> routed() const {
    return routed_;
  }

 private:
  // An outage begins or ends.
  struct Change {
    std::int64_t at_ns = 0;
    std::size_t replica = 0;
    bool goes_down = false;
  };

  absl::Status OfferSaturated();
  absl::Status OfferNext();
  absl::Status RunSteps(std::size_t replica, std::int64_t until_ns);
  absl::Status Apply(const Change& change);
  // The replica whose step begins first, if one has something to run.
  [[nodiscard]] std::optional<std::size_t> NextToRun() const;
  void TellEnded(const Replica& replica);
  void TellEvents(std::size_t replica);

  const SimulationOptions& options_;
  const bool saturated_;
  const bool events_;
  ArrivalQueue arrivals_;
  std::span<Replica> replicas_;
  Router& router_;
  SimulationObserver& observer_;
  std::vector<Change> changes_;  // in order of time
  std::size_t next_change_ = 0;
  std::vector<bool> is_down_;  // by replica
  std::vector<ReplicaTotals> routed_;
  std::vector<TraceRequest> parked_;  // no replica is up
  std::vector<ReplicaLoad> loads_;    // scratch
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_REPLAY_LOOP_H_
