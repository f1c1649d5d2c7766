// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sim_run.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/replay/simulation.h"
#include "sim/report/report_json.h"
#include "sim/report/run_statistics.h"
#include "sim/study/sim_plan.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

SimPlan DemandPlan() {
  SimOptions options;
  options.workload = "azure-week-2024";
  options.requests = 2'000;
  options.policies =
      "contiguous-max,contiguous-pow2,contiguous-oracle,concat,paged-16";
  options.model = "llama-3-8b";
  options.demand = true;
  options.clock = "fixed";
  options.step_time = "20ms";
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

// A demand run takes another way than step by step, to the same report.
TEST(SimRunTest, ReportsOfADemandRunWhatStepByStepComesTo) {
  const SimPlan plan = DemandPlan();
  const absl::StatusOr<Report> report = RunSimPlan(plan, {});
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->results.size(), plan.policies.size());

  const absl::StatusOr<LoadedWorkload> workload = LoadWorkload(plan.workload);
  ASSERT_TRUE(workload.ok());
  EXPECT_EQ(report->inputs.trace.sha256, workload->summary.sha256);
  EXPECT_EQ(report->inputs.trace.kept, workload->summary.kept);
  for (std::size_t i = 0; i < plan.policies.size(); ++i) {
    SCOPED_TRACE(plan.policies[i].id());
    RunStatistics statistics(
        {.weight = plan.weight,
         .window = plan.window,
         .num_requests = static_cast<std::int64_t>(workload->requests.size()),
         .window_ns = plan.simulation.step_ns});
    const auto totals = Simulate(plan.policies[i], plan.simulation,
                                 workload->requests, statistics);
    ASSERT_TRUE(totals.ok()) << totals.status();
    const PolicyResult& result = report->results[i];
    const Metrics expected =
        ComputeMetrics(statistics, plan.policies[i], plan.simulation.clock,
                       plan.workload.seed);
    EXPECT_EQ(result.policy, plan.policies[i]);
    EXPECT_EQ(result.num_events, statistics.num_events());
    EXPECT_EQ(result.totals.capacity_slots, totals->capacity_slots);
    EXPECT_EQ(result.totals.end_ns, totals->end_ns);
    EXPECT_EQ(result.metrics.causes_millionths_pct,
              expected.causes_millionths_pct);
    EXPECT_EQ(result.metrics.batch_mean->mean, expected.batch_mean->mean);
    EXPECT_EQ(result.requests.WasteQuantile(0.9),
              statistics.requests().WasteQuantile(0.9));
  }
}

// What is too large to be held is gone through by each policy, to the same
// report, byte by byte.
TEST(SimRunTest, AStreamedWorkloadGivesTheSameReport) {
  SimOptions options;
  options.workload = "azure-conv-2023";
  options.requests = 400;
  options.policies = "contiguous-oracle,paged-16";
  options.model = "llama-3-8b";
  options.memory = "8GiB";
  for (const char* clock : {"iteration", "fixed"}) {
    options.clock = clock;
    if (options.clock == "fixed") options.step_time = "20ms";
    const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::StatusOr<Report> held = RunSimPlan(*plan, {});
    SimRunOptions small;
    small.max_held_requests = 10;
    const absl::StatusOr<Report> streamed = RunSimPlan(*plan, small);
    ASSERT_TRUE(held.ok()) << held.status();
    ASSERT_TRUE(streamed.ok()) << streamed.status();
    EXPECT_EQ(ReportToJson(*streamed), ReportToJson(*held));
    EXPECT_GT(held->results[0].totals.finished, 100);
  }
}

TEST(SimRunTest, SaysWhatASyntheticWorkloadIsDrawnFrom) {
  const absl::StatusOr<Report> report = RunSimPlan(DemandPlan(), {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->inputs.trace.synthetic_from,
            "azure-conv-2024 and azure-code-2024 merged, whose weeks differ");
}

}  // namespace
}  // namespace pagedkv::sim
