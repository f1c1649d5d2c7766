// SPDX-License-Identifier: Apache-2.0
#include "sim/report/summary_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_split.h"

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SummaryTableTest, EchoesThePoolFirstAndSaysWhatThePercentagesAreOf) {
  const std::vector<std::string> lines =
      absl::StrSplit(SummaryToText(ExampleReport()), '\n');
  ASSERT_GE(lines.size(), 8u);
  EXPECT_EQ(lines[0],
            "pool: 1,000 slots (976.56 KiB), from --memory; model: opt-13b, "
            "1,000 B per token");
  EXPECT_EQ(lines[1],
            "workload: conv.csv (azure), 1,000 of 1,010 requests, 22,361,870 "
            "prompt and 4,088,665 output tokens");
  EXPECT_EQ(lines[2],
            "percent of the pool; weight: time; window: saturated, without "
            "warm-up and drain; maximum length: 2,048 tokens; clock: fixed, 1 "
            "s per step");
  EXPECT_EQ(lines[3], "goodput: TTFT within 3 s");
}

TEST(SummaryTableTest, HasThePapersColumnsAndALineForEachPolicy) {
  const std::vector<std::string> lines =
      absl::StrSplit(SummaryToText(ExampleReport()), '\n');
  ASSERT_GE(lines.size(), 14u);
  // 410 slots of 1,000 bytes wasted for 40 s are 0.0000046 GB hours.
  EXPECT_EQ(lines[5],
            "policy         |  token % +- | reserved % | internal % | ext & "
            "other % | batch | vs base | preempt | GB-h wasted");
  EXPECT_EQ(lines[6],
            "contiguous-max | 40.0 +- 0.0 |       10.0 |       20.0 |          "
            "30.0 |  1.50 |   1.00x |   1,234 |        0.00");
  EXPECT_EQ(lines[7],
            "paged-16       | 40.0 +- 0.0 |       10.0 |       20.0 |          "
            "30.0 |  3.00 |   2.00x |   1,234 |        0.00");
}

TEST(SummaryTableTest, TimesHaveATableOfTheirOwn) {
  const std::vector<std::string> lines =
      absl::StrSplit(SummaryToText(ExampleReport()), '\n');
  ASSERT_GE(lines.size(), 14u);
  EXPECT_EQ(lines[10],
            "policy         | TTFT p50 s |   p90 |   p99 | TPOT p50 ms |     "
            "p99 | e2e p50 s |   p99 | queue p99 s | tokens/s | requests/s | "
            "goodput %");
  EXPECT_EQ(lines[11],
            "contiguous-max |      3.001 | 4.000 | 4.000 |     100.000 | "
            "100.000 |     3.601 | 4.600 |       2.000 |      0.5 |      0.075 "
            "|      66.7");
}

TEST(SummaryTableTest, WhatAnIgnoredArrivalLeavesOpenIsADash) {
  Report report = ExampleReport();
  report.simulation.saturate = true;
  EXPECT_THAT(
      SummaryToText(report),
      HasSubstr("\npaged-16       |          - |   - |   - |     100.000 "
                "| 100.000 |         - |   - |           - |"));
  report.simulation.clock = ClockKind::kIteration;
  EXPECT_THAT(SummaryToText(report), Not(HasSubstr("TTFT p50")));
}

TEST(SummaryTableTest, TheModelClockIsNamedWithItsSource) {
  Report report = ExampleReport();
  report.simulation.clock = ClockKind::kModel;
  report.simulation.step_time = {
      .preset = "fit", .model = "another", .source = "fitted to a run"};
  const std::string text = SummaryToText(report);
  EXPECT_THAT(text, HasSubstr("; clock: model, fit\n"));
  EXPECT_THAT(text, HasSubstr("\nstep times: fitted to a run\n"));
  EXPECT_THAT(
      report.Warnings(),
      ::testing::Contains("the step times of fit are of another, not opt-13b"));
}

TEST(SummaryTableTest, ConcatSaysWhatGrowingCosts) {
  EXPECT_THAT(SummaryToText(ExampleReport()),
              HasSubstr("concat: copies 5,000 slots (4.77 MiB) to grow, and "
                        "holds up to 12 slots (11.72 KiB) twice meanwhile\n"));
}

TEST(SummaryTableTest, SaysWhoWastesMostAndWhoMakesNoProgress) {
  Report report = ExampleReport();
  report.results[1].totals.max_preemptions_per_request = 7;
  report.results[1].totals.livelocked_requests = 2;
  report.results[2].totals.preemptions = 0;
  const std::string text = SummaryToText(report);
  EXPECT_THAT(
      text, HasSubstr("paged-16: half of the requests waste at most 100 slots "
                      "each, 99 of 100 at most 200; most: request 2 (200), 1 "
                      "(100)\n"));
  EXPECT_THAT(text,
              HasSubstr("paged-16: preempts one request up to 7 times and "
                        "computes 0 tokens again; 2 requests without "
                        "progress (livelock)\n"));
  EXPECT_THAT(text, HasSubstr("contiguous-max: preempts one request up to 0 "
                              "times and computes 0 tokens again; no request "
                              "without progress (livelock)\n"));
  EXPECT_THAT(text, Not(HasSubstr("concat: preempts")));
}

TEST(SummaryTableTest, SaysWhatTheWasteCostsWhereThereIsAPrice) {
  Report report = ExampleReport();
  EXPECT_THAT(SummaryToText(report), Not(HasSubstr("USD")));
  report.usd_per_gpu_hour = 9;
  report.pool.num_gpus = 2;
  // 410 of 1,000 slots of 2 GPUs, for 40 s at 9 USD an hour.
  EXPECT_THAT(SummaryToText(report),
              HasSubstr("paged-16: waste is the memory of 0.820 of 2 GPUs, "
                        "0.0820 USD in this run"));
  report.simulation.clock = ClockKind::kIteration;
  EXPECT_THAT(SummaryToText(report),
              HasSubstr("paged-16: waste is the memory of 0.820 of 2 GPUs\n"));
}

TEST(SummaryTableTest, ThreeBlockSizesShowTheirKnee) {
  Report report = ExampleReport();
  EXPECT_THAT(SummaryToText(report), Not(HasSubstr("knee")));
  report.results[0].policy = {PolicyKind::kPaged, BlockSize(8)};
  report.results[2].policy = {PolicyKind::kPaged, BlockSize(32)};
  report.results[2].metrics.waste_intrinsic_pct->mean += 5;
  EXPECT_THAT(SummaryToText(report),
              HasSubstr("\nknee of the block size: 16 tokens waste 46.7 %"));
}

TEST(ReportCostTest, IsMissingWithoutAPoolAPriceOrATime) {
  Report report = ExampleReport();
  const PolicyResult& result = report.results[1];
  EXPECT_NEAR(*report.Cost(result).gpu_equivalent, 0.41, 1e-9);
  EXPECT_FALSE(report.Cost(result).usd.has_value());
  report.simulation.demand = true;
  EXPECT_FALSE(report.Cost(result).gpu_equivalent.has_value());
}

TEST(ReportCostTest, AFleetHasTheGpusOfAllItsReplicas) {
  Report report = ExampleReport();
  report.pool.num_gpus = 2;
  report.simulation.fleet.num_replicas = 3;
  EXPECT_EQ(report.num_gpus(), 6);
  EXPECT_NEAR(*report.Cost(report.results[1]).gpu_equivalent, 6 * 0.41, 1e-9);
}

TEST(SummaryTableTest, DemandSaysWhatEachPolicyNeeds) {
  Report report = ExampleReport();
  report.simulation.demand = true;
  report.pool.slots.reset();
  const std::string text = SummaryToText(report);
  EXPECT_THAT(text, ::testing::StartsWith("pool: unbounded (--demand); "));
  EXPECT_THAT(text, HasSubstr("paged-16: needs 1,000 slots (976.56 KiB) at its "
                              "peak\n"));
}

TEST(SummaryTableTest, WhatIsMissingIsADash) {
  Report report = ExampleReport();
  for (PolicyResult& result : report.results) result.metrics = Metrics{};
  EXPECT_THAT(SummaryToText(report),
              HasSubstr("|          - |          - |          - |             "
                        "- |     - |       - |"));
}

TEST(SummaryTableTest, MarkdownHasATableAndTheWarnings) {
  const std::string text = SummaryToMarkdown(ExampleReport());
  EXPECT_THAT(text, HasSubstr("\n| policy | token % +- | reserved % "));
  EXPECT_THAT(text, HasSubstr("\n| paged-16 | 40.0 +- 0.0 | 10.0 | 20.0 | 30.0 "
                              "| 3.00 | 2.00x | 1,234 | 0.00 |\n"));
  EXPECT_THAT(text, HasSubstr("\n- warning: dropped 7 of 1,010 requests of "
                              "conv.csv: longer than 2,048 tokens, the context "
                              "of opt-13b; --max-seq-len sets another limit"));
}

TEST(SummaryTableTest, CsvCarriesTheConditionsInItsRows) {
  const std::vector<std::string> lines =
      absl::StrSplit(SummaryToCsv(ExampleReport()), '\n');
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[2],
            "paged-16,time,saturated,2048,40.000000,40.000000,40.000000,"
            "10.000000,20.000000,30.000000,3.000000,2.000000,1234,0.000005,"
            "3.000000,3.001025,4.000000,4.000000,0.100000,0.100000,0.100000,"
            "0.100000,3.600000,3.600810,4.600000,4.600000,1.000000,0.999817,"
            "2.000000,2.000000,0.525000,0.075000,66.666667");
}

TEST(ReportTest, WarnsOfEverythingThatWasLeftOut) {
  Report report = ExampleReport();
  report.model.max_is_models_own = false;
  report.results[0].totals.rejected = 4;
  report.results[1].totals.livelocked_requests = 2;
  report.results[1].metrics.fell_back = true;
  report.results[2].metrics.fell_back = true;
  EXPECT_THAT(
      report.Warnings(),
      ElementsAre(
          "dropped 7 of 1,010 requests of conv.csv: longer than 2,048 tokens, "
          "which --max-seq-len sets",
          "dropped 3 of 1,010 requests of conv.csv: no output tokens",
          "contiguous-max: rejected 4 requests that can never fit into the "
          "pool",
          "paged-16: 2 requests were preempted more than 3 times in a row "
          "without progress",
          "paged-16, concat: nothing is left of window saturated without "
          "warm-up and "
          "drain: the figures are of the whole run"));
}

}  // namespace
}  // namespace pagedkv::sim
