// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REPORT_JSON_H_
#define SIM_REPORT_REPORT_JSON_H_

#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

#include "sim/report/report.h"

namespace pagedkv::sim {

inline constexpr std::string_view kReportSchema = "pagedkv.report/1";

/// All that is hashed: the report without its members `hash` and `run`.
nlohmann::json ReportToDocument(const Report& report);

/// The report as `pagedkv.report/1` (report.schema.json) in canonical text
/// (canonical_json.h), sealed with its hash; units are in names.
std::string ReportToJson(const Report& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REPORT_JSON_H_
