// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/trace_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "sim/workload/random.h"
#include "sim/workload/trace_structure.h"
#include "sim/workload/workload_spec_json.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

LoadedWorkload Loaded(std::vector<TraceRequest> requests,
                      std::int32_t block = 16) {
  LoadedWorkload loaded;
  loaded.requests = std::move(requests);
  loaded.summary.name = "t.jsonl";
  loaded.summary.trace_block_tokens = block;
  return loaded;
}

TraceFit Fit(const LoadedWorkload& trace) {
  auto fit = FitTrace(trace, 0);
  EXPECT_TRUE(fit.ok()) << fit.status().ToString();
  return *std::move(fit);
}

double Ratio(const TraceFit& fit, std::string_view name) {
  for (const MatchRow& row : fit.match.rows) {
    if (row.name == name) return row.generated / row.trace;
  }
  ADD_FAILURE() << "no row " << name;
  return 0.0;
}

TEST(TraceFitTest, FindsWhatADescriptionSays) {
  const auto trace =
      LoadWorkload({.workload = "chat-multi-turn", .requests = 4000});
  ASSERT_TRUE(trace.ok());
  const TraceFit fit = Fit(*trace);
  const WorkloadClass& chat = fit.spec.classes.at(0);
  EXPECT_TRUE(chat.closed_loop);
  EXPECT_NEAR(chat.arrivals.sessions_per_s, 1.0, 0.12);
  EXPECT_EQ(fit.spec.block, BlockSize(16));
  EXPECT_NEAR(static_cast<double>(chat.think_time_ms.At(1U << 31)), 32'000,
              6'000);
  EXPECT_NEAR(static_cast<double>(chat.message.At(1U << 31)), 22, 3);
  EXPECT_NEAR(Ratio(fit, "prompt tokens mean"), 1.0, 0.12);
  EXPECT_NEAR(Ratio(fit, "output tokens mean"), 1.0, 0.05);
  EXPECT_NEAR(Ratio(fit, "gap ms mean"), 1.0, 0.1);
  EXPECT_NEAR(Ratio(fit, "requests per session"), 1.0, 0.1);
  EXPECT_NEAR(Ratio(fit, "hit rate, nothing evicted"), 1.0, 0.1);
  EXPECT_LT(fit.match.prompt_distance, 0.08);
  EXPECT_LT(fit.match.output_distance, 0.03);
  EXPECT_LT(fit.match.gap_distance, 0.06);
}

TEST(TraceFitTest, FindsBranches) {
  const auto trace =
      LoadWorkload({.workload = "agent-tools", .requests = 2000});
  ASSERT_TRUE(trace.ok());
  EXPECT_NEAR(Fit(*trace).spec.classes[0].branches.mean(),
              0.05 * 0.5 + 0.05 * 2.5, 0.06);
}

TEST(TraceFitTest, GivesTheSameBytesEachTime) {
  const auto trace = LoadWorkload({.workload = "mixed", .requests = 500});
  ASSERT_TRUE(trace.ok());
  const std::string once = WorkloadSpecToJson(Fit(*trace).spec);
  EXPECT_EQ(once, WorkloadSpecToJson(Fit(*trace).spec));
  const auto read = ParseWorkloadSpec(once, "fit.json");
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(*read, Fit(*trace).spec);
}

TEST(TraceFitTest, TellsBurstsFromConstantGaps) {
  std::vector<TraceRequest> requests(500);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i] = {.id = static_cast<std::int64_t>(i),
                   .arrival_ns = static_cast<std::int64_t>(i) * 500'000'000,
                   .prompt_tokens = 100,
                   .output_tokens = 10};
  }
  const TraceFit even = Fit(Loaded(requests, 0));
  EXPECT_EQ(even.spec.classes[0].arrivals.kind, ArrivalKind::kConstant);
  EXPECT_NEAR(even.spec.classes[0].arrivals.sessions_per_s, 2.0, 0.01);
  EXPECT_EQ(even.match.prompt_distance, 0.0);
  EXPECT_EQ(even.match.output_distance, 0.0);

  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].arrival_ns =
        static_cast<std::int64_t>(i / 10 * 5'000'000'000 + i % 10 * 3'000'000);
  }
  const ArrivalSpec bursts = Fit(Loaded(requests, 0)).spec.classes[0].arrivals;
  EXPECT_EQ(bursts.kind, ArrivalKind::kGamma);
  EXPECT_NEAR(bursts.burstiness_cv, 3.0, 0.2);
}

TEST(TraceFitTest, KeepsWhatAnOutputOwesToItsPrompt) {
  Random random(1, 1);
  std::vector<TraceRequest> requests(2000);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto prompt = static_cast<std::int32_t>(random.Word() % 1000 + 1);
    requests[i] = {.id = static_cast<std::int64_t>(i),
                   .arrival_ns = static_cast<std::int64_t>(i) * 100'000'000,
                   .prompt_tokens = prompt,
                   .output_tokens = prompt > 500 ? 1000 : 10};
  }
  const TraceFit fit = Fit(Loaded(requests, 0));
  const ByPrompt& answer = fit.spec.classes[0].answer;
  ASSERT_EQ(answer.ranges.size(), 8U);
  EXPECT_EQ(answer.For(200).max(), 10);
  EXPECT_EQ(answer.For(900).min(), 1000);
  EXPECT_THAT(fit.facts[0].finding, HasSubstr("kept by ranges"));
}

TEST(TraceFitTest, FindsTheProfileOfTheDay) {
  std::vector<TraceRequest> requests;
  // Two days; every hour 10 requests, from 8 to 16 o'clock 100.
  for (std::int64_t hour = 0; hour < 48; ++hour) {
    const std::int64_t count = hour % 24 >= 8 && hour % 24 < 16 ? 100 : 10;
    for (std::int64_t i = 0; i < count; ++i) {
      requests.push_back(
          {.id = static_cast<std::int64_t>(requests.size()),
           .arrival_ns = (hour * 3600 + i * 3600 / count) * 1'000'000'000,
           .prompt_tokens = 10,
           .output_tokens = 10});
    }
  }
  const ArrivalSpec arrivals =
      Fit(Loaded(requests, 0)).spec.classes[0].arrivals;
  ASSERT_EQ(arrivals.profile.size(), 24U);
  EXPECT_NEAR(static_cast<double>(arrivals.profile[12]) /
                  static_cast<double>(arrivals.profile[2]),
              10.0, 0.3);
  // In even time the gaps are alike.
  EXPECT_EQ(arrivals.kind, ArrivalKind::kConstant);
}

TEST(TraceFitTest, NeedsSomeRequests) {
  const auto fit = FitTrace(Loaded(std::vector<TraceRequest>(9)), 0);
  EXPECT_EQ(std::string(fit.status().message()),
            "t.jsonl: 9 requests are too few to fit a workload to; at least 10 "
            "are needed");
}

TEST(TraceStructureTest, FindsSessionsByTheirBlocks) {
  // Blocks of 10. Block 7 is common; request 2 goes on from 0, 3 from 2, and 4
  // shares only block 1 with them.
  const std::vector<TraceRequest> requests = {
      {.id = 0, .prompt_tokens = 25, .block_ids = {7, 1, 2}},
      {.id = 1, .prompt_tokens = 25, .block_ids = {7, 3, 4}},
      {.id = 2, .prompt_tokens = 40, .block_ids = {7, 1, 5, 6}},
      {.id = 3, .prompt_tokens = 50, .block_ids = {7, 1, 5, 6, 8}},
      {.id = 4, .prompt_tokens = 31, .block_ids = {7, 1, 9, 10}}};
  const TraceSessions found = FindSessions(requests, BlockSize(10));
  ASSERT_EQ(found.sessions.size(), 3U);
  EXPECT_THAT(found.sessions[0], ElementsAre(0U, 2U, 3U));
  EXPECT_THAT(found.sessions[1], ElementsAre(1U));
  EXPECT_THAT(found.sessions[2], ElementsAre(4U));
  EXPECT_EQ(found.inferred, 2);
  EXPECT_EQ(found.waiting, 0);
  const SharedPrefixes shared =
      FindSharedPrefixes(requests, found, BlockSize(10));
  EXPECT_EQ(shared.common_blocks, 1);
  EXPECT_THAT(shared.blocks, ElementsAre(2, 1, 2));
  ASSERT_EQ(shared.groups.size(), 1U);
  EXPECT_EQ(shared.groups[0].blocks, 1);
  EXPECT_EQ(shared.groups[0].sessions, 2);
}

TEST(TraceStructureTest, FollowsWhatTheTraceTells) {
  const std::vector<TraceRequest> requests = {
      {.id = 10, .prompt_tokens = 5},
      {.id = 11, .prompt_tokens = 5, .follows = 10},
      {.id = 12, .prompt_tokens = 5, .follows = 10},
      {.id = 13, .prompt_tokens = 5, .follows = 12}};
  const TraceSessions found = FindSessions(requests, BlockSize(16));
  ASSERT_EQ(found.sessions.size(), 1U);
  EXPECT_THAT(found.sessions[0], ElementsAre(0U, 2U, 3U));
  ASSERT_EQ(found.branches.size(), 1U);
  EXPECT_EQ(found.branches[0].turn, 0U);
  EXPECT_EQ(found.branches[0].request, 1U);
  EXPECT_EQ(found.waiting, 3);
}

TEST(WorkloadMatchTest, MeasuresDistancesAndReuse) {
  const Sample a({1, 2, 3, 4});
  const Sample b({3, 4, 5, 6});
  EXPECT_DOUBLE_EQ(a.DistanceTo(b), 0.5);
  EXPECT_DOUBLE_EQ(b.DistanceTo(a), 0.5);
  EXPECT_DOUBLE_EQ(a.DistanceTo(a), 0.0);
  EXPECT_DOUBLE_EQ(a.DistanceTo(Sample({9})), 1.0);
  EXPECT_DOUBLE_EQ(a.mean(), 2.5);
  EXPECT_NEAR(a.cv(), std::sqrt(1.25) / 2.5, 1e-12);
  EXPECT_EQ(a.Quantile(0.5), 2);
  EXPECT_EQ(a.Quantile(1.0), 4);
  const std::vector<TraceRequest> requests = {
      {.block_ids = {1, 2}}, {.block_ids = {3}}, {.block_ids = {1, 4, 2}}};
  const ReuseStatistics reuse = MeasureReuse(requests);
  EXPECT_EQ(reuse.references, 6);
  EXPECT_EQ(reuse.hits, 1);  // 2 is not in a prefix that was there
  EXPECT_THAT(reuse.distances, ElementsAre(2));
}

/// The real traces, where they are.
class RealTraceFitTest : public ::testing::Test {
 protected:
  static std::string Path(const std::string& name) {
    const char* folder = std::getenv("PAGEDKV_TRACES");
    return (folder != nullptr ? std::string(folder)
                              : PAGEDKV_SOURCE_DIR "/../shared/traces") +
           "/" + name;
  }
};

TEST_F(RealTraceFitTest, AzureConversation) {
  const std::string path = Path("azure_2023_conv.csv");
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no trace " << path
                 << "; set PAGEDKV_TRACES to the folder that has it";
  }
  const auto trace = LoadWorkload({.trace = path});
  ASSERT_TRUE(trace.ok());
  const TraceFit fit = Fit(*trace);
  EXPECT_NEAR(Ratio(fit, "prompt tokens mean"), 1.0, 0.03);
  EXPECT_NEAR(Ratio(fit, "prompt tokens p99"), 1.0, 0.05);
  EXPECT_NEAR(Ratio(fit, "output tokens mean"), 1.0, 0.03);
  EXPECT_NEAR(Ratio(fit, "gap ms mean"), 1.0, 0.03);
  EXPECT_NEAR(Ratio(fit, "gap variation"), 1.0, 0.05);
  EXPECT_LT(fit.match.prompt_distance, 0.02);
  EXPECT_LT(fit.match.output_distance, 0.02);
  EXPECT_LT(fit.match.gap_distance, 0.05);
}

TEST_F(RealTraceFitTest, MooncakeConversation) {
  const std::string path = Path("mooncake_conversation.jsonl");
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no trace " << path
                 << "; set PAGEDKV_TRACES to the folder that has it";
  }
  const auto trace = LoadWorkload({.trace = path});
  ASSERT_TRUE(trace.ok());
  const TraceFit fit = Fit(*trace);
  EXPECT_FALSE(fit.spec.classes[0].closed_loop);
  EXPECT_EQ(fit.spec.classes[0].arrivals.tick_ns, 3'000'000'000);
  EXPECT_EQ(fit.spec.block, BlockSize(512));
  EXPECT_NEAR(Ratio(fit, "prompt tokens mean"), 1.0, 0.06);
  EXPECT_NEAR(Ratio(fit, "output tokens mean"), 1.0, 0.03);
  EXPECT_NEAR(Ratio(fit, "gap variation"), 1.0, 0.05);
  EXPECT_NEAR(Ratio(fit, "requests per session"), 1.0, 0.05);
  // Long sessions differ from short ones in more than their first prompt.
  EXPECT_NEAR(Ratio(fit, "hit rate, nothing evicted"), 1.0, 0.15);
  EXPECT_NEAR(Ratio(fit, "reuse distance p50, requests"), 1.0, 0.15);
  EXPECT_LT(fit.match.prompt_distance, 0.05);
  EXPECT_LT(fit.match.output_distance, 0.02);
  EXPECT_LT(fit.match.gap_distance, 0.05);
}

}  // namespace
}  // namespace pagedkv::sim
