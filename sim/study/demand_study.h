// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_DEMAND_STUDY_H_
#define SIM_STUDY_DEMAND_STUDY_H_

#include <cstddef>
#include <span>

#include "absl/status/statusor.h"

#include "sim/replay/demand_replay.h"
#include "sim/study/policy_run.h"
#include "sim/study/repeated_workload.h"
#include "sim/study/sim_plan.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// A demand run in closed form, which goes through the workload twice and holds
/// what is live of it.
class DemandStudy {
 public:
  [[nodiscard]] static bool IsPossible(const SimPlan& plan);

  /// Finds how much memory each policy needs. FailedPrecondition where turns
  /// wait for others: that has no closed form.
  static absl::StatusOr<DemandStudy> Create(const SimPlan& plan);

  /// Some of the runs of the plan's policies: every `step`-th from `first` on,
  /// in one pass over the workload. Each must have begun.
  void RunSome(std::size_t first, std::size_t step,
               const SimulationOptions& options,
               std::span<PolicyRun> runs) const;

  [[nodiscard]] const TraceSummary& summary() const {
    return workload_.summary();
  }

 private:
  DemandStudy(RepeatedWorkload workload, Demand demand);

  RepeatedWorkload workload_;
  Demand demand_;
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_DEMAND_STUDY_H_
