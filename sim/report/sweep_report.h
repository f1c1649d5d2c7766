// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_SWEEP_REPORT_H_
#define SIM_REPORT_SWEEP_REPORT_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/report/block_size_knee.h"
#include "sim/report/report.h"

namespace pagedkv::sim {

/// An option of `pagedkv sim` and the values that it takes, as texts.
struct SweepParameter {
  std::string name;  ///< without "--"
  std::vector<std::string> values;
};

/// One combination.
struct SweepRun {
  std::vector<std::string> values;  ///< one for each parameter
  std::optional<Report> report;     ///< missing: it cannot be
  std::string problem;              ///< why not
};

/// A knee, and the values of the parameters that are not about block sizes.
struct SweepKnee {
  std::vector<std::pair<std::string, std::string>> parameters;
  BlockSizeKnee knee;
  /// The knee's, with the values in front.
  [[nodiscard]] std::string Sentence() const;
};

/// All that a run of `pagedkv sim --sweep` found out.
struct SweepReport {
  std::vector<SweepParameter> parameters;
  std::vector<SweepRun> runs;
  std::string version;
  std::optional<double> wall_s;  ///< missing: not recorded

  /// One for each combination of the other parameters with sizes enough.
  [[nodiscard]] std::vector<SweepKnee> Knees() const;
  /// Those of its runs, with what they are of in front.
  [[nodiscard]] std::vector<std::string> Warnings() const;
};

/// What was swept, and what is the same in all runs: at least one line.
std::vector<std::string> SweepHeadLines(const SweepReport& sweep);

/// One line for each combination and policy, in the columns of a report's
/// summary.
std::string SweepToText(const SweepReport& sweep);
std::string SweepToMarkdown(const SweepReport& sweep);
std::string SweepToCsv(const SweepReport& sweep);
/// `pagedkv.sweep/1` (sweep.schema.json) in canonical text (canonical_json.h):
/// the report of each run in full, but for its member `run`.
std::string SweepToJson(const SweepReport& sweep);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_SWEEP_REPORT_H_
