// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_LIVE_REQUESTS_H_
#define SIM_REPLAY_LIVE_REQUESTS_H_

#include <cstddef>
#include <utility>
#include <vector>

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// The requests that wait or run, by the id under which a batcher knows them:
/// a slot, which is used again once its request is gone. So memory grows with
/// what is live, not with the workload. Thread-compatible.
class LiveRequests {
 public:
  RequestId Add(TraceRequest request) {
    if (free_.empty()) {
      free_.push_back(RequestId(requests_.size()));
      requests_.emplace_back();
    }
    const RequestId id = free_.back();
    free_.pop_back();
    requests_[id.value()] = std::move(request);
    return id;
  }
  /// REQUIRES: `id` is live.
  void Remove(RequestId id) { free_.push_back(id); }
  /// REQUIRES: `id` is live. Valid until the next `Add`.
  [[nodiscard]] const TraceRequest& operator[](RequestId id) const {
    return requests_[id.value()];
  }
  [[nodiscard]] std::size_t size() const {
    return requests_.size() - free_.size();
  }

 private:
  std::vector<TraceRequest> requests_;
  std::vector<RequestId> free_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_LIVE_REQUESTS_H_
