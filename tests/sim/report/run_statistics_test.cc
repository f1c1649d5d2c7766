// SPDX-License-Identifier: Apache-2.0
#include "sim/report/run_statistics.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kCapacity = 1000;

Sample Step(std::int64_t begin_ns, std::int64_t duration_ns,
            std::int64_t tokens, std::int32_t running,
            std::int32_t waiting = 0) {
  Sample sample;
  sample.begin_ns = begin_ns;
  sample.duration_ns = duration_ns;
  sample.is_step = true;
  sample.slots[Cause::kToken] = tokens;
  sample.slots[Cause::kIdle] = kCapacity - tokens;
  sample.running = running;
  sample.waiting = waiting;
  sample.largest_free_slots = kCapacity - tokens;
  return sample;
}

RequestRecord Finished() { return RequestRecord{}; }

RequestRecord Rejected() {
  RequestRecord record;
  record.rejected = true;
  return record;
}

StatisticsWindow Total(const RunStatistics& statistics) {
  StatisticsWindow total;
  for (const StatisticsWindow& window : statistics.windows()) total += window;
  return total;
}

absl::int128 Tokens(const ExactIntegrals& integrals) {
  return integrals.slots[static_cast<std::size_t>(Cause::kToken)];
}

TEST(RunStatisticsTest, SumsSlotNanosecondsExactlyHoweverWindowsFall) {
  // Durations and widths share no factor, so that most samples are split.
  StatisticsOptions options;
  options.window_ns = 1000;
  options.max_windows = 8;
  RunStatistics statistics(options);
  std::mt19937_64 random(3);
  absl::int128 tokens = 0;
  std::int64_t now = 0;
  std::int64_t preemptions = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto duration = static_cast<std::int64_t>(random() % 7919);
    Sample sample =
        Step(now, duration, static_cast<std::int64_t>(random() % kCapacity),
             static_cast<std::int32_t>(random() % 20));
    sample.preemptions = static_cast<std::int32_t>(random() % 3);
    statistics.OnSample(sample);
    tokens += absl::int128(sample.slots[Cause::kToken]) * duration;
    preemptions += sample.preemptions;
    now += duration;
  }
  const StatisticsWindow total = Total(statistics);
  EXPECT_EQ(total.time.weight, now);
  EXPECT_EQ(Tokens(total.time), tokens);
  EXPECT_EQ(total.preemptions, preemptions);
  // Every window but the last is covered to the nanosecond.
  for (std::size_t i = 0; i + 1 < statistics.windows().size(); ++i) {
    EXPECT_EQ(statistics.windows()[i].time.weight, statistics.window_ns());
  }
}

TEST(RunStatisticsTest, KeepsBetweenHalfAndAllOfItsWindowsAtAnyLength) {
  StatisticsOptions options;
  options.window_ns = 10;
  options.max_windows = 16;
  RunStatistics statistics(options);
  for (std::int64_t step = 0; step < 10'000; ++step) {
    statistics.OnSample(Step(step * 10, 10, step % kCapacity, 1));
    ASSERT_LE(statistics.windows().size(), 16u);
    if (step >= 16) {
      ASSERT_GE(statistics.windows().size(), 8u);
    }
  }
  // 10 ns times a power of two: 16 windows of 10,240 ns are more than 100,000.
  EXPECT_EQ(statistics.window_ns(), 10'240);
}

TEST(RunStatisticsTest, OneLongSampleReachesPastManyWindows) {
  StatisticsOptions options;
  options.window_ns = 10;
  options.max_windows = 4;
  RunStatistics statistics(options);
  statistics.OnSample(Step(0, 10, 500, 1));
  statistics.OnSample(Step(10, 1'000'000'007, 300, 1));
  const StatisticsWindow total = Total(statistics);
  EXPECT_EQ(total.time.weight, 1'000'000'017);
  EXPECT_EQ(Tokens(total.time), 500 * 10 + absl::int128(300) * 1'000'000'007);
}

TEST(RunStatisticsTest, WeighsStepsAlikeAndWaitsNotAtAllByIteration) {
  StatisticsOptions options;
  options.weight = Weight::kIteration;
  options.window = WindowKind::kAll;
  RunStatistics statistics(options);
  statistics.OnSample(Step(0, 5, 100, 1));
  Sample wait = Step(5, 1'000'000'000, 0, 0);
  wait.is_step = false;
  statistics.OnSample(wait);
  statistics.OnSample(Step(1'000'000'005, 500, 300, 3));
  const StatisticsWindow total = Total(statistics);
  EXPECT_EQ(total.all.weight, 2);
  EXPECT_EQ(Tokens(total.all), 400);
  EXPECT_EQ(total.selected.running, 4);
  EXPECT_EQ(total.time.weight, 1'000'000'505);
}

TEST(RunStatisticsTest, LeavesOutWarmUpAndDrain) {
  // Five requests; two are resident at a time.
  StatisticsOptions options;
  options.window = WindowKind::kBusy;
  options.num_requests = 5;
  RunStatistics statistics(options);
  statistics.OnSample(Step(0, 1, 1, 2, 3));     // warm-up: none has finished
  statistics.OnRequest(Finished());             // 1
  statistics.OnSample(Step(1, 1, 10, 2, 2));    // 1 finished, 2 resident
  statistics.OnRequest(Finished());             // 2
  statistics.OnSample(Step(2, 1, 100, 2, 1));   // counts
  statistics.OnRequest(Rejected());             // one will never be resident
  statistics.OnSample(Step(3, 1, 1000, 1, 1));  // counts: one still waits
  statistics.OnSample(Step(4, 1, 17, 2, 0));    // drain: all were admitted
  EXPECT_EQ(Tokens(Total(statistics).selected), 1100);
  EXPECT_EQ(Tokens(Total(statistics).all), 1128);
}

TEST(RunStatisticsTest, ATightenedWarmUpDoesNotComeBackWhenTheBatchGrows) {
  StatisticsOptions options;
  options.num_requests = 100;
  RunStatistics statistics(options);
  statistics.OnRequest(Finished());
  statistics.OnSample(Step(0, 1, 5, 1));
  statistics.OnSample(Step(1, 1, 7, 50));
  EXPECT_EQ(Tokens(Total(statistics).selected), 12);
}

TEST(RunStatisticsTest, SaturatedNeedsAWaitingRequestAndBusyAResidentOne) {
  for (const WindowKind window : {WindowKind::kBusy, WindowKind::kSaturated}) {
    StatisticsOptions options;
    options.window = window;
    options.num_requests = 100;
    RunStatistics statistics(options);
    statistics.OnRequest(Finished());
    statistics.OnSample(Step(0, 1, 1, 1, 0));
    statistics.OnSample(Step(1, 1, 10, 1, 1));
    statistics.OnSample(Step(2, 1, 100, 0, 1));
    EXPECT_EQ(Tokens(Total(statistics).selected),
              window == WindowKind::kBusy ? 11 : 110)
        << WindowName(window);
  }
}

TEST(RunStatisticsTest, KeepsTheDistributionOfTheBatch) {
  StatisticsOptions options;
  options.num_requests = 100;
  RunStatistics statistics(options);
  statistics.OnSample(Step(0, 3, 1, 4));
  statistics.OnRequest(Finished());
  statistics.OnSample(Step(3, 2, 1, 1));
  ASSERT_EQ(statistics.batch(/*selected=*/false).size(), 5u);
  EXPECT_EQ(statistics.batch(false)[4], 3);
  EXPECT_EQ(statistics.batch(false)[1], 2);
  ASSERT_EQ(statistics.batch(/*selected=*/true).size(), 2u);
  EXPECT_EQ(statistics.batch(true)[1], 2);
}

}  // namespace
}  // namespace pagedkv::sim
