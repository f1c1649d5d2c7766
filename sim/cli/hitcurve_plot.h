// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_HITCURVE_PLOT_H_
#define SIM_CLI_HITCURVE_PLOT_H_

#include <string>

#include "sim/cli/hitcurve_report.h"

namespace pagedkv::sim {

/// The curves as a small plot of ASCII characters: a column for each size, a
/// digit or letter for each policy, `-` for a cache that never evicts. Where
/// policies meet, the first of them shows. At most 36 policies have one.
std::string HitcurvePlot(const HitcurveReport& report, HitWeight weight);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_HITCURVE_PLOT_H_
