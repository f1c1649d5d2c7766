// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_ARRIVAL_QUEUE_H_
#define SIM_REPLAY_ARRIVAL_QUEUE_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// InvalidArgument if the request, the `index`-th of its source, has no prompt
/// or no output, or arrives before the one above it.
absl::Status CheckRequest(const TraceRequest& request, std::int64_t index,
                          std::int64_t last_arrival_ns);

/// The requests of a source in the order in which they arrive. Closed loop, a
/// turn that follows another arrives its delay after that one has ended; until
/// then it is held back. Open loop, and for all other requests, arrivals are as
/// recorded. Among equal arrivals the one that the source gave first is first.
///
/// Holds one request of the source and the turns that wait for another; closed
/// loop also when each request ended that no turn has followed. Thread-
/// compatible.
class ArrivalQueue {
 public:
  /// `source` must outlive it.
  ArrivalQueue(RequestSource& source, bool closed_loop)
      : source_(source), closed_loop_(closed_loop) {}

  /// Looks for the next request; to be called before the others, and after
  /// each `Pop` and `OnEnded`. InvalidArgument for a request without prompt or
  /// output or that arrives before the one above it.
  absl::Status Advance();
  /// Whether a request is known to arrive. False while only turns are left that
  /// wait for requests under way.
  [[nodiscard]] bool has_next() const { return has_next_; }
  /// REQUIRES: has_next(), as all that follow.
  [[nodiscard]] std::int64_t arrival_ns() const;
  [[nodiscard]] TraceRequest Pop();

  /// A request that was taken comes back at `now_ns`; it keeps its arrival.
  void Return(TraceRequest request, std::int64_t now_ns);

  /// The request `id` has finished, or was rejected.
  void OnEnded(std::int64_t id, std::int64_t now_ns);

 private:
  struct Turn {
    std::int64_t arrival_ns = 0;
    std::int64_t order = 0;
    TraceRequest request;
    // For a heap with the earliest at its front.
    friend bool operator<(const Turn& a, const Turn& b) {
      return a.arrival_ns != b.arrival_ns ? a.arrival_ns > b.arrival_ns
                                          : a.order > b.order;
    }
  };

  absl::Status ReadNext();
  void AddTurn(Turn turn, std::int64_t ended_ns);
  void AddReady(Turn turn);
  [[nodiscard]] bool ReadyIsFirst() const {
    return !ready_.empty() && (!has_read_ || read_ < ready_.front());
  }

  RequestSource& source_;
  bool closed_loop_;
  bool ended_ = false;
  bool has_next_ = false;
  bool has_read_ = false;
  Turn read_;                  // next of the source, if has_read_
  std::int64_t num_read_ = 0;  // and returned: the order of what comes
  std::int64_t last_arrival_ns_ = 0;
  std::vector<Turn> ready_;  // heap: turns whose arrival is known
  absl::flat_hash_map<std::int64_t, std::vector<Turn>> held_back_;
  absl::flat_hash_map<std::int64_t, std::int64_t> ended_ns_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_ARRIVAL_QUEUE_H_
