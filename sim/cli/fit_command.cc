// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/fit_command.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "sim/report/atomic_file.h"
#include "sim/study/fit_measured_run.h"
#include "sim/study/interrupt.h"
#include "sim/study/measured_run.h"
#include "sim/study/step_fit_report.h"
#include "sim/study/step_time_file.h"

namespace pagedkv::sim {
namespace {

struct State {
  std::string run;
  std::string format = "table";
  std::optional<std::string> out;
  bool check = false;
};

int Run(const State& state) {
  EndOnInterrupt();
  if (state.format != "table" && state.format != "json") {
    return ReportBadInput(absl::InvalidArgumentError(absl::StrFormat(
        "unknown --format '%s': use table or json", state.format)));
  }
  absl::StatusOr<MeasuredRun> run = ReadMeasuredRun(state.run);
  if (!run.ok()) return ReportBadInput(run.status());
  // Before the long work, so that it is not in vain.
  std::optional<AtomicFile> out;
  if (state.out) {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(*state.out);
    if (!file.ok()) return ReportBadInput(file.status());
    out.emplace(*std::move(file));
  }
  const absl::StatusOr<StepFitReport> report = FitMeasuredRun(*std::move(run));
  if (!report.ok()) {
    if (absl::IsCancelled(report.status())) return ReportInterrupted();
    return ReportBadInput(
        absl::Status(report.status().code(),
                     absl::StrFormat("%s: %s", state.run,
                                     std::string(report.status().message()))));
  }
  if (out) {
    out->Append(StepTimeToJson(report->fit.time));
    const absl::Status written = out->Commit();
    if (!written.ok()) return ReportBadInput(written);
  }
  std::cout << (state.format == "json" ? StepFitToJson(*report)
                                       : StepFitToText(*report))
            << std::flush;
  if (!std::cout) {
    return ReportBadInput(
        absl::UnavailableError("standard output cannot be written"));
  }
  return state.check && !report->AllMet() ? kExitComparisonFailed : kExitOk;
}

}  // namespace

void AddFitCommand(CLI::App& app, int& exit_code) {
  CLI::App* fit = app.add_subcommand(
      "fit", "Fit step times to a measured run, and replay it beside itself");
  const auto state = std::make_shared<State>();
  fit->add_option("RUN_DIR", state->run,
                  "A folder with meta.json, workload.jsonl, requests.jsonl "
                  "and timeseries.csv, as LLMServingSim's benchmark leaves it")
      ->required();
  fit->add_option("--format", state->format,
                  "On standard output: table or json")
      ->capture_default_str();
  fit->add_option("--out", state->out,
                  "A file for the step times, which pagedkv sim "
                  "--step-time-preset reads");
  fit->add_flag("--check", state->check, "Exit with 1 if a target is missed");
  fit->callback([state, &exit_code] { exit_code = Run(*state); });
}

}  // namespace pagedkv::sim
