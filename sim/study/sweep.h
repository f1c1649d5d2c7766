// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SWEEP_H_
#define SIM_STUDY_SWEEP_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/report/sweep_report.h"
#include "sim/study/sim_options.h"
#include "sim/study/sim_run.h"

namespace pagedkv::sim {

/// Gives every paged policy this block size (those that become the same count
/// once), and leaves the pool as it is: --num-blocks stay those of the size
/// that they had. InvalidArgument if there is no paged policy.
absl::Status SetPagedBlockSize(std::int32_t block_size, SimOptions& options);

/// One combination of a sweep.
struct SweepPoint {
  std::vector<std::string> values;  ///< one for each parameter
  SimOptions options;
};

struct SweepOptions {
  StudyOptions study;
  /// Where sweep.html, sweep.json, sweep.csv and sweep.md go; missing: nowhere.
  std::optional<std::filesystem::path> out;
  bool timing = false;  ///< record the wall time
};

/// Runs all points, and writes the files, all of them or none. A point that
/// cannot be, such as a model that does not fit a GPU, is part of the report;
/// any other error ends the sweep and says which point has it. If none can be,
/// that is an error too. Cancelled if it was interrupted.
absl::StatusOr<SweepReport> RunSweep(std::vector<SweepParameter> parameters,
                                     const std::vector<SweepPoint>& points,
                                     const SweepOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SWEEP_H_
