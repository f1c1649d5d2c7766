// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

TEST(TraceStatisticsTest, TakesQuantilesByNearestRank) {
  LengthStatistics lengths;
  EXPECT_EQ(lengths.Quantile(0.5), 0);
  EXPECT_EQ(lengths.mean(), 0.0);
  for (const std::int32_t tokens : {15, 20, 35, 40, 50}) lengths.Add(tokens);
  EXPECT_EQ(lengths.Quantile(0.05), 15);
  EXPECT_EQ(lengths.Quantile(0.30), 20);
  EXPECT_EQ(lengths.Quantile(0.40), 20);
  EXPECT_EQ(lengths.Quantile(0.41), 35);
  EXPECT_EQ(lengths.max(), 50);
  EXPECT_EQ(lengths.mean(), 32.0);
}

TraceStatistics Statistics(const ReadResult& read) {
  TraceStatistics statistics;
  for (const TraceRequest& request : read.requests) statistics.Add(request);
  return statistics;
}

/// As a value is given with one decimal.
double Tenths(double value) { return std::round(value * 10) / 10; }

TEST(TraceStatisticsTest, MatchesThePublishedAzureConversationTrace) {
  const std::string path = RealTracePath("azure_2023_conv.csv");
  PAGEDKV_SKIP_WITHOUT(path);
  const ReadResult read = ReadAll(path, {.strict = true});
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "azure");
  EXPECT_EQ(read.summary.rows, 19'366);
  EXPECT_EQ(read.summary.kept, 19'366);
  EXPECT_EQ(read.summary.dropped, DroppedRows{});
  EXPECT_EQ(read.summary.prompt_tokens, 22'361'870);
  EXPECT_EQ(read.summary.output_tokens, 4'088'665);
  EXPECT_EQ(read.summary.span_ns / 10'000'000, 350'172);
  const TraceStatistics statistics = Statistics(read);
  EXPECT_EQ(Tenths(statistics.prompt().mean()), 1154.7);
  EXPECT_EQ(statistics.prompt().Quantile(0.5), 1020);
  EXPECT_EQ(statistics.prompt().Quantile(0.99), 4142);
  EXPECT_EQ(statistics.prompt().max(), 14'050);
  EXPECT_EQ(Tenths(statistics.output().mean()), 211.1);
  EXPECT_EQ(statistics.output().Quantile(0.5), 129);
  EXPECT_EQ(statistics.output().Quantile(0.99), 601);
  EXPECT_EQ(statistics.output().max(), 1000);
}

TEST(TraceStatisticsTest, MatchesThePublishedAzureRowsThatFit4096) {
  const std::string path = RealTracePath("azure_2023_conv.csv");
  PAGEDKV_SKIP_WITHOUT(path);
  const ReadResult read = ReadAll(path, {.max_sequence_tokens = 4096});
  EXPECT_EQ(read.summary.kept, 17'754);
  EXPECT_EQ(read.summary.dropped, DroppedRows{.over_max_seq = 19'366 - 17'754});
}

TEST(TraceStatisticsTest, MatchesThePublishedMooncakeConversationTrace) {
  const std::string path = RealTracePath("mooncake_conversation.jsonl");
  PAGEDKV_SKIP_WITHOUT(path);
  const ReadResult read = ReadAll(path, {.strict = true});
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "mooncake");
  EXPECT_EQ(read.summary.rows, 12'031);
  EXPECT_EQ(read.summary.dropped, DroppedRows{});
  EXPECT_EQ(read.summary.trace_block_tokens, 512);
  const TraceStatistics statistics = Statistics(read);
  EXPECT_EQ(std::round(statistics.prompt().mean()), 12'035);
  EXPECT_EQ(statistics.prompt().max(), 126'195);
  EXPECT_EQ(std::round(statistics.output().mean()), 343);
  EXPECT_EQ(statistics.block_references(), 288'500);
  EXPECT_EQ(statistics.unique_blocks(), 182'790);
}

TEST(TraceStatisticsTest, ReadsTheWorkloadOfAMeasuredRun) {
  const std::string path = RealTracePath("vllm_rtx4090/workload.jsonl");
  PAGEDKV_SKIP_WITHOUT(path);
  const ReadResult read = ReadAll(path);
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "llmservingsim");
  EXPECT_EQ(read.summary.kept, 300);
}

}  // namespace
}  // namespace pagedkv::sim
