// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_CAPACITY_PLAN_H_
#define SIM_STUDY_CAPACITY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/report/capacity_report.h"
#include "sim/study/sim_options.h"
#include "sim/study/sim_run.h"

namespace pagedkv::sim {

struct CapacityOptions {
  CapacityGoal goal = CapacityGoal::kMemory;
  std::vector<CapacityTarget> targets;  ///< not empty
  double precision = 0.01;              ///< see `AmountRange`
  std::int64_t max_gpus = 64;           ///< with kGpus
  StudyOptions study;
};

/// The limit of a target as on the command line: "2s", "50ms" where the unit is
/// seconds, else a number. InvalidArgument in one line.
absl::StatusOr<double> ParseTargetLimit(const TargetMetric& metric,
                                        const std::string& text);

/// Looks, for each policy, for the smallest pool, the fewest GPUs or the
/// highest rate at which every target is met, and tries what is around it.
/// That no request is rejected is a target unless another is given for it.
/// Errors are one line; Cancelled if it was interrupted.
absl::StatusOr<CapacityReport> PlanCapacity(const SimOptions& options,
                                            const CapacityOptions& capacity);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_CAPACITY_PLAN_H_
