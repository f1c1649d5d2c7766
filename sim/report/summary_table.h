// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_SUMMARY_TABLE_H_
#define SIM_REPORT_SUMMARY_TABLE_H_

#include <string>
#include <vector>

#include "sim/report/report.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {

/// The report at a glance, in three forms: the pool, the workload and the
/// conditions first, then one line for each policy, in the columns of the
/// PagedAttention paper's Fig. 2, then what else is worth a line.

/// The lines above that table.
std::vector<std::string> SummaryHeadLines(const Report& report);
/// That table, and another for times where the clock models them.
std::vector<TextTable> SummaryTables(const Report& report);

/// For a terminal, where the warnings are on stderr already.
std::string SummaryToText(const Report& report);
/// For a document, with the warnings.
std::string SummaryToMarkdown(const Report& report);
/// For a script: one header line, no prose; the conditions are columns.
std::string SummaryToCsv(const Report& report);
TextTable SummaryCsvTable(const Report& report);

/// Pool, workload and conditions of the run, a line each.
std::vector<std::string> SummaryHeadLines(const Report& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_SUMMARY_TABLE_H_
