// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sim_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/replay/demand_replay.h"
#include "sim/replay/simulation.h"
#include "sim/report/atomic_file.h"
#include "sim/report/chrome_trace.h"
#include "sim/report/csv.h"
#include "sim/report/decimal.h"
#include "sim/report/html/sim_page.h"
#include "sim/report/memory_map.h"
#include "sim/report/report_json.h"
#include "sim/report/run_statistics.h"
#include "sim/report/summary_table.h"
#include "sim/study/hit_bounds.h"
#include "sim/study/interrupt.h"
#include "sim/study/repeated_workload.h"
#include "sim/trace/request_source.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

/// What the runs of all policies share.
struct SharedState {
  std::atomic<std::int64_t> requests_done = 0;
  std::atomic<bool> failed = false;
};

std::size_t NumProcessors() {
  return std::max(1u, std::thread::hardware_concurrency());
}

/// The run of one policy, and what is kept of it. Used by one thread.
class PolicyRun : public SimulationObserver {
 public:
  PolicyRun(const Policy& policy, const StatisticsOptions& options,
            const std::optional<MemoryMapOptions>& map,
            std::optional<AtomicFile> requests_csv, SharedState& shared)
      : policy_(policy),
        id_(policy.id()),
        statistics_(options),
        memory_(map ? std::make_unique<MemoryMapRecorder>(*map) : nullptr),
        requests_csv_(std::move(requests_csv)),
        shared_(shared) {}

  void Run(const SimulationOptions& options,
           std::span<const TraceRequest> requests) {
    End(Simulate(policy_, options, requests, *this));
  }
  /// It was run, with these totals.
  void End(absl::StatusOr<SimulationTotals> totals) {
    totals_ = std::move(totals);
    if (!totals_.ok()) shared_.failed = true;
    TellProgress();
  }

  void OnSample(const Sample& sample) override {
    statistics_.OnSample(sample);
    if (schedule_) schedule_->OnSample(sample);
  }
  void OnAdmission(std::int64_t request, std::int64_t now_ns) override {
    if (schedule_) schedule_->OnAdmission(request, now_ns);
  }
  void OnPreemption(std::int64_t request, std::int64_t now_ns) override {
    if (schedule_) schedule_->OnPreemption(request, now_ns);
  }
  void OnRequest(const RequestRecord& record) override {
    statistics_.OnRequest(record);
    if (schedule_) schedule_->OnRequest(record);
    if (requests_csv_) requests_csv_->Append(RequestRow(id_, record));
    if (++num_untold_ == kTellEvery) TellProgress();
  }
  bool WatchesMemory() const override { return memory_ != nullptr; }
  MemoryVisitor* WatchMemory(const Sample& sample) override {
    // Of a fleet, the first replica's memory.
    const bool watched = memory_ != nullptr && sample.replica == 0;
    return watched && memory_->Wants(sample) ? memory_.get() : nullptr;
  }
  bool ShouldStop() override {
    return Interrupted() || shared_.failed.load(std::memory_order_relaxed);
  }

  [[nodiscard]] const Policy& policy() const { return policy_; }
  [[nodiscard]] const absl::StatusOr<SimulationTotals>& totals() const {
    return totals_;
  }
  [[nodiscard]] const RunStatistics& statistics() const { return statistics_; }
  /// From now on records its schedule, as that process of a trace.
  void RecordSchedule(int process) { schedule_.emplace(process, id_); }
  /// Missing if `RecordSchedule` was not called.
  [[nodiscard]] std::optional<ChromeTraceProcess>& schedule() {
    return schedule_;
  }
  /// Null if none was asked for.
  [[nodiscard]] MemoryMapRecorder* memory() { return memory_.get(); }
  /// REQUIRES: it was given one.
  [[nodiscard]] AtomicFile& requests_csv() { return *requests_csv_; }

 private:
  /// Few enough for people, and many enough that threads do not fight over one
  /// count.
  static constexpr std::int64_t kTellEvery = 1000;

  void TellProgress() {
    shared_.requests_done.fetch_add(num_untold_, std::memory_order_relaxed);
    num_untold_ = 0;
  }

  Policy policy_;
  std::string id_;
  RunStatistics statistics_;
  std::unique_ptr<MemoryMapRecorder> memory_;
  std::optional<ChromeTraceProcess> schedule_;
  std::optional<AtomicFile> requests_csv_;
  SharedState& shared_;
  std::int64_t num_untold_ = 0;  // requests done, and not counted there
  absl::StatusOr<SimulationTotals> totals_ = absl::UnknownError("not run");
};

/// A line on stderr that is written over, and cleared in the end.
class ProgressLine {
 public:
  explicit ProgressLine(bool enabled) : enabled_(enabled) {}
  ~ProgressLine() {
    if (enabled_) std::fputs("\r\x1b[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const std::string& text) const {
    if (!enabled_) return;
    std::fputs(absl::StrFormat("\r\x1b[Kpagedkv sim: %s", text).c_str(),
               stderr);
  }

 private:
  bool enabled_;
};

using Job = std::function<void()>;

/// Does the jobs, as many at a time as there are processors, and says on the
/// way how far they are.
void DoAll(const std::vector<Job>& jobs, bool progress,
           const std::function<std::string()>& how_far) {
  constexpr std::chrono::milliseconds kProgressInterval(200);
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t num_finished = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < jobs.size(); i = next++) jobs[i]();
    const std::lock_guard lock(mutex);
    ++num_finished;
    changed.notify_one();
  };
  const std::size_t num_workers = std::min(jobs.size(), NumProcessors());
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < num_workers; ++i) workers.emplace_back(work);

  const ProgressLine line(progress);
  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, kProgressInterval,
                           [&] { return num_finished == num_workers; })) {
    line.Show(how_far());
  }
}

/// Says how many of all requests of all policies are done.
std::function<std::string()> Percentage(std::int64_t num_requests,
                                        std::size_t num_policies,
                                        const SharedState& shared) {
  const std::int64_t total =
      num_requests * static_cast<std::int64_t>(num_policies);
  return [total, &shared] {
    return absl::StrFormat("%d %%", 100 * shared.requests_done / total);
  };
}

void RunAll(const SimulationOptions& options,
            std::span<const TraceRequest> requests,
            std::vector<PolicyRun>& runs, bool progress, SharedState& shared) {
  std::vector<Job> jobs;
  for (PolicyRun& run : runs) {
    jobs.emplace_back([&] { run.Run(options, requests); });
  }
  DoAll(jobs, progress,
        Percentage(static_cast<std::int64_t>(requests.size()), runs.size(),
                   shared));
}

/// Counts what another source hands out.
class CountedSource : public RequestSource {
 public:
  CountedSource(RequestSource& source, std::atomic<std::int64_t>& count)
      : source_(source), count_(count) {}
  absl::StatusOr<bool> Next(TraceRequest& request) override {
    count_.store(++num_, std::memory_order_relaxed);
    return source_.Next(request);
  }

 private:
  RequestSource& source_;
  std::atomic<std::int64_t>& count_;
  std::int64_t num_ = 0;
};

/// A demand run in closed form, which goes through the workload twice.
class DemandStudy {
 public:
  static bool IsPossible(const SimPlan& plan) {
    return std::all_of(plan.policies.begin(), plan.policies.end(),
                       [&](const Policy& policy) {
                         return HasClosedForm(policy, plan.simulation);
                       });
  }

  /// Finds how much memory each policy needs. FailedPrecondition where turns
  /// wait for others: that has no closed form.
  static absl::StatusOr<DemandStudy> Create(const SimPlan& plan,
                                            bool progress) {
    std::atomic<std::int64_t> num_read = 0;
    absl::StatusOr<Demand> demand = absl::UnknownError("not measured");
    absl::StatusOr<RepeatedWorkload> workload =
        absl::UnknownError("not measured");
    const Job measure = [&] {
      workload =
          RepeatedWorkload::Create(plan.workload, [&](RequestSource& source) {
            CountedSource counted(source, num_read);
            demand = MeasureDemand(plan.policies, plan.simulation, counted,
                                   Interrupted);
            return demand.status();
          });
    };
    DoAll({measure}, progress, [&] {
      return absl::StrFormat("%s requests sized", Grouped(num_read));
    });
    if (!workload.ok()) return workload.status();
    return DemandStudy(*std::move(workload), *std::move(demand));
  }

  /// `runs` are those of the plan's policies.
  void RunAll(const SimulationOptions& options, std::vector<PolicyRun>& runs,
              bool progress, SharedState& shared) const {
    // A pass serves several policies: no more of them than are made at a time.
    const std::size_t num_passes = std::min(runs.size(), NumProcessors());
    std::vector<Job> jobs;
    for (std::size_t first = 0; first < num_passes; ++first) {
      jobs.emplace_back([this, first, num_passes, &options, &runs] {
        RunSome(first, num_passes, options, runs);
      });
    }
    DoAll(jobs, progress, Percentage(num_requests(), runs.size(), shared));
  }

  [[nodiscard]] std::int64_t num_requests() const {
    return demand_.num_requests;
  }
  [[nodiscard]] const TraceSummary& summary() const {
    return workload_.summary();
  }

 private:
  DemandStudy(RepeatedWorkload workload, Demand demand)
      : workload_(std::move(workload)), demand_(std::move(demand)) {}

  /// Every `step`-th run from `first` on.
  void RunSome(std::size_t first, std::size_t step,
               const SimulationOptions& options,
               std::vector<PolicyRun>& runs) const {
    std::vector<DemandRun> some;
    for (std::size_t i = first; i < runs.size(); i += step) {
      some.push_back({.policy = runs[i].policy(),
                      .capacity = demand_.capacities[i],
                      .observer = &runs[i]});
    }
    absl::StatusOr<std::vector<SimulationTotals>> totals;
    const absl::Status done = workload_.Repeat([&](RequestSource& source) {
      totals = ReplayDemand(some, options, source);
      return totals.status();
    });
    for (std::size_t i = 0; i < some.size(); ++i) {
      PolicyRun& run = runs[first + i * step];
      if (done.ok()) {
        run.End((*totals)[i]);
      } else {
        run.End(done);
      }
    }
  }

  RepeatedWorkload workload_;
  Demand demand_;
};

/// Cancelled comes second: where one policy fails, the others are stopped.
absl::Status FirstError(const std::vector<PolicyRun>& runs) {
  absl::Status cancelled;
  for (const PolicyRun& run : runs) {
    const absl::Status& status = run.totals().status();
    if (status.ok()) continue;
    if (!absl::IsCancelled(status)) {
      return absl::Status(status.code(),
                          absl::StrFormat("%s: %s", run.policy().id(),
                                          std::string(status.message())));
    }
    cancelled = status;
  }
  return cancelled;
}

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

absl::StatusOr<std::vector<PolicyRun>> PrepareRuns(const SimPlan& plan,
                                                   const SimRunOptions& options,
                                                   std::int64_t num_requests,
                                                   SharedState& shared) {
  StatisticsOptions statistics;
  statistics.weight = plan.weight;
  statistics.window = plan.window;
  statistics.num_requests = num_requests;
  statistics.window_ns = plan.simulation.step_ns;
  statistics.level = plan.level;

  std::optional<MemoryMapOptions> map;
  if (options.out) map = plan.memory_map;

  std::vector<PolicyRun> runs;
  runs.reserve(plan.policies.size());
  for (const Policy& policy : plan.policies) {
    std::optional<AtomicFile> requests_csv;
    if (options.out) {
      absl::StatusOr<AtomicFile> part =
          AtomicFile::Create(*options.out / ("requests.csv." + policy.id()));
      if (!part.ok()) return part.status();
      requests_csv.emplace(*std::move(part));
    }
    runs.emplace_back(policy, statistics, map, std::move(requests_csv), shared);
    if (options.chrome_trace) {
      runs.back().RecordSchedule(static_cast<int>(runs.size()));
    }
  }
  return runs;
}

Report MakeReport(const SimPlan& plan, TraceSummary trace,
                  const std::vector<PolicyRun>& runs) {
  Report report;
  report.inputs.trace = std::move(trace);
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
  report.version = PAGEDKV_VERSION;
  for (const PolicyRun& run : runs) {
    PolicyResult result;
    result.policy = run.policy();
    result.totals = *run.totals();
    result.metrics = ComputeMetrics(run.statistics(), run.policy(),
                                    plan.simulation.clock, plan.workload.seed);
    result.requests = run.statistics().requests();
    result.latency = run.statistics().latency();
    result.num_events = run.statistics().num_events();
    report.results.push_back(std::move(result));
  }
  return report;
}

absl::Status AddKvCacheGroups(const SimPlan& plan, Report& report) {
  if (!plan.hybrid) return absl::OkStatus();
  absl::StatusOr<KvGroupsReport> groups = ComputeKvGroupUse(
      *plan.hybrid, report.results.front().requests.lengths());
  if (!groups.ok()) return groups.status();
  report.kv_cache_groups = *std::move(groups);
  return absl::OkStatus();
}

void AddHitBounds(std::span<const TraceRequest> requests,
                  const SimulationOptions& simulation, Report& report) {
  for (PolicyResult& result : report.results) {
    if (!UsesPrefixCache(report, result)) continue;
    const BlockSize block = result.policy.block_size;
    result.hit_bounds = ComputeHitBounds(
        requests, simulation.trace_block, block,
        (block.FullBlocks(simulation.capacity) - BlockCount(1)) *
            simulation.fleet.num_replicas);
  }
}

}  // namespace

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
  if (DemandStudy::IsPossible(plan)) {
    absl::StatusOr<DemandStudy> created =
        DemandStudy::Create(plan, options.progress);
    if (created.ok()) {
      demand.emplace(*std::move(created));
      workload.summary = demand->summary();
    } else if (!absl::IsFailedPrecondition(created.status())) {
      return created.status();
    }
  }
  if (!demand.has_value()) {
    absl::StatusOr<LoadedWorkload> loaded = LoadWorkload(plan.workload);
    if (!loaded.ok()) return loaded.status();
    workload = *std::move(loaded);
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
  SharedState shared;
  absl::StatusOr<std::vector<PolicyRun>> runs =
      PrepareRuns(plan, options, workload.summary.kept, shared);
  if (!runs.ok()) return runs.status();
  SimulationOptions simulation = plan.simulation;
  simulation.trace_block =
      BlockSize(std::max(1, workload.summary.trace_block_tokens));
  if (demand.has_value()) {
    demand->RunAll(simulation, *runs, options.progress, shared);
  } else {
    RunAll(simulation, workload.requests, *runs, options.progress, shared);
  }
  if (absl::Status status = FirstError(*runs); !status.ok()) return status;

  Report report = MakeReport(plan, std::move(workload.summary), *runs);
  AddHitBounds(workload.requests, simulation, report);
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
  return report;
}

}  // namespace pagedkv::sim
