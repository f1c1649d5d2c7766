// SPDX-License-Identifier: Apache-2.0
#include "sim/study/demand_study.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/replay/demand_replay.h"
#include "sim/study/interrupt.h"
#include "sim/study/policy_run.h"
#include "sim/study/repeated_workload.h"
#include "sim/study/sim_plan.h"
#include "sim/trace/request_source.h"

namespace pagedkv::sim {

DemandStudy::DemandStudy(RepeatedWorkload workload, Demand demand)
    : workload_(std::move(workload)), demand_(std::move(demand)) {}

bool DemandStudy::IsPossible(const SimPlan& plan) {
  return std::all_of(plan.policies.begin(), plan.policies.end(),
                     [&plan](const Policy& policy) {
                       return HasClosedForm(policy, plan.simulation);
                     });
}

absl::StatusOr<DemandStudy> DemandStudy::Create(const SimPlan& plan) {
  absl::StatusOr<Demand> demand = absl::UnknownError("not measured");
  absl::StatusOr<RepeatedWorkload> workload =
      RepeatedWorkload::Create(plan.workload, [&](RequestSource& source) {
        demand =
            MeasureDemand(plan.policies, plan.simulation, source, Interrupted);
        return demand.status();
      });
  if (!workload.ok()) return workload.status();
  return DemandStudy(*std::move(workload), *std::move(demand));
}

void DemandStudy::RunSome(std::size_t first, std::size_t step,
                          const SimulationOptions& options,
                          std::span<PolicyRun> runs) const {
  std::vector<DemandRun> some;
  for (std::size_t i = first; i < runs.size(); i += step) {
    some.push_back({.policy = runs[i].policy(),
                    .capacity = demand_.capacities[i],
                    .observer = &runs[i]});
  }
  absl::StatusOr<std::vector<SimulationTotals>> totals =
      absl::UnknownError("not run");
  const absl::Status done = workload_.Repeat([&](RequestSource& source) {
    totals = ReplayDemand(some, options, source);
    return totals.status();
  });
  for (std::size_t i = 0; i < some.size(); ++i) {
    PolicyRun& run = runs[first + i * step];
    if (done.ok()) {
      run.End((*totals)[i]);
    } else {
      run.End(done);
    }
  }
}

}  // namespace pagedkv::sim
