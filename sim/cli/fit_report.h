// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_FIT_REPORT_H_
#define SIM_CLI_FIT_REPORT_H_

#include <string>

#include "sim/workload/trace_fit.h"

namespace pagedkv::sim {

/// What was found in a trace, and then how like it the fitted workload is:
/// each quantity of both, and the distances of the distributions.
std::string FitToText(const TraceFit& fit);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_FIT_REPORT_H_
