// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/fit_report.h"

#include "absl/strings/str_format.h"

namespace pagedkv::sim {

std::string FitToText(const TraceFit& fit) {
  std::string text;
  for (const TraceFit::Fact& fact : fit.facts) {
    absl::StrAppendFormat(&text, "%-20s%s\n", fact.name, fact.finding);
  }
  absl::StrAppendFormat(&text, "\n%-30s%14s%14s%14s\n", "", "trace",
                        "generated", "ratio");
  for (const MatchRow& row : fit.match.rows) {
    absl::StrAppendFormat(&text, "%-30s%14.3f%14.3f", row.name, row.trace,
                          row.generated);
    if (row.trace != 0.0) {
      absl::StrAppendFormat(&text, "%14.3f", row.generated / row.trace);
    }
    text += '\n';
  }
  absl::StrAppendFormat(&text,
                        "Kolmogorov-Smirnov distance: prompt %.3f, output "
                        "%.3f, gap %.3f\n",
                        fit.match.prompt_distance, fit.match.output_distance,
                        fit.match.gap_distance);
  return text;
}

}  // namespace pagedkv::sim
