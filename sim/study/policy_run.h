// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_POLICY_RUN_H_
#define SIM_STUDY_POLICY_RUN_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "sim/replay/simulation.h"
#include "sim/report/admission_log.h"
#include "sim/report/atomic_file.h"
#include "sim/report/chrome_trace.h"
#include "sim/report/memory_map.h"
#include "sim/report/report.h"
#include "sim/report/run_statistics.h"
#include "sim/study/repeated_workload.h"
#include "sim/study/sim_plan.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {

/// How far one policy's run is: written by its thread, read by any.
struct RunProgress {
  std::atomic<std::int64_t> requests_done = 0;
  std::atomic<std::int64_t> requests_total = 0;  ///< 0: not begun

  [[nodiscard]] double share() const {
    const std::int64_t total = requests_total;
    return total == 0 ? 0
                      : static_cast<double>(requests_done) /
                            static_cast<double>(total);
  }
};

/// What a run leaves beside its result.
struct PolicyRunFiles {
  std::optional<AtomicFile> requests_csv = {};
  std::optional<AtomicFile> admission_log = {};
  bool memory_map = false;
  /// Its process in a Chrome trace; 0: no schedule is recorded.
  int schedule_process = 0;
};

/// The run of one policy of a plan, and what is kept of it. Used by one thread.
class PolicyRun : public SimulationObserver {
 public:
  /// All but `policy` outlive the run. Where `failed` is set, by this run or by
  /// another, the run stops (Cancelled).
  PolicyRun(const SimPlan& plan, const Policy& policy, PolicyRunFiles files,
            std::atomic<bool>& failed, RunProgress& progress);

  void Run(const LoadedWorkload& workload);
  /// The same in a pass of its own over a workload that is not held in memory,
  /// without bounds of what a prefix cache hits.
  void Run(const RepeatedWorkload& workload);
  /// What `Run` is made of, for whoever simulates himself, with the run as
  /// observer.
  void Begin(std::int64_t num_requests);
  void End(const absl::StatusOr<SimulationTotals>& totals);

  void OnSample(const Sample& sample) override {
    statistics_->OnSample(sample);
    if (schedule_) schedule_->OnSample(sample);
    if (admission_log_csv_) LogAdmission(sample);
  }
  void OnAdmission(std::int64_t request, std::int64_t now_ns) override {
    if (schedule_) schedule_->OnAdmission(request, now_ns);
  }
  void OnPreemption(std::int64_t request, std::int64_t now_ns) override {
    if (schedule_) schedule_->OnPreemption(request, now_ns);
  }
  void OnRequest(const RequestRecord& record) override;
  [[nodiscard]] bool WatchesMemory() const override {
    return memory_ != nullptr;
  }
  MemoryVisitor* WatchMemory(const Sample& sample) override;
  bool ShouldStop() override;

  [[nodiscard]] const Policy& policy() const { return policy_; }
  /// Not OK if it was not run, or failed: an error names the policy.
  [[nodiscard]] const absl::Status& status() const { return status_; }
  /// REQUIRES: status() is OK, as for all below.
  [[nodiscard]] PolicyResult Result() const;
  [[nodiscard]] const RunStatistics& statistics() const { return *statistics_; }
  /// Null if none was asked for.
  [[nodiscard]] MemoryMapRecorder* memory() { return memory_.get(); }
  /// Missing if it was not asked for.
  [[nodiscard]] std::optional<ChromeTraceProcess>& schedule() {
    return schedule_;
  }
  /// REQUIRES: it was given one.
  [[nodiscard]] AtomicFile& requests_csv() { return *requests_csv_; }

  /// REQUIRES: it was given one.
  [[nodiscard]] AtomicFile& admission_log_csv() { return *admission_log_csv_; }

 private:
  void TellProgress();
  void LogAdmission(const Sample& sample);

  const SimPlan* plan_;
  Policy policy_;
  std::string id_;
  std::optional<RunStatistics> statistics_;
  std::unique_ptr<MemoryMapRecorder> memory_;
  std::optional<ChromeTraceProcess> schedule_;
  std::optional<AtomicFile> requests_csv_;
  std::optional<AtomicFile> admission_log_csv_;
  AdmissionLog admission_log_;
  std::atomic<bool>* failed_;
  RunProgress* progress_;
  std::int64_t num_untold_ = 0;  // requests done, and not in progress_
  SimulationTotals totals_;
  std::optional<HitBounds> hit_bounds_;
  absl::Status status_ = absl::UnknownError("not run");
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_POLICY_RUN_H_
