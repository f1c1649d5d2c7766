// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_HTML_SIM_PAGE_H_
#define SIM_REPORT_HTML_SIM_PAGE_H_

#include <string>
#include <vector>

#include "sim/report/memory_map.h"
#include "sim/report/report.h"
#include "sim/report/run_statistics.h"

namespace pagedkv::sim {

/// How the run of one policy went, which a report has no room for.
struct PolicyCourse {
  Policy policy;
  const RunStatistics* statistics = nullptr;  ///< not null
  MemoryMapRecorder* memory = nullptr;        ///< null: not recorded
};

/// report.html: the report as a page (html_page.h), with the course of each
/// policy's run. Deterministic.
std::string SimPage(const Report& report,
                    const std::vector<PolicyCourse>& courses);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_HTML_SIM_PAGE_H_
