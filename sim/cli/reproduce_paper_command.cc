// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/reproduce_paper_command.h"

#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "sim/cli/reproduce_paper_report.h"
#include "sim/study/interrupt.h"
#include "sim/study/paper_study.h"

namespace pagedkv::sim {
namespace {

using Render = std::string (*)(const PaperOptions&,
                               const std::vector<PaperCheck>&);

const std::map<std::string, Render>& Renders() {
  static const auto& renders =
      *new std::map<std::string, Render>{{"table", PaperChecksToText},
                                         {"json", PaperChecksToJson},
                                         {"md", PaperChecksToMarkdown}};
  return renders;
}

struct State {
  PaperOptions options;
  std::string format = "table";
};

int Run(const State& state) {
  EndOnInterrupt();
  const absl::StatusOr<std::vector<PaperCheck>> checks =
      RunPaperStudy(state.options);
  if (!checks.ok()) {
    return absl::IsCancelled(checks.status()) ? ReportInterrupted()
                                              : ReportBadInput(checks.status());
  }
  std::cout << Renders().at(state.format)(state.options, *checks) << std::flush;
  if (!std::cout) {
    return ReportBadInput(
        absl::UnavailableError("standard output cannot be written"));
  }
  return AllPassed(*checks) ? kExitOk : kExitComparisonFailed;
}

}  // namespace

void AddReproducePaperCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "reproduce-paper",
      "The PagedAttention paper's memory figures beside ours; exit 1 if one "
      "is missed");
  const auto state = std::make_shared<State>();
  command
      ->add_option("--seeds", state->options.seeds,
                   "Draws of each workload; the intervals are over these")
      ->check(PositiveInteger())
      ->capture_default_str();
  command
      ->add_option("--requests", state->options.requests,
                   "Requests of each simulation (default: as many as each "
                   "takes to settle)")
      ->check(PositiveInteger());
  command->add_option(
      "--only", state->options.only,
      absl::StrFormat("Some of the topics, separated by commas: %s",
                      PaperTopicNames()));
  command
      ->add_option("--format", state->format,
                   "On standard output: table, json or md")
      ->check(CLI::IsMember(Renders()))
      ->capture_default_str();
  command->callback([state, &exit_code] { exit_code = Run(*state); });
}

}  // namespace pagedkv::sim
