// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REPORT_JSON_H_
#define SIM_REPORT_REPORT_JSON_H_

#include <string>

#include "sim/report/report.h"

namespace pagedkv::sim {

/// The report as `pagedkv.report/1` (report.schema.json), in one canonical
/// text: keys sorted, two spaces of indentation, every fraction with six
/// decimals, units in names, a line break at the end. `hash` is the SHA-256 of
/// that text as it is without the members `hash` and `run`, so that it does not
/// depend on who ran it and how long it took.
std::string ReportToJson(const Report& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REPORT_JSON_H_
