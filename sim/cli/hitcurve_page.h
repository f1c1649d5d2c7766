// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_HITCURVE_PAGE_H_
#define SIM_CLI_HITCURVE_PAGE_H_

#include <string>
#include <vector>

#include "sim/cli/hitcurve_report.h"

namespace pagedkv::sim {

/// What the curves say, in a sentence: how large a cache has to be, by the
/// first policy and by the optimum, to find 90 % of what an unbounded one does.
std::string HitcurveVerdict(const HitcurveReport& report, HitWeight weight);

/// hitcurve.html: the curves as a page (sim/report/html/html_page.h).
std::string HitcurvePage(const HitcurveReport& report,
                         const std::vector<HitWeight>& weights);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_HITCURVE_PAGE_H_
