// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REPORT_DIFF_H_
#define SIM_REPORT_REPORT_DIFF_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/report/report_file.h"

namespace pagedkv::sim {

enum class Verdict { kRegression, kImprovement, kChange };
std::string_view VerdictName(Verdict verdict);

/// A figure that differs by more than `tolerance`.
struct FigureChange {
  std::string run;  ///< of a sweep: "block-size=16"; else empty
  std::string policy;
  std::string figure;
  std::optional<double> before;  ///< missing: the report does not have it
  std::optional<double> after;
  /// What it may differ by, in the figure's own unit: the tolerance asked for
  /// or half the wider 95 % interval, whichever is larger.
  double tolerance = 0;
  Verdict verdict = Verdict::kChange;
};

struct ReportDiff {
  std::string before;  ///< paths
  std::string after;
  bool identical = false;          ///< the same hash
  double tolerance = 0;            ///< as asked for
  std::size_t num_figures = 0;     ///< compared
  std::vector<std::string> notes;  ///< what else differs
  std::vector<FigureChange> changes;

  [[nodiscard]] std::size_t Count(Verdict verdict) const;
};

/// Compares the policies that both reports have. `tolerance` is in points of a
/// percentage, and in percent of `before` for any other figure.
/// FailedPrecondition if the reports do not answer the same question: their
/// trace, model, pool, clock or window differ, or no policy is in both.
absl::StatusOr<ReportDiff> DiffReports(const ReportFile& before,
                                       const ReportFile& after,
                                       double tolerance);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REPORT_DIFF_H_
