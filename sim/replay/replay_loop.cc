// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/replay_loop.h"

#include <cstdint>

#include "absl/status/status.h"

#include "sim/replay/arrival_queue.h"
#include "sim/replay/replica.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"

namespace pagedkv::sim {

ReplayLoop::ReplayLoop(const SimulationOptions& options, RequestSource& source,
                       Replica& replica, SimulationObserver& observer)
    : options_(options),
      saturated_(IsSaturated(options)),
      arrivals_(source, options.closed_loop && !saturated_),
      replica_(replica),
      observer_(observer) {}

absl::Status ReplayLoop::Run() {
  for (;;) {
    if (observer_.ShouldStop()) {
      return absl::CancelledError("the simulation was stopped");
    }
    if (absl::Status status = OfferRequests(); !status.ok()) return status;
    absl::Status status;
    if (replica_.busy()) {
      status = replica_.RunStep();
      TellEnded();
    } else if (arrivals_.has_next()) {
      status = replica_.WaitUntil(arrivals_.arrival_ns());
    } else {
      return absl::OkStatus();
    }
    if (!status.ok()) return status;
  }
}

absl::Status ReplayLoop::OfferRequests() {
  for (;;) {
    if (absl::Status status = arrivals_.Advance(); !status.ok()) return status;
    if (!arrivals_.has_next()) return absl::OkStatus();
    if (saturated_) {
      // More than one step could admit, so that the queue outlasts the step.
      const Batcher& batcher = replica_.batcher();
      const std::int32_t admissible =
          options_.max_num_seqs - batcher.num_running();
      if (batcher.num_waiting() > admissible) return absl::OkStatus();
    } else if (arrivals_.arrival_ns() > replica_.now_ns()) {
      return absl::OkStatus();
    }
    absl::Status status = replica_.Offer(arrivals_.Pop());
    if (!status.ok()) return status;
    TellEnded();
  }
}

void ReplayLoop::TellEnded() {
  for (const EndedRequest& ended : replica_.ended()) {
    arrivals_.OnEnded(ended.id, ended.end_ns);
  }
}

}  // namespace pagedkv::sim
