// SPDX-License-Identifier: Apache-2.0
#include "sim/study/fit_measured_run.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/study/catalogue_match.h"
#include "sim/study/interrupt.h"
#include "sim/study/task_pool.h"

namespace pagedkv::sim {
namespace {

/// A fit to the requests of `fitted`, with its replay.
struct Task {
  std::string name;
  RequestSet fitted;
  absl::StatusOr<StepFit> fit = absl::UnknownError("not run");
  absl::StatusOr<ReplayedRun> replayed = absl::UnknownError("not run");
};

void RunTask(const MeasuredRun& run, Task& task) {
  task.fit = FitStepTime(run, task.fitted, {.stop = Interrupted});
  if (!task.fit.ok()) return;
  task.replayed = ReplayMeasuredRun(run, task.fit->time, Interrupted);
}

void NameTime(const StepFitReport& report, StepTime& time) {
  const MeasuredRun& run = report.run;
  const std::optional<ModelSpec> model = MatchModel(run.model);
  time.model = model ? model->name : run.model;
  time.preset = "fit-" + run.name;
  const RequestErrors& errors = report.errors;
  const auto percent = [](double measured, double replayed) {
    return measured > 0 ? 100 * (replayed - measured) / measured : 0.0;
  };
  time.source = absl::StrFormat(
      "fitted by pagedkv fit to %d requests of the run %s (%s, %s on %s): "
      "median TTFT %+.1f %%, median TPOT %+.1f %%",
      errors.requests, run.name, run.engine.empty() ? "an engine" : run.engine,
      run.model.empty() ? "a model" : run.model,
      run.gpu.empty() ? "a GPU" : run.gpu,
      percent(errors.measured_ttft, errors.replayed_ttft),
      percent(errors.measured_tpot, errors.replayed_tpot));
}

}  // namespace

absl::StatusOr<StepFitReport> FitMeasuredRun(MeasuredRun run) {
  StepFitReport report;
  report.run = std::move(run);
  const RequestSet all = [](std::int64_t) { return true; };
  const auto half = static_cast<std::int64_t>(report.run.requests.size() / 2);
  std::array<Task, 3> tasks = {
      {{.name = "all", .fitted = all},
       {.name = "every second",
        .fitted = [](std::int64_t id) { return id % 2 == 0; }},
       {.name = "the first half",
        .fitted = [half](std::int64_t id) { return id < half; }}}};
  {
    const DeferInterrupts deferred;
    RunTasks(
        tasks.size(), /*num_threads=*/0,
        [&](std::size_t i) { RunTask(report.run, tasks[i]); }, [] {});
  }
  for (const Task& task : tasks) {
    const bool is_all = &task == &tasks.front();
    // Few requests may be too few in parts.
    if (!is_all && absl::IsFailedPrecondition(task.fit.status())) continue;
    if (!task.fit.ok()) return task.fit.status();
    if (!task.replayed.ok()) return task.replayed.status();
  }
  report.fit = *std::move(tasks[0].fit);
  report.replayed = *std::move(tasks[0].replayed);
  report.errors = CompareRequests(report.run, report.replayed, all);
  report.figures = CompareRun(report.run, report.replayed);
  NameTime(report, report.fit.time);
  for (std::size_t i = 1; i < tasks.size(); ++i) {
    Task& task = tasks[i];
    if (!task.fit.ok()) continue;
    const RequestSet unseen = [&task](std::int64_t id) {
      return !task.fitted(id);
    };
    report.held_out.push_back(
        {.name = task.name,
         .fit = *task.fit,
         .fitted = CompareRequests(report.run, *task.replayed, task.fitted),
         .unseen = CompareRequests(report.run, *task.replayed, unseen)});
  }
  return report;
}

}  // namespace pagedkv::sim
