// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sim_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/report/atomic_file.h"
#include "sim/report/chrome_trace.h"
#include "sim/report/csv.h"
#include "sim/report/html/sim_page.h"
#include "sim/report/kv_group_use.h"
#include "sim/report/report_json.h"
#include "sim/report/summary_table.h"
#include "sim/study/demand_study.h"
#include "sim/study/interrupt.h"
#include "sim/study/policy_run.h"
#include "sim/study/repeated_workload.h"
#include "sim/study/task_pool.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

/// The files of a report, which appear together at the end.
class ReportFiles {
 public:
  static absl::StatusOr<ReportFiles> Create(const std::filesystem::path& out) {
    ReportFiles files;
    for (const char* name : {"requests.csv", "timeseries.csv", "report.md",
                             "report.html", "report.json"}) {
      absl::StatusOr<AtomicFile> file = AtomicFile::Create(out / name);
      if (!file.ok()) return file.status();
      files.files_.push_back(*std::move(file));
    }
    return files;
  }

  absl::Status Write(const Report& report, std::vector<PolicyRun>& runs) {
    files_[0].Append(kRequestsHeader);
    files_[1].Append(kTimeseriesHeader);
    std::vector<PolicyCourse> courses;
    for (PolicyRun& run : runs) {
      courses.push_back({run.policy(), &run.statistics(), run.memory()});
      absl::Status status = files_[0].Append(run.requests_csv());
      if (!status.ok()) return status;
      files_[1].Append(TimeseriesRows(run.policy().id(), run.statistics()));
    }
    files_[2].Append(SummaryToMarkdown(report));
    files_[3].Append(SimPage(report, courses));
    files_[4].Append(ReportToJson(report));
    if (Interrupted()) return absl::CancelledError("interrupted");
    for (AtomicFile& file : files_) {
      absl::Status status = file.Commit();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  std::vector<AtomicFile> files_;
};

absl::Status WriteChromeTrace(std::vector<PolicyRun>& runs, AtomicFile& file) {
  std::vector<std::string> processes;
  for (PolicyRun& run : runs) {
    if (run.schedule()) processes.push_back(run.schedule()->TakeEvents());
  }
  file.Append(ChromeTrace(processes));
  return file.Commit();
}

/// Cancelled comes second: where one run fails, the others are stopped.
absl::Status FirstError(const std::vector<absl::Status>& statuses) {
  absl::Status cancelled;
  for (const absl::Status& status : statuses) {
    if (status.ok()) continue;
    if (!absl::IsCancelled(status)) return status;
    cancelled = status;
  }
  return cancelled;
}

double MeanShare(const std::deque<RunProgress>& progress) {
  const double sum = std::transform_reduce(
      progress.begin(), progress.end(), 0.0, std::plus<>(),
      [](const RunProgress& each) { return each.share(); });
  return sum / static_cast<double>(progress.size());
}

Report MakeReport(const SimPlan& plan, const TraceSummary& trace,
                  std::vector<PolicyResult> results) {
  Report report;
  report.inputs.trace = trace;
  if (plan.workload.rate > 0) report.inputs.rate_rps = plan.workload.rate;
  if (plan.workload.requests > 0) {
    report.inputs.requests = plan.workload.requests;
  }
  report.inputs.seed = plan.workload.seed;
  report.model = plan.model;
  report.pool = plan.pool;
  report.simulation = plan.simulation;
  report.weight = plan.weight;
  report.window = plan.window;
  report.level = plan.level;
  report.usd_per_gpu_hour = plan.usd_per_gpu_hour;
  report.version = PAGEDKV_VERSION;
  report.results = std::move(results);
  return report;
}

absl::Status WriteAdmissionLog(std::vector<PolicyRun>& runs, AtomicFile& file) {
  file.Append(kAdmissionLogHeader);
  for (PolicyRun& run : runs) {
    absl::Status status = file.Append(run.admission_log_csv());
    if (!status.ok()) return status;
  }
  return file.Commit();
}

absl::Status AddKvCacheGroups(const SimPlan& plan, Report& report) {
  if (!plan.hybrid) return absl::OkStatus();
  absl::StatusOr<KvGroupsReport> groups = ComputeKvGroupUse(
      *plan.hybrid, report.results.front().requests.lengths());
  if (!groups.ok()) return groups.status();
  report.kv_cache_groups = *std::move(groups);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PolicyRun>> PrepareRuns(
    const SimPlan& plan, const SimRunOptions& options,
    std::atomic<bool>& failed, std::deque<RunProgress>& progress) {
  std::vector<PolicyRun> runs;
  runs.reserve(plan.policies.size());
  for (const Policy& policy : plan.policies) {
    PolicyRunFiles files;
    if (options.out) {
      absl::StatusOr<AtomicFile> part =
          AtomicFile::Create(*options.out / ("requests.csv." + policy.id()));
      if (!part.ok()) return part.status();
      files.requests_csv.emplace(*std::move(part));
      files.memory_map = true;
    }
    if (options.admission_log) {
      absl::StatusOr<AtomicFile> part = AtomicFile::Create(
          options.admission_log->string() + "." + policy.id());
      if (!part.ok()) return part.status();
      files.admission_log.emplace(*std::move(part));
    }
    if (options.chrome_trace) {
      files.schedule_process = static_cast<int>(runs.size()) + 1;
    }
    runs.emplace_back(plan, policy, std::move(files), failed,
                      progress[runs.size()]);
  }
  return runs;
}

/// Reads the workload into memory, or only its summary, and how to go through
/// it again, where it is large.
absl::Status Load(const SimPlan& plan, const SimRunOptions& options,
                  LoadedWorkload& workload,
                  std::optional<RepeatedWorkload>& streamed) {
  if (plan.simulation.prefix_cache) {  // its bounds need all requests at once
    absl::StatusOr<LoadedWorkload> loaded = LoadWorkload(plan.workload);
    if (!loaded.ok()) return loaded.status();
    workload = *std::move(loaded);
    return absl::OkStatus();
  }
  bool is_large = false;
  absl::StatusOr<RepeatedWorkload> repeated = RepeatedWorkload::Create(
      plan.workload, [&](RequestSource& source) -> absl::Status {
        TraceRequest request;
        for (;;) {
          const absl::StatusOr<bool> more = source.Next(request);
          if (!more.ok()) return more.status();
          if (!*more) return absl::OkStatus();
          is_large =
              is_large || workload.requests.size() == options.max_held_requests;
          if (is_large) {
            workload.requests = {};
          } else {
            workload.requests.push_back(request);
          }
        }
      });
  if (!repeated.ok()) return repeated.status();
  workload.summary = repeated->summary();
  if (is_large) streamed.emplace(*std::move(repeated));
  return absl::OkStatus();
}

/// A pass over the workload serves several policies: no more passes than are
/// made at a time.
void RunDemand(const DemandStudy& demand, const SimPlan& plan,
               const TraceSummary& summary, std::size_t num_threads,
               std::vector<PolicyRun>& runs,
               const std::function<void()>& tick) {
  SimulationOptions simulation = plan.simulation;
  simulation.trace_block = BlockSize(std::max(1, summary.trace_block_tokens));
  for (PolicyRun& run : runs) run.Begin(summary.kept);
  const std::size_t num_passes = std::min(runs.size(), NumThreads(num_threads));
  RunTasks(
      num_passes, num_threads,
      [&](std::size_t i) { demand.RunSome(i, num_passes, simulation, runs); },
      tick);
}

/// One policy of one plan.
struct Task {
  std::size_t plan;
  std::size_t policy;
};

}  // namespace

absl::StatusOr<std::vector<Report>> RunSimPlans(std::span<const SimPlan> plans,
                                                const StudyOptions& options,
                                                WorkloadCache& workloads) {
  std::vector<Task> tasks;
  std::vector<std::vector<PolicyResult>> results(plans.size());
  std::vector<TraceSummary> traces(plans.size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    results[i].resize(plans[i].policies.size());
    for (std::size_t j = 0; j < results[i].size(); ++j) tasks.push_back({i, j});
  }
  // Those that share a workload one after another, so that it is loaded once.
  std::vector<WorkloadOptions> distinct;
  std::vector<std::size_t> workload_of;
  for (const SimPlan& plan : plans) {
    auto found = std::find(distinct.begin(), distinct.end(), plan.workload);
    if (found == distinct.end()) found = distinct.insert(found, plan.workload);
    workload_of.push_back(static_cast<std::size_t>(found - distinct.begin()));
  }
  std::sort(tasks.begin(), tasks.end(), [&](const Task& a, const Task& b) {
    return std::tuple(workload_of[a.plan], a.plan, a.policy) <
           std::tuple(workload_of[b.plan], b.plan, b.policy);
  });

  std::atomic<bool> failed = false;
  std::deque<RunProgress> progress(tasks.size());
  std::vector<absl::Status> statuses(tasks.size());
  const ProgressLine line(options.progress);
  const DeferInterrupts deferred;
  RunTasks(
      tasks.size(), options.num_threads,
      [&](std::size_t i) {
        if (failed || Interrupted()) {
          statuses[i] = absl::CancelledError("interrupted");
          return;
        }
        const Task& task = tasks[i];
        const SimPlan& plan = plans[task.plan];
        const absl::StatusOr<WorkloadCache::Workload> workload =
            workloads.Load(plan.workload);
        statuses[i] = workload.status();
        if (!workload.ok()) {
          failed = true;
          return;
        }
        PolicyRun run(plan, plan.policies[task.policy], {}, failed,
                      progress[i]);
        run.Run(**workload);
        statuses[i] = run.status();
        if (!run.status().ok()) return;
        results[task.plan][task.policy] = run.Result();
        if (task.policy == 0) traces[task.plan] = (*workload)->summary;
      },
      [&] { line.Show(options.command, MeanShare(progress)); });
  if (absl::Status status = FirstError(statuses); !status.ok()) return status;

  std::vector<Report> reports;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    reports.push_back(MakeReport(plans[i], traces[i], std::move(results[i])));
    absl::Status status = AddKvCacheGroups(plans[i], reports.back());
    if (!status.ok()) return status;
  }
  return reports;
}

absl::StatusOr<Report> RunSimPlan(const SimPlan& plan,
                                  const SimRunOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  // Before the long work, so that it is not in vain.
  if (options.out) {
    absl::Status status = MakeOutFolder(*options.out);
    if (!status.ok()) return status;
  }
  LoadedWorkload workload;  // without requests where a study streams them
  std::optional<DemandStudy> demand;
  if (!options.chrome_trace && DemandStudy::IsPossible(plan)) {
    absl::StatusOr<DemandStudy> created = DemandStudy::Create(plan);
    if (created.ok()) {
      demand.emplace(*std::move(created));
      workload.summary = demand->summary();
    } else if (!absl::IsFailedPrecondition(created.status())) {
      return created.status();
    }
  }
  std::optional<RepeatedWorkload> streamed;
  if (!demand) {
    absl::Status status = Load(plan, options, workload, streamed);
    if (!status.ok()) return status;
  }

  const DeferInterrupts deferred;
  std::optional<ReportFiles> files;
  if (options.out) {
    absl::StatusOr<ReportFiles> created = ReportFiles::Create(*options.out);
    if (!created.ok()) return created.status();
    files.emplace(*std::move(created));
  }
  std::optional<AtomicFile> chrome_trace;
  if (options.chrome_trace) {
    absl::StatusOr<AtomicFile> created =
        AtomicFile::Create(*options.chrome_trace);
    if (!created.ok()) return created.status();
    chrome_trace.emplace(*std::move(created));
  }
  std::optional<AtomicFile> admission_log;
  if (options.admission_log) {
    absl::StatusOr<AtomicFile> created =
        AtomicFile::Create(*options.admission_log);
    if (!created.ok()) return created.status();
    admission_log.emplace(*std::move(created));
  }
  std::atomic<bool> failed = false;
  std::deque<RunProgress> progress(plan.policies.size());
  absl::StatusOr<std::vector<PolicyRun>> runs =
      PrepareRuns(plan, options, failed, progress);
  if (!runs.ok()) return runs.status();
  {
    const ProgressLine line(options.progress);
    const auto tick = [&] { line.Show("sim", MeanShare(progress)); };
    if (demand) {
      RunDemand(*demand, plan, workload.summary, options.num_threads, *runs,
                tick);
    } else {
      RunTasks(
          runs->size(), options.num_threads,
          [&](std::size_t i) {
            if (streamed) {
              (*runs)[i].Run(*streamed);
            } else {
              (*runs)[i].Run(workload);
            }
          },
          tick);
    }
  }
  std::vector<absl::Status> statuses;
  for (const PolicyRun& run : *runs) statuses.push_back(run.status());
  if (absl::Status status = FirstError(statuses); !status.ok()) return status;

  std::vector<PolicyResult> results;
  for (const PolicyRun& run : *runs) results.push_back(run.Result());
  Report report = MakeReport(plan, workload.summary, std::move(results));
  if (absl::Status status = AddKvCacheGroups(plan, report); !status.ok()) {
    return status;
  }
  if (options.timing) {
    report.wall_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
  }
  if (files) {
    absl::Status status = files->Write(report, *runs);
    if (!status.ok()) return status;
  }
  if (chrome_trace) {
    absl::Status status = WriteChromeTrace(*runs, *chrome_trace);
    if (!status.ok()) return status;
  }
  if (admission_log) {
    absl::Status status = WriteAdmissionLog(*runs, *admission_log);
    if (!status.ok()) return status;
  }
  return report;
}

}  // namespace pagedkv::sim
