// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SIM_PLAN_H_
#define SIM_STUDY_SIM_PLAN_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/report/kv_group_use.h"
#include "sim/report/memory_map.h"
#include "sim/report/report.h"
#include "sim/report/run_statistics.h"
#include "sim/study/sim_options.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {

/// What is to be done: the options, checked and resolved.
struct SimPlan {
  std::vector<Policy> policies;
  WorkloadOptions workload;
  SimulationOptions simulation;
  ReportModel model;
  ReportPool pool;
  std::optional<HybridCache> hybrid;  ///< where the model has several groups
  Weight weight = Weight::kTime;
  WindowKind window = WindowKind::kBusy;
  MemoryMapOptions memory_map;
  ServiceLevel level;
  std::optional<double> usd_per_gpu_hour;
};

/// Ids separated by commas, as in --policies.
absl::StatusOr<std::vector<Policy>> ParsePolicies(const std::string& list);

/// Resolves names, sizes and defaults. InvalidArgument, NotFound or OutOfRange
/// in one line that names the option, also where options contradict each other;
/// FailedPrecondition where memory does not suffice for the model.
absl::StatusOr<SimPlan> MakeSimPlan(const SimOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SIM_PLAN_H_
