// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_WORKLOAD_SOURCE_H_
#define SIM_WORKLOAD_WORKLOAD_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/trace/request_source.h"
#include "sim/trace/trace_reader.h"
#include "sim/trace/trace_request.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// Which requests to replay. Exactly one of `trace` and `workload` is given.
struct WorkloadOptions {
  std::string trace = "";  ///< path of a trace file, in any known format
  /// Name of a built-in workload or of a preset, or path of a description,
  /// which ends with ".json" (workload.schema.json).
  std::string workload = "";

  /// Requests to keep of a trace, from its first, or to generate; 0: all, and
  /// the workload's own number.
  std::int64_t requests = 0;
  /// Mean arrivals per second; 0: as recorded, or as published. A trace's gaps
  /// are scaled; where it has no arrivals, they are Poisson.
  double rate = 0.0;
  std::uint64_t seed = 0;  ///< of everything drawn; the same gives the same

  /// Count malformed rows instead of stopping at the first.
  bool skip_malformed = false;
  /// Refuse block ids that contradict each other or the prompt's length.
  bool strict = false;
  /// Order rows by arrival instead of dropping those out of order.
  bool sort = false;
  /// Drop requests with more tokens, prompt and output together; 0: none.
  std::int64_t max_sequence_tokens = 0;
  /// Tokens per block id of the trace; 0: its format's own.
  std::int32_t trace_block_tokens = 0;
  /// Whether turns of a session wait for the one before to finish.
  SessionLoop sessions = SessionLoop::kRecorded;

  friend bool operator==(const WorkloadOptions&,
                         const WorkloadOptions&) = default;
};

/// The requests of a workload, read or generated as they are asked for.
class WorkloadSource : public RequestSource {
 public:
  /// Complete once `Next` returned false.
  [[nodiscard]] virtual const TraceSummary& summary() const = 0;
};

/// Begins a pass over the workload, in memory that does not depend on its
/// length; at least one request is left, or `Next` fails. `identify`: find the
/// SHA-256 for the summary, which costs about a third of the time and need be
/// done once only.
/// FailedPrecondition where it takes the whole workload to hand out its first
/// request, or it cannot be read twice: to be loaded then. Other errors are one
/// line that names the option, or the file, line and column.
absl::StatusOr<std::unique_ptr<WorkloadSource>> OpenWorkload(
    const WorkloadOptions& options, bool identify);

struct LoadedWorkload {
  std::vector<TraceRequest> requests;  ///< in order of arrival
  TraceSummary summary;
};

/// Of the workloads that need no file: the built-in ones, then the presets.
std::vector<std::string> WorkloadNames();

/// Reads the trace or generates the workload; at least one request is left.
/// Errors as above, but FailedPrecondition.
absl::StatusOr<LoadedWorkload> LoadWorkload(const WorkloadOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_WORKLOAD_SOURCE_H_
