// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_FLEET_PLAN_H_
#define SIM_STUDY_FLEET_PLAN_H_

#include "absl/status/statusor.h"

#include "sim/replay/simulation.h"
#include "sim/study/sim_options.h"

namespace pagedkv::sim {

/// The replicas, their router and outages, for a simulation that is planned but
/// for these. Errors are as those of `MakeSimPlan`.
absl::StatusOr<FleetOptions> PlanFleet(const SimOptions& options,
                                       const SimulationOptions& simulation);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_FLEET_PLAN_H_
