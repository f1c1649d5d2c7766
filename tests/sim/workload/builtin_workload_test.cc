// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/builtin_workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "sim/trace/trace_statistics.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kSeed = 20'231'116;

std::vector<TraceRequest> Generate(std::string_view name, std::int64_t count,
                                   double rate = 10.0,
                                   std::uint64_t seed = kSeed) {
  auto workload = BuiltinWorkload::Find(name);
  EXPECT_TRUE(workload.ok());
  auto requests = (*workload)->Generate(count, rate, seed);
  EXPECT_TRUE(requests.ok());
  return *requests;
}

TraceStatistics Statistics(const std::vector<TraceRequest>& requests) {
  TraceStatistics statistics;
  for (const TraceRequest& request : requests) statistics.Add(request);
  return statistics;
}

constexpr std::int64_t kMany = 100'000;

#define EXPECT_WITHIN(value, expected, percent) \
  EXPECT_NEAR(value, expected, (expected) * (percent) / 100.0)

TEST(BuiltinWorkloadTest, ShareGptHasThePapersMeans) {
  const auto requests = Generate("sharegpt", kMany);
  const TraceStatistics statistics = Statistics(requests);
  EXPECT_WITHIN(statistics.prompt().mean(), 161.31, 1.5);
  EXPECT_WITHIN(statistics.output().mean(), 337.99, 1.0);
  EXPECT_LE(statistics.prompt().max(), 1024);
  EXPECT_GE(statistics.prompt().Quantile(1e-9), 4);
  EXPECT_GE(statistics.output().Quantile(1e-9), 4);
  double squares = 0;
  for (const TraceRequest& request : requests) {
    EXPECT_LE(request.prompt_tokens + request.output_tokens, 2048);
    squares += static_cast<double>(request.output_tokens) *
               static_cast<double>(request.output_tokens);
  }
  EXPECT_WITHIN(squares / static_cast<double>(statistics.output().sum()), 588,
                1.5);
}

TEST(BuiltinWorkloadTest, AlpacaHasThePapersMeans) {
  const TraceStatistics statistics = Statistics(Generate("alpaca", kMany));
  EXPECT_WITHIN(statistics.prompt().mean(), 19.31, 1.0);
  EXPECT_WITHIN(statistics.output().mean(), 58.45, 1.5);
}

TEST(BuiltinWorkloadTest, AzureConversationHasThePublishedMarginals) {
  const TraceStatistics statistics =
      Statistics(Generate("azure-conv-2023", kMany));
  EXPECT_WITHIN(statistics.prompt().mean(), 1154.7, 2.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.5), 1020, 1.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.99), 4142, 5.0);
  EXPECT_LE(statistics.prompt().max(), 14'050);
  EXPECT_WITHIN(statistics.output().mean(), 211.1, 1.5);
  EXPECT_WITHIN(statistics.output().Quantile(0.5), 129, 2.0);
  EXPECT_WITHIN(statistics.output().Quantile(0.99), 601, 2.0);
  EXPECT_LE(statistics.output().max(), 1000);
  EXPECT_GE(statistics.output().max(), 990);
}

TEST(BuiltinWorkloadTest, AzureCodeHasThePublishedMarginals) {
  const TraceStatistics statistics =
      Statistics(Generate("azure-code-2023", kMany));
  EXPECT_WITHIN(statistics.prompt().mean(), 2047.8, 1.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.5), 1469, 2.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.9), 5194, 2.0);
  EXPECT_EQ(statistics.prompt().max(), 7437);
  EXPECT_WITHIN(statistics.output().mean(), 27.9, 2.0);
  EXPECT_EQ(statistics.output().Quantile(0.5), 13);
  EXPECT_WITHIN(statistics.output().Quantile(0.9), 55, 3.0);
  EXPECT_WITHIN(statistics.output().Quantile(0.99), 252, 3.0);
  EXPECT_LE(statistics.output().max(), 1899);
}

TEST(BuiltinWorkloadTest, AzureCode2024HasThePublishedMarginals) {
  const TraceStatistics statistics =
      Statistics(Generate("azure-code-2024", kMany));
  EXPECT_WITHIN(statistics.prompt().mean(), 2511, 1.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.5), 1930, 2.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.99), 7685, 1.0);
  EXPECT_EQ(statistics.prompt().max(), 7743);
  EXPECT_WITHIN(statistics.output().mean(), 23, 3.0);
  EXPECT_EQ(statistics.output().Quantile(0.5), 8);
  EXPECT_WITHIN(statistics.output().Quantile(0.99), 271, 3.0);
  EXPECT_LE(statistics.output().max(), 5000);
  EXPECT_GE(statistics.output().max(), 1000);
}

TEST(BuiltinWorkloadTest, AzureConversation2024HasThePublishedMarginals) {
  const TraceStatistics statistics =
      Statistics(Generate("azure-conv-2024", kMany));
  EXPECT_WITHIN(statistics.prompt().mean(), 1632, 1.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.5), 928, 2.0);
  EXPECT_WITHIN(statistics.prompt().Quantile(0.99), 6683, 1.0);
  EXPECT_LE(statistics.prompt().max(), 7999);
  EXPECT_WITHIN(statistics.output().mean(), 106, 2.0);
  EXPECT_WITHIN(statistics.output().Quantile(0.5), 41, 3.0);
  EXPECT_WITHIN(statistics.output().Quantile(0.99), 694, 3.0);
  EXPECT_LE(statistics.output().max(), 1500);
}

TEST(BuiltinWorkloadTest, AzureWeek2024MixesBothServicesByTheirRequests) {
  const BuiltinWorkload& code = **BuiltinWorkload::Find("azure-code-2024");
  const BuiltinWorkload& conv = **BuiltinWorkload::Find("azure-conv-2024");
  const BuiltinWorkload& week = **BuiltinWorkload::Find("azure-week-2024");
  EXPECT_EQ(code.num_requests, 16'803'695);
  EXPECT_EQ(conv.num_requests, 27'303'999);
  EXPECT_EQ(week.num_requests, code.num_requests + conv.num_requests);
  EXPECT_DOUBLE_EQ(week.rate, code.rate + conv.rate);

  const TraceStatistics statistics =
      Statistics(Generate("azure-week-2024", kMany));
  const double share = static_cast<double>(code.num_requests) /
                       static_cast<double>(week.num_requests);
  EXPECT_WITHIN(statistics.prompt().mean(), share * 2511 + (1 - share) * 1632,
                1.0);
  EXPECT_WITHIN(statistics.output().mean(), share * 23 + (1 - share) * 106,
                2.0);
  // Above the maximum of conversations there is only code.
  EXPECT_GT(statistics.output().max(), 1500);
}

TEST(BuiltinWorkloadTest, OpensToTheRequestsThatItGenerates) {
  for (const BuiltinWorkload& workload : BuiltinWorkload::All()) {
    SCOPED_TRACE(workload.name);
    const auto all = Generate(workload.name, 700);
    const auto source = workload.Open(700, 10.0, kSeed);
    ASSERT_TRUE(source.ok());
    // What it is given holds something of another request.
    TraceRequest request{.block_ids = {17}, .follows = 3};
    for (const TraceRequest& expected : all) {
      const auto more = (*source)->Next(request);
      ASSERT_TRUE(more.ok() && *more);
      EXPECT_EQ(request.id, expected.id);
      EXPECT_EQ(request.arrival_ns, expected.arrival_ns);
      EXPECT_EQ(request.prompt_tokens, expected.prompt_tokens);
      EXPECT_EQ(request.output_tokens, expected.output_tokens);
      EXPECT_EQ(request.block_ids, expected.block_ids);
      EXPECT_EQ(request.follows, -1);
    }
    const auto more = (*source)->Next(request);
    EXPECT_TRUE(more.ok() && !*more);
  }
}

TEST(BuiltinWorkloadTest, MooncakeHasThePublishedLengthsAndReuse) {
  const auto requests = Generate("mooncake-conversation", 12'031);
  const TraceStatistics statistics = Statistics(requests);
  EXPECT_WITHIN(statistics.prompt().mean(), 12'035, 3.0);
  EXPECT_LE(statistics.prompt().max(), 126'195);
  EXPECT_WITHIN(statistics.output().mean(), 343, 2.0);
  EXPECT_WITHIN(static_cast<double>(statistics.block_references()), 288'500,
                3.0);
  // Blocks seen before, of all: 0.3664 in the trace.
  EXPECT_NEAR(1.0 - static_cast<double>(statistics.unique_blocks()) /
                        static_cast<double>(statistics.block_references()),
              0.3664, 0.025);
}

/// Share of blocks that an LRU cache of `capacity` blocks finds, as contiguous
/// prefixes; a request touches its blocks last to first.
double LruHitRate(const std::vector<TraceRequest>& requests,
                  std::size_t capacity) {
  std::list<std::uint64_t> order;  // the next to evict first
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> cached;
  std::size_t hits = 0;
  std::size_t blocks = 0;
  for (const TraceRequest& request : requests) {
    const auto& ids = request.block_ids;
    blocks += ids.size();
    hits += static_cast<std::size_t>(
        std::find_if_not(ids.begin(), ids.end(),
                         [&](auto id) { return cached.contains(id); }) -
        ids.begin());
    for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
      const auto place = order.insert(order.end(), *id);
      if (const auto [entry, added] = cached.try_emplace(*id, place); !added) {
        order.erase(entry->second);
        entry->second = place;
      }
    }
    while (order.size() > capacity) {
      cached.erase(order.front());
      order.pop_front();
    }
  }
  return static_cast<double>(hits) / static_cast<double>(blocks);
}

TEST(BuiltinWorkloadTest, MooncakeHasTheLocalityOfTheTrace) {
  const auto requests = Generate("mooncake-conversation", 12'031);
  EXPECT_NEAR(LruHitRate(requests, 1'000), 0.0445, 0.025);
  EXPECT_NEAR(LruHitRate(requests, 5'000), 0.1118, 0.025);
  EXPECT_NEAR(LruHitRate(requests, 10'000), 0.2116, 0.025);
  EXPECT_NEAR(LruHitRate(requests, 30'000), 0.3257, 0.025);
  EXPECT_NEAR(LruHitRate(requests, 100'000), 0.3637, 0.025);
}

TEST(BuiltinWorkloadTest, MooncakeBlockIdsArePrefixes) {
  const auto requests = Generate("mooncake-conversation", 3000);
  std::map<std::uint64_t, std::uint64_t> parents;
  std::set<std::uint64_t> partial;
  for (const TraceRequest& request : requests) {
    ASSERT_EQ(request.block_ids.size(),
              static_cast<std::size_t>((request.prompt_tokens + 511) / 512));
    EXPECT_EQ(request.block_ids.front(), 0U);
    for (std::size_t i = 1; i < request.block_ids.size(); ++i) {
      const std::uint64_t parent = request.block_ids[i - 1];
      EXPECT_EQ(parents.try_emplace(request.block_ids[i], parent).first->second,
                parent);
    }
    // What only a part of a block's tokens determined is never shared.
    for (const std::uint64_t id : request.block_ids) {
      ASSERT_FALSE(partial.contains(id));
    }
    if (request.prompt_tokens % 512 != 0) {
      partial.insert(request.block_ids.back());
    }
  }
}

TEST(BuiltinWorkloadTest, ArrivalsAreAtTheRate) {
  const auto requests = Generate("azure-conv-2023", kMany, 5.53);
  EXPECT_EQ(requests.front().arrival_ns, 0);
  EXPECT_WITHIN(static_cast<double>(requests.back().arrival_ns) / 1e9,
                static_cast<double>(kMany - 1) / 5.53, 1.0);
  EXPECT_TRUE(std::is_sorted(requests.begin(), requests.end(),
                             [](const auto& a, const auto& b) {
                               return a.arrival_ns < b.arrival_ns;
                             }));
}

bool Same(const TraceRequest& a, const TraceRequest& b) {
  return a.id == b.id && a.prompt_tokens == b.prompt_tokens &&
         a.output_tokens == b.output_tokens && a.block_ids == b.block_ids;
}

TEST(BuiltinWorkloadTest, OnlyTheSeedChangesRequests) {
  for (const BuiltinWorkload& workload : BuiltinWorkload::All()) {
    SCOPED_TRACE(workload.name);
    const auto base = Generate(workload.name, 500);
    const auto longer = Generate(workload.name, 1000);
    EXPECT_TRUE(std::equal(base.begin(), base.end(), longer.begin(), Same));
    EXPECT_EQ(base.back().arrival_ns, longer[499].arrival_ns);
    const auto faster = Generate(workload.name, 500, 20.0);
    EXPECT_TRUE(std::equal(base.begin(), base.end(), faster.begin(), Same));
    EXPECT_NEAR(static_cast<double>(base.back().arrival_ns),
                2.0 * static_cast<double>(faster.back().arrival_ns), 2.0);
    const auto other = Generate(workload.name, 500, 10.0, kSeed + 1);
    EXPECT_FALSE(std::equal(base.begin(), base.end(), other.begin(), Same));
  }
}

TEST(BuiltinWorkloadTest, RefusesUnknownNamesAndNumbersOutOfRange) {
  EXPECT_THAT(std::string(BuiltinWorkload::Find("gpt").status().message()),
              HasSubstr("known are sharegpt, alpaca, azure-conv-2023, "
                        "azure-code-2023, azure-conv-2024, azure-code-2024, "
                        "azure-week-2024, mooncake-conversation"));
  const BuiltinWorkload& workload = BuiltinWorkload::All().front();
  EXPECT_FALSE(workload.Generate(0, 1.0, kSeed).ok());
  EXPECT_FALSE(workload.Generate(-1, 1.0, kSeed).ok());
  EXPECT_FALSE(workload.Generate(100'000'001, 1.0, kSeed).ok());
  EXPECT_FALSE(workload.Generate(1, 0.0, kSeed).ok());
}

}  // namespace
}  // namespace pagedkv::sim
