// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_REQUEST_SOURCE_H_
#define SIM_TRACE_REQUEST_SOURCE_H_

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"

#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Hands out the requests of a workload one by one, in order of arrival, so
/// that nobody need hold them all. One pass; thread-compatible.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// The next request, or false at the end; an error ends the pass.
  [[nodiscard]] virtual absl::StatusOr<bool> Next(TraceRequest& request) = 0;
};

/// Requests that are in memory, which must outlive it.
class SpanSource : public RequestSource {
 public:
  explicit SpanSource(std::span<const TraceRequest> requests)
      : requests_(requests) {}
  [[nodiscard]] absl::StatusOr<bool> Next(TraceRequest& request) override {
    if (next_ == requests_.size()) return false;
    request = requests_[next_++];
    return true;
  }

 private:
  std::span<const TraceRequest> requests_;
  std::size_t next_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_REQUEST_SOURCE_H_
