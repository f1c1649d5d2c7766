// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/plan_command.h"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/cli/sim_command.h"
#include "sim/report/atomic_file.h"
#include "sim/report/capacity_report.h"
#include "sim/report/html/study_pages.h"
#include "sim/study/capacity_plan.h"
#include "sim/study/interrupt.h"

namespace pagedkv::sim {
namespace {

struct State {
  SimOptions options;
  std::optional<std::string> minimize;
  std::optional<std::string> maximize;
  std::vector<std::optional<std::string>> targets;  // as `TargetMetrics`
  double precision = 0.01;
  std::int64_t max_gpus = 64;
  std::size_t num_threads = 0;
  std::string format = "table";
  std::optional<std::string> out;
};

using Render = std::string (*)(const CapacityReport&);

const std::map<std::string, Render>& Renders() {
  static const auto& renders =
      *new std::map<std::string, Render>{{"table", CapacityToText},
                                         {"json", CapacityToJson},
                                         {"md", CapacityToMarkdown}};
  return renders;
}

absl::StatusOr<CapacityOptions> MakeOptions(const State& state) {
  CapacityOptions options;
  if (state.minimize.has_value() == state.maximize.has_value()) {
    return absl::InvalidArgumentError(
        "give either --minimize memory or gpus, or --maximize rate");
  }
  if (state.maximize) {
    options.goal = CapacityGoal::kRate;
  } else if (state.minimize == "gpus") {
    options.goal = CapacityGoal::kGpus;
  }
  for (std::size_t i = 0; i < state.targets.size(); ++i) {
    if (!state.targets[i]) continue;
    const TargetMetric& metric = TargetMetrics()[i];
    const absl::StatusOr<double> limit =
        ParseTargetLimit(metric, *state.targets[i]);
    if (!limit.ok()) return limit.status();
    options.targets.push_back({metric, *limit});
  }
  if (options.targets.empty()) {
    return absl::InvalidArgumentError(
        "give a target, such as --target-preemption-rate 0.01: pagedkv plan "
        "--help lists them");
  }
  options.precision = state.precision;
  options.max_gpus = state.max_gpus;
  options.study.command = "plan";
  options.study.progress = isatty(STDERR_FILENO) != 0;
  options.study.num_threads = state.num_threads;
  return options;
}

absl::Status WriteFiles(const std::filesystem::path& folder,
                        const CapacityReport& report) {
  const DeferInterrupts deferred;
  absl::StatusOr<AtomicFile> html = AtomicFile::Create(folder / "plan.html");
  if (!html.ok()) return html.status();
  absl::StatusOr<AtomicFile> json = AtomicFile::Create(folder / "plan.json");
  if (!json.ok()) return json.status();
  html->Append(CapacityPage(report));
  json->Append(CapacityToJson(report));
  if (absl::Status status = html->Commit(); !status.ok()) return status;
  return json->Commit();
}

int Run(const State& state) {
  EndOnInterrupt();
  // Before the long work, so that it is not in vain.
  if (state.out) {
    if (absl::Status status = MakeOutFolder(*state.out); !status.ok()) {
      return ReportBadInput(status);
    }
  }
  const absl::StatusOr<CapacityOptions> options = MakeOptions(state);
  if (!options.ok()) return ReportBadInput(options.status());
  const absl::StatusOr<CapacityReport> report =
      PlanCapacity(state.options, *options);
  if (!report.ok()) {
    return absl::IsCancelled(report.status()) ? ReportInterrupted()
                                              : ReportBadInput(report.status());
  }
  if (state.out) {
    const absl::Status status = WriteFiles(*state.out, *report);
    if (!status.ok()) return ReportBadInput(status);
  }
  const int printed = Print(Renders().at(state.format)(*report));
  if (printed != kExitOk) return printed;
  return report->Best().empty() ? kExitComparisonFailed : kExitOk;
}

void AddTargets(CLI::App& plan, State& state) {
  state.targets.resize(TargetMetrics().size());
  for (std::size_t i = 0; i < state.targets.size(); ++i) {
    const TargetMetric& metric = TargetMetrics()[i];
    plan.add_option("--target-" + std::string(metric.name), state.targets[i],
                    std::string(metric.meaning))
        ->group("Targets (at most, unless it says at least)");
  }
}

}  // namespace

void AddPlanCommand(CLI::App& app, int& exit_code) {
  CLI::App* plan = app.add_subcommand(
      "plan",
      "The smallest pool, fewest GPUs or highest rate that meets targets: exit "
      "code 1 if nothing does");
  const auto state = std::make_shared<State>();
  state->options.policies = "paged-16";
  const std::string goal = "Goal (one of --minimize, --maximize)";
  plan->add_option("--minimize", state->minimize,
                   "memory: blocks of the pool; gpus: of --gpu, by replicas "
                   "and tensor parallelism")
      ->check(CLI::IsMember({"memory", "gpus"}))
      ->group(goal);
  plan->add_option("--maximize", state->maximize, "rate: of the arrivals")
      ->check(CLI::IsMember({"rate"}))
      ->group(goal);
  plan->add_option("--precision", state->precision,
                   "Of the answer, as a share of it")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(goal);
  plan->add_option("--max-gpus", state->max_gpus, "With --minimize gpus")
      ->check(PositiveInteger())
      ->capture_default_str()
      ->group(goal);
  AddTargets(*plan, *state);
  AddSimOptions(*plan, state->options);
  plan->add_option("--threads", state->num_threads,
                   "At most; the answer does not depend on it (default: as "
                   "many as there are processors)")
      ->check(PositiveInteger())
      ->group("Report");
  plan->add_option("--format", state->format,
                   "On standard output: table, json or md")
      ->check(CLI::IsMember(Renders()))
      ->capture_default_str()
      ->group("Report");
  plan->add_option("--out", state->out, "A folder for plan.html and plan.json")
      ->group("Report");
  plan->callback([state, &exit_code] { exit_code = Run(*state); });
}

}  // namespace pagedkv::sim
