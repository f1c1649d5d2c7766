// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLOCK_PUBLISHED_STEP_TIMES_H_
#define SIM_CLOCK_PUBLISHED_STEP_TIMES_H_

#include <span>

#include "sim/clock/step_time.h"

namespace pagedkv::sim {

/// Step times that others have measured and published, as linear forms.
std::span<const StepTime> PublishedStepTimes();

}  // namespace pagedkv::sim

#endif  // SIM_CLOCK_PUBLISHED_STEP_TIMES_H_
