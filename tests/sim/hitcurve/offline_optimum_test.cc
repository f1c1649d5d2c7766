// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/offline_optimum.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "sim/hitcurve/lru_curve.h"
#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;

std::int64_t OptimalHits(const BlockTrace& trace, std::int64_t capacity) {
  return SimulateOfflineOptimum(trace, NextUses(trace), BlockCount(capacity))
      .hit_blocks;
}

/// The most prefix hits that any choices can have: all sets of blocks that a
/// cache may hold after each request, and the best way to each.
std::int64_t BestOfAllChoices(const BlockTrace& trace, int capacity) {
  std::map<std::uint32_t, std::int64_t> best = {{0u, 0}};
  for (std::size_t request = 0; request < trace.num_requests(); ++request) {
    std::map<std::uint32_t, std::int64_t> next;
    for (const auto& [cached, hits_before] : best) {
      std::int64_t hits = hits_before;
      std::uint32_t all = cached;
      bool is_prefix = true;
      for (const std::uint32_t content : trace.contents(request)) {
        is_prefix = is_prefix && (cached >> content & 1u) != 0;
        if (is_prefix) ++hits;
        all |= 1u << content;
      }
      // Fewer blocks than fit are never better.
      const int kept = std::min(capacity, std::popcount(all));
      for (std::uint32_t set = all;; set = (set - 1) & all) {
        if (std::popcount(set) == kept) {
          std::int64_t& entry = next.try_emplace(set, hits).first->second;
          entry = std::max(entry, hits);
        }
        if (set == 0) break;
      }
    }
    best = std::move(next);
  }
  std::int64_t most = 0;
  for (const auto& [cached, hits] : best) most = std::max(most, hits);
  return most;
}

TEST(NextUsesTest, CountsInRequests) {
  const BlockTrace trace = MakeTrace(
      {MakeRequest({5, 6}), MakeRequest({5, 7, 5}), MakeRequest({5, 6})});
  EXPECT_THAT(NextUses(trace), ElementsAre(1, 2, 2, kNeverUsedAgain, 2,
                                           kNeverUsedAgain, kNeverUsedAgain));
}

TEST(OfflineOptimumTest, KeepsWhatIsNeededNext) {
  // LRU of 2 blocks hits nothing of this cycle.
  const BlockTrace trace =
      MakeTrace({MakeRequest({1}), MakeRequest({2}), MakeRequest({3}),
                 MakeRequest({1}), MakeRequest({2}), MakeRequest({3})});
  EXPECT_EQ(OptimalHits(trace, 1), 1);
  EXPECT_EQ(OptimalHits(trace, 2), 2);
  EXPECT_EQ(OptimalHits(trace, 3), 3);
}

TEST(OfflineOptimumTest, OfOnePromptKeepsTheBeginning) {
  const BlockTrace trace =
      MakeTrace({MakeRequest({1, 2, 3}), MakeRequest({1, 2, 3})});
  EXPECT_EQ(OptimalHits(trace, 1), 1);
  EXPECT_EQ(OptimalHits(trace, 2), 2);
}

TEST(OfflineOptimumTest, IsTheBestOfAllChoices) {
  int num_traces = 0;
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const std::vector<TraceRequest> requests =
        RandomRequests(seed, IdKind::kPrefixes, 9, 3, 2 + seed % 3);
    const BlockTrace trace = MakeTrace(requests);
    if (trace.num_contents() > BlockCount(9)) continue;
    ++num_traces;
    for (int capacity = 1; capacity < trace.num_contents().value();
         ++capacity) {
      ASSERT_EQ(OptimalHits(trace, capacity), BestOfAllChoices(trace, capacity))
          << "capacity " << capacity;
    }
  }
  EXPECT_GT(num_traces, 100);
}

TEST(OfflineOptimumTest, IsNeverBelowLruAndGrowsWithTheCache) {
  for (std::uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    // Long enough for entries of the heap to go out of date.
    const std::vector<TraceRequest> requests =
        RandomRequests(seed, IdKind::kPrefixes, 3'000, 5, 4);
    const BlockTrace trace = MakeTrace(requests);
    std::int64_t before = 0;
    for (std::int64_t size = 1; size < 400; size *= 2) {
      const std::int64_t hits = OptimalHits(trace, size);
      EXPECT_GE(hits, before);
      EXPECT_GE(hits,
                NaiveLru(requests, static_cast<std::size_t>(size)).hit_blocks);
      before = hits;
    }
    EXPECT_EQ(OptimalHits(trace, trace.num_contents().value()),
              NaiveLru(requests,
                       static_cast<std::size_t>(trace.num_contents().value()))
                  .hit_blocks);
  }
}

TEST(OfflineOptimumTest, TakesIdsThatContradictEachOther) {
  const std::vector<TraceRequest> requests =
      RandomRequests(3, IdKind::kAny, 500, 6, 12);
  const BlockTrace trace = MakeTrace(requests);
  EXPECT_EQ(OptimalHits(trace, trace.num_contents().value()),
            NaiveLru(requests, 100).hit_blocks);
}

}  // namespace
}  // namespace pagedkv::sim
