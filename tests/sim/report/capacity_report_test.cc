// SPDX-License-Identifier: Apache-2.0
#include "sim/report/capacity_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

CapacityTarget Target(double limit,
                      Direction direction = Direction::kLowerIsBetter) {
  CapacityTarget target;
  target.metric = {.name = "figure",
                   .path = "/figure",
                   .direction = direction,
                   .meaning = ""};
  target.limit = limit;
  return target;
}

/// Probes of one target with a limit, by amount.
CapacitySearch Search(
    const CapacityTarget& target,
    const std::vector<std::pair<std::int64_t, double>>& values,
    std::optional<std::int64_t> answer, bool more_is_easier = true) {
  CapacitySearch search;
  search.policy = "paged-16";
  search.more_is_easier = more_is_easier;
  search.answer = answer;
  for (const auto& [amount, value] : values) {
    CapacityProbe probe;
    probe.amount = amount;
    probe.values = {value};
    probe.meets = Meets(target.metric, value, target.limit);
    search.probes.push_back(probe);
  }
  return search;
}

CapacityReport Report(const CapacityTarget& target,
                      const CapacitySearch& search) {
  CapacityReport report;
  report.targets = {target};
  report.searches = {search};
  report.conditions = {{"clock", {{"kind", "fixed"}}}};
  return report;
}

TEST(CapacityReportTest, TheCliffIsTheSteepestWorsening) {
  const CapacityTarget target = Target(1);
  const CapacitySearch search = Search(target,
                                       {{50, 30},
                                        {80, 20},
                                        {90, 9},
                                        {100, 0.8},
                                        {110, 0.5},
                                        {150, 0.4},
                                        {200, 0.3}},
                                       100);
  const std::optional<CapacityCliff> cliff = search.Cliff(target, 0);
  ASSERT_TRUE(cliff.has_value());
  EXPECT_EQ(cliff->holds_at, 100);
  EXPECT_EQ(cliff->breaks_at, 90);
  EXPECT_EQ(MarginPct(search, *cliff), 0);
  EXPECT_THAT(CapacityToText(Report(target, search)),
              HasSubstr("cliff between 100 and 90 blocks, where figure goes "
                        "from 0.8 to 9; the answer is on its edge"));
}

TEST(CapacityReportTest, MoreLoadIsHarder) {
  const CapacityTarget target = Target(1);
  const CapacitySearch search = Search(
      target, {{100, 0.3}, {150, 0.8}, {160, 1.1}, {200, 1.4}, {220, 7}}, 150,
      /*more_is_easier=*/false);
  const std::optional<CapacityCliff> cliff = search.Cliff(target, 0);
  ASSERT_TRUE(cliff.has_value());
  EXPECT_EQ(cliff->holds_at, 200);
  EXPECT_EQ(cliff->breaks_at, 220);
  EXPECT_NEAR(MarginPct(search, *cliff), 33.3, 0.1);
  CapacityReport report = Report(target, search);
  report.goal = CapacityGoal::kRate;
  EXPECT_THAT(CapacityToText(report),
              HasSubstr("the answer is 33 % away from it"));
  EXPECT_THAT(CapacityToText(report), HasSubstr("paged-16: 0.15 requests/s\n"));
}

TEST(CapacityReportTest, AFigureThatMustBeHighBreaksDownwards) {
  const CapacityTarget target = Target(90, Direction::kHigherIsBetter);
  const CapacitySearch search =
      Search(target, {{50, 5}, {90, 20}, {100, 95}, {120, 99}}, 100);
  const std::optional<CapacityCliff> cliff = search.Cliff(target, 0);
  ASSERT_TRUE(cliff.has_value());
  EXPECT_EQ(cliff->holds_at, 100);
  EXPECT_EQ(cliff->breaks_at, 90);
}

TEST(CapacityReportTest, ASlopeIsNoCliff) {
  const CapacityTarget target = Target(1);
  const CapacitySearch search =
      Search(target, {{50, 2}, {100, 1}, {101, 0.9}, {200, 0.5}}, 100);
  EXPECT_FALSE(search.Cliff(target, 0).has_value());
  EXPECT_THAT(CapacityToText(Report(target, search)),
              HasSubstr("no cliff of figure in what was tried"));
}

TEST(CapacityReportTest, TheBindingTargetFailsNextToTheAnswer) {
  const CapacityTarget low = Target(1);
  CapacitySearch search = Search(low, {{80, 3}, {90, 2}, {100, 1}}, 100);
  for (CapacityProbe& probe : search.probes) {
    probe.values.insert(probe.values.begin(), 0.0);
  }
  EXPECT_EQ(search.Binding({low, low}), 1u);
  search.probes.erase(search.probes.begin(), search.probes.begin() + 2);
  EXPECT_EQ(search.Binding({low, low}), std::nullopt);
}

TEST(CapacityReportTest, SaysWhenItIsNotMonotone) {
  const CapacityTarget target = Target(1);
  CapacitySearch search =
      Search(target, {{80, 3}, {100, 1}, {120, 1.5}, {200, 0.5}}, 100);
  EXPECT_FALSE(search.IsMonotone());
  EXPECT_THAT(CapacityToText(Report(target, search)),
              HasSubstr("not everything easier that was tried meets"));
  search.probes.erase(search.probes.begin() + 2);
  EXPECT_TRUE(search.IsMonotone());
}

TEST(CapacityReportTest, NoAnswerSaysWhatTheEasiestGives) {
  const CapacityTarget target = Target(1);
  const CapacityReport report =
      Report(target, Search(target, {{50, 9}, {100, 8}}, std::nullopt));
  EXPECT_TRUE(report.Best().empty());
  EXPECT_THAT(CapacityToText(report),
              HasSubstr("paged-16: nothing meets the targets: with 100 blocks "
                        "figure is 8\n"));
  const auto json = nlohmann::json::parse(CapacityToJson(report));
  EXPECT_TRUE(json["best"].empty());
  EXPECT_TRUE(json["searches"][0]["answer"].is_null());
}

TEST(CapacityReportTest, TheFewestGpusWin) {
  const CapacityTarget target = Target(1);
  CapacityReport report;
  report.goal = CapacityGoal::kGpus;
  report.targets = {target};
  report.conditions = {{"clock", {{"kind", "fixed"}}}};
  for (const auto& [ranks, replicas] :
       std::vector<std::pair<std::int32_t, std::int64_t>>{
           {1, 7}, {2, 3}, {4, 2}}) {
    CapacitySearch search =
        Search(target, {{replicas - 1, 2}, {replicas, 1}}, replicas);
    search.tensor_parallel = ranks;
    report.searches.push_back(search);
  }
  ASSERT_EQ(report.Best().size(), 1u);
  EXPECT_EQ(report.Best()[0]->tensor_parallel, 2);
  EXPECT_THAT(CapacityToText(report),
              HasSubstr("paged-16: GPUs: 6; 3 replicas, tensor parallel 2, "
                        "pipeline parallel 1\n"));
  const auto json = nlohmann::json::parse(CapacityToJson(report));
  EXPECT_EQ(json["best"]["paged-16"]["gpus"], 6);
}

TEST(CapacityReportTest, MemoryIsInBlocksSlotsAndBytes) {
  const CapacityTarget target = Target(1);
  CapacitySearch search = Search(target, {{90, 2}, {1'000, 1}}, 1'000);
  search.token_bytes = Bytes(819'200);
  const CapacityReport report = Report(target, search);
  EXPECT_THAT(CapacityToText(report),
              HasSubstr("paged-16: 1,000 blocks of 16 tokens, 16,000 slots, "
                        "12.207 GiB\n"));
  EXPECT_THAT(CapacityToMarkdown(report),
              HasSubstr("| 1,000 | 1 | yes, the answer |"));
  const auto json = nlohmann::json::parse(CapacityToJson(report));
  EXPECT_EQ(json["best"]["paged-16"]["bytes"], 13'107'200'000);
  EXPECT_EQ(json["searches"][0]["binding"], "figure");
}

}  // namespace
}  // namespace pagedkv::sim
