// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/diff_command.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"

#include "sim/report/diff_table.h"
#include "sim/report/report_diff.h"
#include "sim/report/report_file.h"

namespace pagedkv::sim {
namespace {

struct State {
  std::string before;
  std::string after;
  double tolerance = 0.5;
  std::string format = "table";
};

using Render = std::string (*)(const ReportDiff&);

const std::map<std::string, Render>& Renders() {
  static const auto& renders = *new std::map<std::string, Render>{
      {"table", DiffToText}, {"json", DiffToJson}, {"md", DiffToMarkdown}};
  return renders;
}

int Run(const State& state) {
  if (!(std::isfinite(state.tolerance) && state.tolerance >= 0)) {
    return ReportBadInput(absl::InvalidArgumentError(
        "--tol must be a number of points or percent, 0 or more"));
  }
  const absl::StatusOr<ReportFile> before = ReadReportFile(state.before);
  if (!before.ok()) return ReportBadInput(before.status());
  const absl::StatusOr<ReportFile> after = ReadReportFile(state.after);
  if (!after.ok()) return ReportBadInput(after.status());
  const absl::StatusOr<ReportDiff> diff =
      DiffReports(*before, *after, state.tolerance);
  if (!diff.ok()) return ReportBadInput(diff.status());
  const int printed = Print(Renders().at(state.format)(*diff));
  if (printed != kExitOk) return printed;
  return diff->Count(Verdict::kRegression) > 0 ? kExitComparisonFailed
                                               : kExitOk;
}

}  // namespace

void AddDiffCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "diff", "Compare two reports: exit code 1 if a figure got worse");
  const auto state = std::make_shared<State>();
  command->footer(
      "Refused (exit code 2) if trace, model, pool, clock or window differ, or "
      "if a file was edited.");
  command->add_option("before", state->before, "A report.json or sweep.json")
      ->required();
  command->add_option("after", state->after, "Another of the same kind")
      ->required();
  command
      ->add_option("--tol", state->tolerance,
                   "What a figure may change by: points of a percentage, "
                   "percent of anything else; its 95 % interval, if wider")
      ->capture_default_str();
  command
      ->add_option("--format", state->format,
                   "On standard output: table, json or md")
      ->check(CLI::IsMember(Renders()))
      ->capture_default_str();
  command->callback([state, &exit_code] { exit_code = Run(*state); });
}

}  // namespace pagedkv::sim
