// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_DIFF_TABLE_H_
#define SIM_REPORT_DIFF_TABLE_H_

#include <string>

#include "sim/report/report_diff.h"

namespace pagedkv::sim {

std::string DiffToText(const ReportDiff& diff);
std::string DiffToMarkdown(const ReportDiff& diff);
/// `pagedkv.diff/1`, in canonical text (canonical_json.h).
std::string DiffToJson(const ReportDiff& diff);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_DIFF_TABLE_H_
