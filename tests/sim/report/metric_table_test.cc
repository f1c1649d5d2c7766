// SPDX-License-Identifier: Apache-2.0
#include "sim/report/metric_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "nlohmann/json.hpp"

#include "sim/report/report_json.h"
#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

nlohmann::json ExampleDocument() {
  return ReportToDocument(ExampleReport())["results"]["paged-16"];
}

TEST(MetricTableTest, FiguresAreTheNumbersOfAResultByTheirPath) {
  const nlohmann::json result = {
      {"waste_pct", {{"mean", 3}, {"lo", 2}, {"hi", 4}}},
      {"batch", {{"mean", 5}, {"lo", nullptr}, {"hi", nullptr}, {"max", 9}}},
      {"preempt", {{"count", 7}}},
      {"windows", 12},
      {"window", "busy"},
      {"frag_index", nullptr},
      {"list", {1, 2}}};
  const std::vector<NamedFigure> figures = FiguresOf(result);
  ASSERT_EQ(figures.size(), 4u);
  EXPECT_EQ(figures[0].name, "batch.mean");
  EXPECT_EQ(figures[0].value.mean, 5);
  EXPECT_FALSE(figures[0].value.interval.has_value());
  EXPECT_EQ(figures[1].name, "batch.max");
  EXPECT_EQ(figures[2].name, "preempt.count");
  EXPECT_EQ(figures[3].name, "waste_pct");
  EXPECT_EQ(figures[3].value.interval->hi, 4);
  EXPECT_TRUE(FiguresOf(3).empty());
}

TEST(MetricTableTest, KnowsWhichWayFiguresGetBetter) {
  EXPECT_EQ(DirectionOf("waste_pct"), Direction::kLowerIsBetter);
  EXPECT_EQ(DirectionOf("preempt.count"), Direction::kLowerIsBetter);
  EXPECT_EQ(DirectionOf("preempt.swaps"), Direction::kNeutral);
  EXPECT_EQ(DirectionOf("latency.ttft_s.p99"), Direction::kLowerIsBetter);
  EXPECT_EQ(DirectionOf("batch.mean"), Direction::kHigherIsBetter);
  EXPECT_EQ(DirectionOf("throughput.output_tokens_per_s"),
            Direction::kHigherIsBetter);
  EXPECT_EQ(DirectionOf("causes_pct.idle"), Direction::kNeutral);
  EXPECT_EQ(DirectionOf("batch.mean2"), Direction::kNeutral);
  EXPECT_TRUE(IsPercentage("causes_pct.idle"));
  EXPECT_TRUE(IsPercentage("waste_pct"));
  EXPECT_FALSE(IsPercentage("waste_pcts"));
  EXPECT_FALSE(IsPercentage("batch.mean"));
}

TEST(MetricTableTest, EveryTargetIsAFigureOfAReport) {
  // All that depends on a clock or a service level is in the schema; here, what
  // every report has.
  const nlohmann::json result = ExampleDocument();
  std::set<std::string> names;
  for (const TargetMetric& metric : TargetMetrics()) {
    EXPECT_TRUE(names.insert(std::string(metric.name)).second) << metric.name;
    EXPECT_NE(metric.direction, Direction::kNeutral) << metric.name;
    const bool depends =
        metric.path.starts_with("/latency") || metric.path.starts_with("/good");
    if (!depends) {
      EXPECT_TRUE(TargetValue(result, metric).has_value()) << metric.name;
    }
  }
}

TEST(MetricTableTest, RatesAreOfTheRequestsOffered) {
  nlohmann::json result = ExampleDocument();
  result["requests"] = {{"finished", 30}, {"rejected", 10}};
  result["preempt"]["count"] = 20;
  const auto value = [&](std::string_view name) {
    for (const TargetMetric& metric : TargetMetrics()) {
      if (metric.name == name) return TargetValue(result, metric);
    }
    ADD_FAILURE() << name;
    return std::optional<double>();
  };
  EXPECT_EQ(value("preemption-rate"), 0.5);
  EXPECT_EQ(value("rejection-rate"), 0.25);
  result["requests"] = {{"finished", 0}, {"rejected", 0}};
  EXPECT_EQ(value("rejection-rate"), std::nullopt);
}

TEST(MetricTableTest, ATargetIsMetAtItsValue) {
  const TargetMetric lower{.name = "a", .path = "/a", .meaning = ""};
  EXPECT_TRUE(Meets(lower, 1, 1));
  EXPECT_FALSE(Meets(lower, 1.1, 1));
  TargetMetric higher = lower;
  higher.direction = Direction::kHigherIsBetter;
  EXPECT_TRUE(Meets(higher, 1, 1));
  EXPECT_FALSE(Meets(higher, 0.9, 1));
}

}  // namespace
}  // namespace pagedkv::sim
