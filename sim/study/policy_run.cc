// SPDX-License-Identifier: Apache-2.0
#include "sim/study/policy_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "sim/report/csv.h"
#include "sim/report/metrics.h"
#include "sim/study/hit_bounds.h"
#include "sim/study/interrupt.h"

namespace pagedkv::sim {

PolicyRun::PolicyRun(const SimPlan& plan, const Policy& policy,
                     std::optional<AtomicFile> requests_csv,
                     std::atomic<bool>& failed, RunProgress& progress)
    : plan_(&plan),
      policy_(policy),
      id_(policy.id()),
      requests_csv_(std::move(requests_csv)),
      failed_(&failed),
      progress_(&progress) {}

void PolicyRun::Run(const LoadedWorkload& workload) {
  StatisticsOptions options;
  options.weight = plan_->weight;
  options.window = plan_->window;
  options.num_requests = static_cast<std::int64_t>(workload.requests.size());
  options.window_ns = plan_->simulation.step_ns;
  options.level = plan_->level;
  statistics_.emplace(options);
  progress_->requests_total = options.num_requests;

  SimulationOptions simulation = plan_->simulation;
  simulation.trace_block =
      BlockSize(std::max(1, workload.summary.trace_block_tokens));
  const absl::StatusOr<SimulationTotals> totals =
      Simulate(policy_, simulation, workload.requests, *this);
  status_ = totals.status();
  if (totals.ok()) {
    totals_ = *totals;
    if (simulation.prefix_cache && policy_.kind == PolicyKind::kPaged) {
      const BlockCount blocks =
          (policy_.block_size.FullBlocks(simulation.capacity) - BlockCount(1)) *
          simulation.fleet.num_replicas;
      hit_bounds_ = ComputeHitBounds(workload.requests, simulation.trace_block,
                                     policy_.block_size, blocks);
    }
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
  statistics_->OnRequest(record);
  if (requests_csv_) requests_csv_->Append(RequestRow(id_, record));
  progress_->requests_done.fetch_add(1, std::memory_order_relaxed);
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
