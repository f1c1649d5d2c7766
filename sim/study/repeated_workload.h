// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_REPEATED_WORKLOAD_H_
#define SIM_STUDY_REPEATED_WORKLOAD_H_

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"
#include "sim/trace/trace_summary.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {

/// A workload that is gone through several times: streamed each time where that
/// is possible, and else held in memory. Thread-compatible.
class RepeatedWorkload {
 public:
  /// What is done in a pass. It takes all requests, or fails.
  using Pass = std::function<absl::Status(RequestSource&)>;

  /// Makes the first pass. Errors as `LoadWorkload`, and those of `first`.
  static absl::StatusOr<RepeatedWorkload> Create(const WorkloadOptions& options,
                                                 const Pass& first);
  /// Makes another pass. InvalidArgument, naming the trace, if it has changed
  /// meanwhile; errors as above.
  [[nodiscard]] absl::Status Repeat(const Pass& pass) const;

  [[nodiscard]] const TraceSummary& summary() const { return summary_; }

 private:
  explicit RepeatedWorkload(const WorkloadOptions& options)
      : options_(options) {}

  WorkloadOptions options_;
  // What cannot be streamed.
  std::optional<std::vector<TraceRequest>> held_;
  TraceSummary summary_;
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_REPEATED_WORKLOAD_H_
