// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "sim/replay/policy.h"
#include "sim/report/atomic_file.h"
#include "sim/report/html/study_pages.h"
#include "sim/study/interrupt.h"
#include "sim/study/option_checks.h"
#include "sim/study/sim_plan.h"
#include "sim/study/task_pool.h"

namespace pagedkv::sim {
namespace {

/// "block-size=16 memory=1GiB".
std::string NameOf(const std::vector<SweepParameter>& parameters,
                   const SweepPoint& point) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    texts.push_back(parameters[i].name + '=' + point.values[i]);
  }
  return absl::StrJoin(texts, " ");
}

absl::Status WriteFiles(const std::filesystem::path& out,
                        const SweepReport& sweep) {
  const struct {
    const char* name;
    std::string (*render)(const SweepReport&);
  } files[] = {{"sweep.csv", SweepToCsv},
               {"sweep.md", SweepToMarkdown},
               {"sweep.html", SweepPage},
               {"sweep.json", SweepToJson}};
  std::vector<AtomicFile> open;
  for (const auto& [name, render] : files) {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(out / name);
    if (!file.ok()) return file.status();
    open.push_back(*std::move(file));
    open.back().Append(render(sweep));
  }
  if (Interrupted()) return absl::CancelledError("interrupted");
  for (AtomicFile& file : open) {
    if (absl::Status status = file.Commit(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetPagedBlockSize(std::int32_t block_size, SimOptions& options) {
  std::vector<std::string> ids;
  std::optional<std::int32_t> had;
  for (const auto piece : absl::StrSplit(options.policies, ',')) {
    std::string id(piece);
    const absl::StatusOr<Policy> policy = Policy::Parse(id);
    if (!policy.ok()) return InOption("--policies", policy.status());
    if (policy->kind == PolicyKind::kPaged) {
      if (!had) had = policy->block_size.value();
      id = absl::StrFormat("paged-%d", block_size);
    }
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  if (!had) {
    return OptionError("--sweep block-size needs a paged policy in --policies");
  }
  if (options.num_blocks && !options.block_size) options.block_size = had;
  options.policies = absl::StrJoin(ids, ",");
  return absl::OkStatus();
}

absl::StatusOr<SweepReport> RunSweep(std::vector<SweepParameter> parameters,
                                     const std::vector<SweepPoint>& points,
                                     const SweepOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.out) {
    absl::Status status = MakeOutFolder(*options.out);
    if (!status.ok()) return status;
  }
  SweepReport sweep;
  sweep.version = PAGEDKV_VERSION;
  std::vector<SimPlan> plans;
  for (const SweepPoint& point : points) {
    SweepRun run{point.values, std::nullopt, ""};
    absl::StatusOr<SimPlan> plan = MakeSimPlan(point.options);
    if (plan.ok()) {
      plans.push_back(*std::move(plan));
    } else if (absl::IsFailedPrecondition(plan.status())) {
      run.problem = std::string(plan.status().message());
    } else {
      return InOption(NameOf(parameters, point), plan.status());
    }
    sweep.runs.push_back(std::move(run));
  }
  if (plans.empty()) {
    return absl::FailedPreconditionError(NameOf(parameters, points.front()) +
                                         ": " + sweep.runs.front().problem);
  }
  // Each thread may be at another one.
  WorkloadCache workloads(NumThreads(options.study.num_threads));
  absl::StatusOr<std::vector<Report>> reports =
      RunSimPlans(plans, options.study, workloads);
  if (!reports.ok()) return reports.status();
  auto report = reports->begin();
  for (SweepRun& run : sweep.runs) {
    if (run.problem.empty()) run.report = std::move(*report++);
  }
  sweep.parameters = std::move(parameters);
  if (options.timing) {
    sweep.wall_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
  }
  if (options.out) {
    absl::Status status = WriteFiles(*options.out, sweep);
    if (!status.ok()) return status;
  }
  return sweep;
}

}  // namespace pagedkv::sim
