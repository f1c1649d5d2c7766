// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SIM_RUN_H_
#define SIM_STUDY_SIM_RUN_H_

#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"

#include "sim/report/report.h"
#include "sim/study/sim_plan.h"

namespace pagedkv::sim {

struct SimRunOptions {
  /// Where the files go; missing: nowhere. Made if it is not there.
  std::optional<std::filesystem::path> out;
  /// Where the schedules go as a Chrome trace; missing: nowhere.
  std::optional<std::filesystem::path> chrome_trace;
  bool timing = false;    ///< record the wall time, which differs every time
  bool progress = false;  ///< on stderr, a few times a second
};

/// Loads the workload, runs it through every policy, as many at a time as there
/// are processors, and writes the files: all of them when everything went well,
/// and otherwise none. Cancelled if it was interrupted (interrupt.h).
absl::StatusOr<Report> RunSimPlan(const SimPlan& plan,
                                  const SimRunOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SIM_RUN_H_
