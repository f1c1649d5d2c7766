// SPDX-License-Identifier: Apache-2.0
#include "sim/report/latency_statistics.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include "sim/report/worst_requests.h"

namespace pagedkv::sim {
namespace {

/// Arrives at 100, is admitted at 110 and has its first token at 150.
RequestRecord Record(std::int64_t finish_ns, std::int32_t output_tokens) {
  RequestRecord record;
  record.arrival_ns = 100;
  record.admit_ns = 110;
  record.first_token_ns = 150;
  record.finish_ns = finish_ns;
  record.prompt_tokens = 5;
  record.output_tokens = output_tokens;
  return record;
}

TEST(LatencyStatisticsTest, TimesCountFromTheArrival) {
  LatencyStatistics latency;
  latency.Add(Record(250, 5));
  EXPECT_EQ(latency.queue().Quantile(0.5), 10);
  EXPECT_EQ(latency.ttft().Quantile(0.5), 50);
  EXPECT_EQ(latency.e2e().Quantile(0.5), 150);
  EXPECT_EQ(latency.tpot().Quantile(0.5), 25);  // 100 for four more tokens
  EXPECT_EQ(latency.output_tokens(), 5);
}

TEST(LatencyStatisticsTest, ASingleTokenHasNoTimePerLaterToken) {
  LatencyStatistics latency({.tpot_ns = 1});
  latency.Add(Record(150, 1));
  EXPECT_EQ(latency.tpot().count(), 0);
  EXPECT_EQ(latency.ttft().count(), 1);
  EXPECT_EQ(latency.num_good(), 1);
}

TEST(LatencyStatisticsTest, GoodIsWhoKeepsBothLimits) {
  const auto num_good = [](std::optional<std::int64_t> ttft_ns,
                           std::optional<std::int64_t> tpot_ns) {
    LatencyStatistics latency({.ttft_ns = ttft_ns, .tpot_ns = tpot_ns});
    latency.Add(Record(250, 5));  // 50, then 25 each
    latency.Add(Record(251, 5));  // a quarter more each
    return latency.num_good();
  };
  EXPECT_EQ(num_good(50, 26), 2);
  EXPECT_EQ(num_good(50, 25), 1);
  EXPECT_EQ(num_good(49, 26), 0);
  EXPECT_EQ(num_good(49, std::nullopt), 0);
  EXPECT_EQ(num_good(std::nullopt, 25), 1);
  EXPECT_EQ(num_good(std::nullopt, std::nullopt), 2);
}

TEST(LatencyStatisticsTest, WhoIsRejectedIsNeitherTimedNorGood) {
  LatencyStatistics latency({.ttft_ns = 1'000});
  latency.Add({.id = 3, .rejected = true});
  EXPECT_EQ(latency.num_requests(), 1);
  EXPECT_EQ(latency.num_finished(), 0);
  EXPECT_EQ(latency.num_good(), 0);
  EXPECT_EQ(latency.ttft().count(), 0);
}

TEST(LatencyStatisticsTest, KeepsTheTenThatWaitedLongest) {
  LatencyStatistics latency;
  for (std::int64_t id = 0; id < 30; ++id) {
    RequestRecord record = Record(300, 2);
    record.id = id;
    record.first_token_ns = 110 + 10 * (id % 15);
    latency.Add(record);
  }
  ASSERT_EQ(latency.worst().size(), kNumWorst);
  EXPECT_EQ(latency.worst()[0].id, 14);
  EXPECT_EQ(latency.worst()[0].ttft_ns, 150);
  EXPECT_EQ(latency.worst()[1].id, 29);
  EXPECT_EQ(latency.worst()[9].id, 25);
}

TEST(LatencyStatisticsTest, AHugeLimitDoesNotOverflow) {
  LatencyStatistics latency({.tpot_ns = std::int64_t{1} << 62});
  latency.Add(Record(250, 1 << 30));
  EXPECT_EQ(latency.num_good(), 1);
}

}  // namespace
}  // namespace pagedkv::sim
