// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_TRACE_INSPECTION_H_
#define SIM_CLI_TRACE_INSPECTION_H_

#include <string>

#include "absl/status/statusor.h"

#include "sim/trace/trace_reader.h"
#include "sim/trace/trace_statistics.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// What `pagedkv trace inspect` tells about a trace.
struct TraceInspection {
  TraceSummary summary;
  TraceStatistics statistics;
};

/// Reads the whole trace without keeping its requests. Errors as `TraceReader`.
absl::StatusOr<TraceInspection> InspectTrace(const std::string& path,
                                             const TraceReaderOptions& options);

std::string InspectionToText(const TraceInspection& inspection);
std::string InspectionToMarkdown(const TraceInspection& inspection);
std::string InspectionToJson(const TraceInspection& inspection);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_TRACE_INSPECTION_H_
