// SPDX-License-Identifier: Apache-2.0
#include "sim/study/capacity_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

SimOptions SmallOptions() {
  SimOptions options;
  options.workload = "sharegpt";
  options.requests = 100;
  options.model = "opt-13b";
  options.policies = "paged-16";
  return options;
}

/// With arrivals, and a pool.
SimOptions FixedOptions() {
  SimOptions options = SmallOptions();
  options.clock = "fixed";
  options.step_time = "20ms";
  return options;
}

CapacityTarget Target(std::string_view name, double limit) {
  for (const TargetMetric& metric : TargetMetrics()) {
    if (metric.name == name) return {metric, limit};
  }
  ADD_FAILURE() << name;
  return {};
}

CapacityReport Plan(const SimOptions& options, CapacityGoal goal,
                    const CapacityTarget& target) {
  CapacityOptions capacity;
  capacity.goal = goal;
  capacity.targets = {target};
  const absl::StatusOr<CapacityReport> report = PlanCapacity(options, capacity);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : CapacityReport{};
}

std::string ErrorOf(const SimOptions& options, CapacityGoal goal) {
  CapacityOptions capacity;
  capacity.goal = goal;
  capacity.targets = {Target("preemption-rate", 0)};
  return std::string(PlanCapacity(options, capacity).status().message());
}

/// The answer meets, and what fails is next to it, to the precision.
void ExpectSharp(const CapacitySearch& search, double precision) {
  ASSERT_TRUE(search.answer.has_value());
  EXPECT_TRUE(search.At(*search.answer).meets);
  bool next_fails = false;
  for (const CapacityProbe& probe : search.probes) {
    const double ratio =
        static_cast<double>(probe.amount) / static_cast<double>(*search.answer);
    next_fails = next_fails || (!probe.meets && ratio <= 1 + precision &&
                                ratio >= 1 / (1 + precision));
  }
  EXPECT_TRUE(next_fails);
}

TEST(CapacityPlanTest, FindsTheSmallestPoolForEachPolicy) {
  SimOptions options = SmallOptions();
  options.policies = "paged-16,contiguous-max";
  const CapacityReport report =
      Plan(options, CapacityGoal::kMemory, Target("preemption-rate", 0.1));
  ASSERT_THAT(report.searches, SizeIs(2));
  ExpectSharp(report.searches[0], 0.01);
  // One request of the model's longest fits: it needs no more.
  EXPECT_EQ(report.searches[1].answer, 2048 / 16);
  EXPECT_THAT(report.targets, SizeIs(2));
  EXPECT_TRUE(report.targets[1].implied);
}

TEST(CapacityPlanTest, FindsTheHighestRate) {
  SimOptions options = FixedOptions();
  options.memory = "4GiB";
  const CapacityReport report =
      Plan(options, CapacityGoal::kRate, Target("ttft-p99", 2));
  ASSERT_THAT(report.searches, SizeIs(1));
  ExpectSharp(report.searches[0], 0.01);
  EXPECT_TRUE(report.searches[0].IsMonotone());
}

TEST(CapacityPlanTest, FindsTheFewestGpus) {
  SimOptions options = FixedOptions();
  options.gpu = "l40s";
  options.requests = 400;
  options.rate = 200;
  const CapacityReport report =
      Plan(options, CapacityGoal::kGpus, Target("ttft-p99", 0.5));
  ASSERT_THAT(report.Best(), SizeIs(1));
  const CapacitySearch& best = *report.Best()[0];
  for (const CapacitySearch& search : report.searches) {
    if (!search.answer) continue;
    EXPECT_GE(search.num_gpus(), best.num_gpus());
  }
  EXPECT_GT(best.num_gpus(), 1);
}

TEST(CapacityPlanTest, AModelThatDoesNotFitIsOneOfSeveralSplits) {
  SimOptions options = FixedOptions();
  options.gpu = "l40s";
  options.weights = "60GB";
  const CapacityReport report =
      Plan(options, CapacityGoal::kGpus, Target("preemption-rate", 10));
  ASSERT_GE(report.searches.size(), 2u);
  EXPECT_THAT(report.searches[0].probes[0].problem,
              HasSubstr("leaves no memory for KV"));
  ASSERT_THAT(report.Best(), SizeIs(1));
  EXPECT_EQ(report.Best()[0]->tensor_parallel, 2);
  options.weights = "60TB";
  EXPECT_THAT(ErrorOf(options, CapacityGoal::kGpus),
              HasSubstr("leaves no memory for KV"));
}

TEST(CapacityPlanTest, WhatNothingMeetsHasNoAnswer) {
  const CapacityReport report =
      Plan(SmallOptions(), CapacityGoal::kMemory, Target("batch", 500));
  EXPECT_TRUE(report.Best().empty());
}

TEST(CapacityPlanTest, TheNumberOfThreadsDoesNotShow) {
  std::string texts[2];
  for (const std::size_t threads : {std::size_t{1}, std::size_t{4}}) {
    CapacityOptions capacity;
    capacity.targets = {Target("preemption-rate", 0.1)};
    capacity.study.num_threads = threads;
    const auto report = PlanCapacity(SmallOptions(), capacity);
    ASSERT_TRUE(report.ok()) << report.status();
    texts[threads == 1 ? 0 : 1] = CapacityToJson(*report);
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST(CapacityPlanTest, WhatIsLookedForMayNotBeGiven) {
  SimOptions options = SmallOptions();
  options.memory = "1GiB";
  EXPECT_THAT(ErrorOf(options, CapacityGoal::kMemory), HasSubstr("--memory"));
  EXPECT_THAT(ErrorOf(options, CapacityGoal::kRate),
              HasSubstr("--maximize rate needs arrival times"));
  EXPECT_THAT(ErrorOf(options, CapacityGoal::kGpus), HasSubstr("--gpu"));
  options = FixedOptions();
  options.memory = "1GiB";
  options.rate = 3;
  EXPECT_THAT(ErrorOf(options, CapacityGoal::kRate), HasSubstr("--rate"));
}

TEST(CapacityPlanTest, AFigureThatTheClockDoesNotHaveIsAnError) {
  CapacityOptions capacity;
  capacity.targets = {Target("ttft-p99", 1)};
  EXPECT_THAT(
      std::string(PlanCapacity(SmallOptions(), capacity).status().message()),
      HasSubstr("--target-ttft-p99: a run as asked for has no such figure"));
}

TEST(CapacityPlanTest, LimitsHaveTheirUnits) {
  EXPECT_EQ(*ParseTargetLimit(Target("ttft-p99", 0).metric, "250ms"), 0.25);
  EXPECT_EQ(*ParseTargetLimit(Target("batch", 0).metric, "250"), 250);
  EXPECT_FALSE(ParseTargetLimit(Target("ttft-p99", 0).metric, "250").ok());
  for (const char* text : {"", "x", "-1", "inf", "nan", "1s"}) {
    EXPECT_FALSE(ParseTargetLimit(Target("batch", 0).metric, text).ok())
        << text;
  }
}

}  // namespace
}  // namespace pagedkv::sim
