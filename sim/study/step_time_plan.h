// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_STEP_TIME_PLAN_H_
#define SIM_STUDY_STEP_TIME_PLAN_H_

#include "absl/status/statusor.h"

#include "sim/clock/step_time.h"
#include "sim/study/pool_plan.h"
#include "sim/study/sim_options.h"

namespace pagedkv::sim {

/// The preset that is computed from model and GPU.
inline constexpr char kRooflinePreset[] = "roofline";

/// What --step-time-preset and the options of the roofline ask for; nothing of
/// note where the clock is not `model`. Errors are as those of `MakeSimPlan`.
absl::StatusOr<StepTime> PlanStepTime(const SimOptions& options,
                                      const ModelPlan& model);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_STEP_TIME_PLAN_H_
