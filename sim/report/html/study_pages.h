// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_HTML_STUDY_PAGES_H_
#define SIM_REPORT_HTML_STUDY_PAGES_H_

#include <string>

#include "sim/report/capacity_report.h"
#include "sim/report/sweep_report.h"

namespace pagedkv::sim {

/// sweep.html and plan.html: what many simulations found out, as a page
/// (html_page.h).
std::string SweepPage(const SweepReport& sweep);
std::string CapacityPage(const CapacityReport& plan);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_HTML_STUDY_PAGES_H_
