// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_REPRODUCE_PAPER_REPORT_H_
#define SIM_CLI_REPRODUCE_PAPER_REPORT_H_

#include <string>
#include <vector>

#include "sim/study/paper_check.h"
#include "sim/study/paper_study.h"

namespace pagedkv::sim {

/// Whether there is a check, and none failed.
[[nodiscard]] bool AllPassed(const std::vector<PaperCheck>& checks);

/// Each text ends with a newline. For a terminal or a document: a line for each
/// check, then what was simulated for which, then the verdict.
std::string PaperChecksToText(const PaperOptions& options,
                              const std::vector<PaperCheck>& checks);
std::string PaperChecksToMarkdown(const PaperOptions& options,
                                  const std::vector<PaperCheck>& checks);
/// As pagedkv.reproduce/1: keys sorted, figures rounded to six decimals.
std::string PaperChecksToJson(const PaperOptions& options,
                              const std::vector<PaperCheck>& checks);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_REPRODUCE_PAPER_REPORT_H_
