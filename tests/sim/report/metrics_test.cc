// SPDX-License-Identifier: Apache-2.0
#include "sim/report/metrics.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

const Policy kPaged{};
const Policy kContiguous{PolicyKind::kContiguousMax, BlockSize(16)};

RunStatistics ExampleRun(int num_steps,
                         WindowKind window = WindowKind::kSaturated) {
  StatisticsOptions options;
  options.window = window;
  options.num_requests = 1'000;
  RunStatistics statistics(options);
  RunExample(num_steps, statistics);
  return statistics;
}

TEST(MetricsTest, EachPercentageHasItsOwnDenominator) {
  const Metrics metrics =
      ComputeMetrics(ExampleRun(40), kPaged, ClockKind::kFixed, 1);
  EXPECT_DOUBLE_EQ(metrics.waste_pct->mean, 100.0 * 410 / 810);
  EXPECT_DOUBLE_EQ(metrics.waste_hard_pct->mean, 100.0 * 280 / 810);
  EXPECT_DOUBLE_EQ(metrics.waste_soft_pct->mean, 100.0 * 130 / 810);
  EXPECT_DOUBLE_EQ(metrics.waste_intrinsic_pct->mean, 100.0 * 350 / 750);
}

TEST(MetricsTest, ThePapersFourStatesSumToThePool) {
  const Metrics metrics =
      ComputeMetrics(ExampleRun(40), kPaged, ClockKind::kFixed, 1);
  EXPECT_DOUBLE_EQ(metrics.token_pct->mean, 40);
  EXPECT_DOUBLE_EQ(metrics.reserved_pct->mean, 10);
  EXPECT_DOUBLE_EQ(metrics.internal_pct->mean, 20);
  EXPECT_DOUBLE_EQ(metrics.external_and_others_pct->mean, 30);
}

TEST(MetricsTest, TheElevenCausesSumToTheWholeExactly) {
  const Metrics metrics =
      ComputeMetrics(ExampleRun(7), kPaged, ClockKind::kFixed, 1);
  EXPECT_EQ(
      std::accumulate(metrics.causes_millionths_pct.begin(),
                      metrics.causes_millionths_pct.end(), std::int64_t{0}),
      kMillionthsPctPerWhole);
  EXPECT_EQ(metrics.causes_millionths_pct[0], 40'000'000);
}

TEST(MetricsTest, IntervalsNeedTwentyWindows) {
  const Metrics few =
      ComputeMetrics(ExampleRun(19), kPaged, ClockKind::kFixed, 1);
  EXPECT_EQ(few.num_windows, 19u);
  EXPECT_FALSE(few.token_pct->interval.has_value());
  const Metrics enough =
      ComputeMetrics(ExampleRun(20), kPaged, ClockKind::kFixed, 1);
  ASSERT_TRUE(enough.token_pct->interval.has_value());
  // Nothing varies.
  EXPECT_DOUBLE_EQ(enough.token_pct->interval->lo, 40);
  EXPECT_DOUBLE_EQ(enough.token_pct->interval->hi, 40);
}

TEST(MetricsTest, FragmentationIsForThoseWhoNeedOnePiece) {
  // 240 slots are free, 60 of them in one piece.
  EXPECT_DOUBLE_EQ(
      *ComputeMetrics(ExampleRun(5), kContiguous, ClockKind::kFixed, 1)
           .frag_index,
      0.75);
  EXPECT_FALSE(ComputeMetrics(ExampleRun(5), kPaged, ClockKind::kFixed, 1)
                   .frag_index.has_value());
}

TEST(MetricsTest, WasteInHoursNeedsAClockThatHasTime) {
  EXPECT_DOUBLE_EQ(
      *ComputeMetrics(ExampleRun(3600), kPaged, ClockKind::kFixed, 1)
           .waste_slot_hours,
      410);
  EXPECT_FALSE(
      ComputeMetrics(ExampleRun(3600), kPaged, ClockKind::kIteration, 1)
          .waste_slot_hours.has_value());
}

TEST(MetricsTest, FallsBackToTheWholeRunAndSaysSo) {
  StatisticsOptions options;
  options.window = WindowKind::kSaturated;
  options.num_requests = 3;  // all of them were admitted: a single drain
  RunStatistics statistics(options);
  RunExample(5, statistics);
  const Metrics metrics =
      ComputeMetrics(statistics, kPaged, ClockKind::kFixed, 1);
  EXPECT_TRUE(metrics.fell_back);
  EXPECT_EQ(metrics.window, WindowKind::kAll);
  EXPECT_DOUBLE_EQ(metrics.token_pct->mean, 40);
  EXPECT_DOUBLE_EQ(metrics.batch_mean->mean, 3);
  EXPECT_EQ(metrics.batch_max, 3);
}

TEST(MetricsTest, ARunWithoutSamplesHasNoMeans) {
  const Metrics metrics =
      ComputeMetrics(ExampleRun(0), kPaged, ClockKind::kFixed, 1);
  EXPECT_FALSE(metrics.token_pct.has_value());
  EXPECT_FALSE(metrics.batch_mean.has_value());
  EXPECT_FALSE(metrics.fell_back);
  EXPECT_EQ(metrics.num_windows, 0u);
}

TEST(MetricsTest, BatchQuantilesAreWeighted) {
  StatisticsOptions options;
  options.window = WindowKind::kAll;
  RunStatistics statistics(options);
  std::int64_t now = 0;
  const auto run = [&](std::int32_t batch, std::int64_t duration) {
    Sample sample;
    sample.begin_ns = now;
    sample.duration_ns = duration;
    sample.running = batch;
    statistics.OnSample(sample);
    now += duration;
  };
  run(5, 60);
  run(9, 38);
  run(40, 2);
  const Metrics metrics =
      ComputeMetrics(statistics, kPaged, ClockKind::kFixed, 1);
  EXPECT_EQ(metrics.batch_p50, 5);
  EXPECT_EQ(metrics.batch_p99, 40);
  EXPECT_EQ(metrics.batch_max, 40);
  EXPECT_DOUBLE_EQ(metrics.batch_mean->mean,
                   (5 * 60 + 9 * 38 + 40 * 2) / 100.0);
}

}  // namespace
}  // namespace pagedkv::sim
