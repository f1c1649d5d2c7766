// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_FIT_MEASURED_RUN_H_
#define SIM_STUDY_FIT_MEASURED_RUN_H_

#include "absl/status/statusor.h"

#include "sim/study/measured_run.h"
#include "sim/study/step_fit_report.h"

namespace pagedkv::sim {

/// Fits step times to all requests of the run; and, to know what they are worth
/// on others, to every second request and to the first half, each tried on the
/// rest, on as many threads as there are processors. A part of too few requests
/// is left out. Errors are those of `FitStepTime`; Cancelled if it was
/// interrupted (interrupt.h).
absl::StatusOr<StepFitReport> FitMeasuredRun(MeasuredRun run);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_FIT_MEASURED_RUN_H_
