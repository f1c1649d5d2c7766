// SPDX-License-Identifier: Apache-2.0
#include "sim/study/policy_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "sim/report/csv.h"
#include "sim/report/metrics.h"
#include "sim/study/hit_bounds.h"
#include "sim/study/interrupt.h"
#include "sim/study/repeated_workload.h"
#include "sim/trace/request_source.h"

namespace pagedkv::sim {
namespace {

// A source that belongs to somebody else.
class Forward : public RequestSource {
 public:
  explicit Forward(RequestSource& source) : source_(source) {}
  absl::StatusOr<bool> Next(TraceRequest& request) override {
    return source_.Next(request);
  }

 private:
  RequestSource& source_;
};

}  // namespace

PolicyRun::PolicyRun(const SimPlan& plan, const Policy& policy,
                     PolicyRunFiles files, std::atomic<bool>& failed,
                     RunProgress& progress)
    : plan_(&plan),
      policy_(policy),
      id_(policy.id()),
      memory_(files.memory_map
                  ? std::make_unique<MemoryMapRecorder>(plan.memory_map)
                  : nullptr),
      requests_csv_(std::move(files.requests_csv)),
      admission_log_csv_(std::move(files.admission_log)),
      admission_log_(id_),
      failed_(&failed),
      progress_(&progress) {
  if (files.schedule_process > 0) {
    schedule_.emplace(files.schedule_process, id_);
  }
}

void PolicyRun::Run(const LoadedWorkload& workload) {
  Begin(static_cast<std::int64_t>(workload.requests.size()));
  SimulationOptions simulation = plan_->simulation;
  simulation.trace_block =
      BlockSize(std::max(1, workload.summary.trace_block_tokens));
  End(Simulate(policy_, simulation, workload.requests, *this));
  if (!status_.ok() || !simulation.prefix_cache ||
      policy_.kind != PolicyKind::kPaged) {
    return;
  }
  // Of a fleet, the blocks of all its pools together.
  const BlockCount blocks =
      (policy_.block_size.FullBlocks(simulation.capacity) - BlockCount(1)) *
      simulation.fleet.num_replicas;
  hit_bounds_ = ComputeHitBounds(workload.requests, simulation.trace_block,
                                 policy_.block_size, blocks);
}

void PolicyRun::Run(const RepeatedWorkload& workload) {
  Begin(workload.summary().kept);
  SimulationOptions simulation = plan_->simulation;
  simulation.trace_block =
      BlockSize(std::max(1, workload.summary().trace_block_tokens));
  absl::StatusOr<SimulationTotals> totals = absl::UnknownError("not run");
  const absl::Status done = workload.Repeat([&](RequestSource& source) {
    const auto open = [&source] { return std::make_unique<Forward>(source); };
    totals = Simulate(policy_, simulation, open, *this);
    return totals.status();
  });
  if (done.ok()) {
    End(totals);
  } else {
    End(done);
  }
}

void PolicyRun::Begin(std::int64_t num_requests) {
  StatisticsOptions options;
  options.weight = plan_->weight;
  options.window = plan_->window;
  options.num_requests = num_requests;
  options.window_ns = plan_->simulation.step_ns;
  options.level = plan_->level;
  statistics_.emplace(options);
  progress_->requests_total = num_requests;
}

void PolicyRun::End(const absl::StatusOr<SimulationTotals>& totals) {
  TellProgress();
  if (admission_log_csv_) {
    admission_log_.Finish();
    admission_log_csv_->Append(admission_log_.TakeLines());
  }
  status_ = totals.status();
  if (totals.ok()) {
    totals_ = *totals;
    return;
  }
  *failed_ = true;
  if (!absl::IsCancelled(status_)) {
    status_ = absl::Status(
        status_.code(),
        absl::StrFormat("%s: %s", id_, std::string(status_.message())));
  }
}

void PolicyRun::OnRequest(const RequestRecord& record) {
  // Few enough for people, and so many that threads do not fight over a count.
  constexpr std::int64_t kTellEvery = 1000;
  statistics_->OnRequest(record);
  if (schedule_) schedule_->OnRequest(record);
  if (requests_csv_) requests_csv_->Append(RequestRow(id_, record));
  if (++num_untold_ == kTellEvery) TellProgress();
}

MemoryVisitor* PolicyRun::WatchMemory(const Sample& sample) {
  // Of a fleet, the first replica's memory.
  const bool watched = memory_ != nullptr && sample.replica == 0;
  return watched && memory_->Wants(sample) ? memory_.get() : nullptr;
}

void PolicyRun::LogAdmission(const Sample& sample) {
  admission_log_.OnSample(sample);
  admission_log_csv_->Append(admission_log_.TakeLines());
}

void PolicyRun::TellProgress() {
  progress_->requests_done.fetch_add(num_untold_, std::memory_order_relaxed);
  num_untold_ = 0;
}

bool PolicyRun::ShouldStop() {
  return Interrupted() || failed_->load(std::memory_order_relaxed);
}

PolicyResult PolicyRun::Result() const {
  PolicyResult result;
  result.policy = policy_;
  result.totals = totals_;
  result.metrics = ComputeMetrics(
      *statistics_, policy_, plan_->simulation.clock, plan_->workload.seed);
  result.requests = statistics_->requests();
  result.latency = statistics_->latency();
  result.hit_bounds = hit_bounds_;
  result.num_events = statistics_->num_events();
  return result;
}

}  // namespace pagedkv::sim
