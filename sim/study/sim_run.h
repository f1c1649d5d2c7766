// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SIM_RUN_H_
#define SIM_STUDY_SIM_RUN_H_

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/report/report.h"
#include "sim/study/sim_plan.h"
#include "sim/study/workload_cache.h"

namespace pagedkv::sim {

struct SimRunOptions {
  /// Where the files go; missing: nowhere. Made if it is not there.
  std::optional<std::filesystem::path> out;
  /// Where the schedules go as a Chrome trace; missing: nowhere.
  std::optional<std::filesystem::path> chrome_trace;
  /// A CSV of why requests were not admitted (admission_log.h).
  std::optional<std::filesystem::path> admission_log;
  bool timing = false;    ///< record the wall time, which differs every time
  bool progress = false;  ///< on stderr, a few times a second
  std::size_t num_threads = 0;  ///< 0: as many as there are processors
  /// A workload of more requests is not held in memory but gone through by each
  /// policy, where it can be streamed and nobody asks for its content.
  std::size_t max_held_requests = std::size_t{1} << 20;
};

/// Loads the workload, runs it through every policy, as many at a time as there
/// are processors, and writes the files: all of them when everything went well,
/// and otherwise none. Cancelled if it was interrupted (interrupt.h).
absl::StatusOr<Report> RunSimPlan(const SimPlan& plan,
                                  const SimRunOptions& options);

struct StudyOptions {
  const char* command = "sim";  ///< for the progress
  bool progress = false;        ///< on stderr, a few times a second
  std::size_t num_threads = 0;  ///< 0: as many as there are processors
};

/// Runs every policy of every plan, as many at a time as there are threads; the
/// reports do not depend on their number. No files are written. Cancelled if it
/// was interrupted.
absl::StatusOr<std::vector<Report>> RunSimPlans(std::span<const SimPlan> plans,
                                                const StudyOptions& options,
                                                WorkloadCache& workloads);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SIM_RUN_H_
