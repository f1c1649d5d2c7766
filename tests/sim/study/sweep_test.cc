// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

#include "sim/report/report_json.h"
#include "sim/study/sim_plan.h"
#include "sim/study/workload_cache.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

SimOptions SmallOptions() {
  SimOptions options;
  options.workload = "sharegpt";
  options.requests = 120;
  options.model = "opt-13b";
  options.memory = "4GiB";
  options.policies = "paged-16,contiguous-max";
  return options;
}

/// A sweep of two parameters, whose second one changes the workload.
std::vector<SweepPoint> SmallPoints() {
  std::vector<SweepPoint> points;
  for (const int max_num_seqs : {4, 16}) {
    for (const int seed : {1, 2}) {
      SweepPoint point{{std::to_string(max_num_seqs), std::to_string(seed)},
                       SmallOptions()};
      point.options.max_num_seqs = max_num_seqs;
      point.options.seed = seed;
      points.push_back(std::move(point));
    }
  }
  return points;
}

const std::vector<SweepParameter> kSmallParameters = {
    {"max-num-seqs", {"4", "16"}}, {"seed", {"1", "2"}}};

SweepReport Sweep(const std::vector<SweepParameter>& parameters,
                  const std::vector<SweepPoint>& points,
                  std::size_t num_threads = 2) {
  SweepOptions options;
  options.study.num_threads = num_threads;
  absl::StatusOr<SweepReport> sweep = RunSweep(parameters, points, options);
  EXPECT_TRUE(sweep.ok()) << sweep.status();
  return sweep.ok() ? *std::move(sweep) : SweepReport{};
}

TEST(SweepTest, EachRunIsWhatItWouldBeAlone) {
  const SweepReport sweep = Sweep(kSmallParameters, SmallPoints());
  ASSERT_THAT(sweep.runs, SizeIs(4));
  const std::vector<SweepPoint> points = SmallPoints();
  for (std::size_t i = 0; i < points.size(); ++i) {
    const absl::StatusOr<SimPlan> plan = MakeSimPlan(points[i].options);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const absl::StatusOr<Report> alone = RunSimPlan(*plan, {});
    ASSERT_TRUE(alone.ok()) << alone.status();
    ASSERT_TRUE(sweep.runs[i].report.has_value());
    EXPECT_EQ(ReportToJson(*sweep.runs[i].report), ReportToJson(*alone)) << i;
  }
}

TEST(SweepTest, TheNumberOfThreadsDoesNotShow) {
  const std::string one =
      SweepToJson(Sweep(kSmallParameters, SmallPoints(), 1));
  EXPECT_EQ(SweepToJson(Sweep(kSmallParameters, SmallPoints(), 5)), one);
}

TEST(SweepTest, ThereIsALineForEachRunAndPolicy) {
  const SweepReport sweep = Sweep(kSmallParameters, SmallPoints());
  const std::string csv = SweepToCsv(sweep);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4 * 2);
  EXPECT_THAT(csv, HasSubstr("max-num-seqs,seed,policy,weight,"));
  EXPECT_THAT(csv, HasSubstr("\n16,2,contiguous-max,time,saturated,2048,"));
  const std::string text = SweepToText(sweep);
  EXPECT_THAT(text, HasSubstr("sweep: 4 combinations of max-num-seqs, seed\n"
                              "pool: 5,242 slots (4.00 GiB)"));
  EXPECT_THAT(text, HasSubstr("\n16           | 2    | contiguous-max | "));
  EXPECT_THAT(SweepToMarkdown(sweep), HasSubstr("\n| 16 | 2 | paged-16 | "));
}

TEST(SweepTest, WhatCannotBeIsPartOfTheReport) {
  std::vector<SweepPoint> points = {{{"a100-80gb"}, SmallOptions()},
                                    {{"l40s"}, SmallOptions()}};
  for (SweepPoint& point : points) {
    point.options.memory.reset();
    point.options.gpu = point.values[0];
    point.options.weights = "60GB";
  }
  const SweepReport sweep = Sweep({{"gpu", {"a100-80gb", "l40s"}}}, points);
  ASSERT_THAT(sweep.runs, SizeIs(2));
  EXPECT_TRUE(sweep.runs[0].report.has_value());
  EXPECT_FALSE(sweep.runs[1].report.has_value());
  EXPECT_THAT(sweep.runs[1].problem, HasSubstr("leaves no memory for KV"));
  EXPECT_THAT(SweepToText(sweep),
              HasSubstr("\ngpu=l40s is not possible: --gpu l40s: "));
  EXPECT_THAT(SweepToCsv(sweep), HasSubstr("\nl40s,,,"));
  const auto json = nlohmann::json::parse(SweepToJson(sweep));
  EXPECT_TRUE(json["runs"][1]["report"].is_null());
  EXPECT_TRUE(json["runs"][0]["problem"].is_null());

  points.erase(points.begin());
  EXPECT_THAT(
      std::string(RunSweep({{"gpu", {"l40s"}}}, points, {}).status().message()),
      HasSubstr("gpu=l40s: --gpu l40s: model opt-13b leaves no"));
}

TEST(SweepTest, AnyOtherMistakeEndsTheSweepAndSaysWhere) {
  std::vector<SweepPoint> points = SmallPoints();
  points[3].options.policies = "paged-0";
  EXPECT_THAT(
      std::string(RunSweep(kSmallParameters, points, {}).status().message()),
      HasSubstr("max-num-seqs=16 seed=2: --policies: "));
}

TEST(SweepTest, FilesAreWrittenTogether) {
  const std::filesystem::path out = ::testing::TempDir() + "pagedkv_sweep_test";
  std::filesystem::remove_all(out);
  SweepOptions options;
  options.out = out;
  ASSERT_TRUE(RunSweep(kSmallParameters, SmallPoints(), options).ok());
  for (const char* name :
       {"sweep.html", "sweep.json", "sweep.csv", "sweep.md"}) {
    EXPECT_TRUE(std::filesystem::exists(out / name)) << name;
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(out), {}), 4);
  std::filesystem::remove_all(out);
}

TEST(SweepTest, TheKneeOfTheBlockSizeIsFoundForEachSetting) {
  std::vector<SweepPoint> points;
  const SweepParameter sizes{"block-size", {"8", "16", "32", "64"}};
  const SweepParameter memories{"memory", {"4GiB", "8GiB"}};
  for (const std::string& memory : memories.values) {
    for (const std::string& size : sizes.values) {
      SweepPoint point{{memory, size}, SmallOptions()};
      point.options.memory = memory;
      ASSERT_TRUE(SetPagedBlockSize(std::stoi(size), point.options).ok());
      points.push_back(std::move(point));
    }
  }
  const SweepReport sweep = Sweep({memories, sizes}, points);
  const std::vector<SweepKnee> knees = sweep.Knees();
  ASSERT_THAT(knees, SizeIs(2));
  EXPECT_THAT(
      knees[1].parameters,
      ElementsAre(std::pair<std::string, std::string>("memory", "8GiB")));
  for (const SweepKnee& knee : knees) {
    ASSERT_THAT(knee.knee.curve, SizeIs(4));
    EXPECT_EQ(knee.knee.block_size(), 16);
    for (std::size_t i = 1; i < 4; ++i) {
      EXPECT_GT(knee.knee.curve[i].waste_pct, knee.knee.curve[i - 1].waste_pct);
    }
  }
  EXPECT_THAT(SweepToText(sweep),
              HasSubstr("\nmemory=8GiB: knee of the block size: 16 tokens "));
  const auto json = nlohmann::json::parse(SweepToJson(sweep));
  EXPECT_EQ(json["knees"][0]["block_size"], 16);
}

TEST(SetPagedBlockSizeTest, ReplacesPagedPoliciesAndKeepsThePool) {
  SimOptions options = SmallOptions();
  options.policies = "paged-16,contiguous-max,paged-32";
  options.memory.reset();
  options.num_blocks = 100;
  ASSERT_TRUE(SetPagedBlockSize(64, options).ok());
  EXPECT_EQ(options.policies, "paged-64,contiguous-max");
  EXPECT_EQ(options.block_size, 16);
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->pool.slots, TokenCount(1600));

  options.policies = "contiguous-max";
  EXPECT_THAT(std::string(SetPagedBlockSize(64, options).message()),
              HasSubstr("needs a paged policy"));
}

TEST(WorkloadCacheTest, EqualOptionsShareAWorkload) {
  WorkloadOptions options;
  options.workload = "alpaca";
  options.requests = 10;
  WorkloadOptions other = options;
  other.seed = 1;
  WorkloadCache cache(1);
  const auto first = cache.Load(options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, *cache.Load(options));
  EXPECT_NE(*first, *cache.Load(other));
  // It was dropped meanwhile, and is loaded again; who has it keeps it.
  const auto again = cache.Load(options);
  EXPECT_NE(*first, *again);
  EXPECT_EQ((*first)->summary.sha256, (*again)->summary.sha256);
}

TEST(WorkloadCacheTest, KeepsErrors) {
  WorkloadOptions options;
  options.workload = "nonsense";
  WorkloadCache cache;
  EXPECT_FALSE(cache.Load(options).ok());
  EXPECT_FALSE(cache.Load(options).ok());
}

}  // namespace
}  // namespace pagedkv::sim
