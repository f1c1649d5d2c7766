// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/hit_curve.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HitCurveTest, HasARowForEachPolicyAndAColumnForEachSize) {
  const std::vector<TraceRequest> requests =
      RandomRequests(1, IdKind::kPrefixes, 300, 5, 5);
  const BlockTrace trace = MakeTrace(requests);
  const auto curve =
      ComputeHitCurve(trace, {.sizes = {BlockCount(20), BlockCount(5),
                                        BlockCount(20), BlockCount(1'000'000)},
                              .policies = {"optimum", "lru"}});
  ASSERT_TRUE(curve.ok());
  EXPECT_THAT(curve->sizes, ElementsAre(BlockCount(5), BlockCount(20),
                                        BlockCount(1'000'000)));
  ASSERT_EQ(curve->rows.size(), 2u);
  EXPECT_EQ(curve->rows[0].policy, "optimum");
  EXPECT_EQ(curve->rows[0].method, HitCurveMethod::kOffline);
  EXPECT_EQ(curve->rows[0].counts[2], curve->unbounded);
  EXPECT_EQ(curve->rows[1].method, HitCurveMethod::kStackDistances);
  EXPECT_EQ(curve->rows[1].counts[0], NaiveLru(requests, 5));
  EXPECT_EQ(curve->rows[1].counts[1], NaiveLru(requests, 20));
}

TEST(HitCurveTest, NoPolicyBeatsTheOptimumOrANeverEvictingCache) {
  for (std::uint32_t seed = 1; seed <= 4; ++seed) {
    const BlockTrace trace =
        MakeTrace(RandomRequests(seed, IdKind::kPrefixes, 500, 6, 4 + seed));
    const auto curve = ComputeHitCurve(trace, {});
    ASSERT_TRUE(curve.ok());
    ASSERT_EQ(curve->rows.size(), HitCurveNames().size());
    const HitCurve::Row& optimum = curve->rows.back();
    ASSERT_EQ(optimum.policy, kOptimumName);
    for (const HitCurve::Row& row : curve->rows) {
      for (std::size_t i = 0; i < curve->sizes.size(); ++i) {
        SCOPED_TRACE(testing::Message() << row.policy << ", seed " << seed
                                        << ", " << curve->sizes[i]);
        EXPECT_LE(row.counts[i].hit_blocks, optimum.counts[i].hit_blocks);
        EXPECT_LE(row.counts[i].hit_blocks, curve->unbounded.hit_blocks);
        EXPECT_EQ(row.counts[i].blocks, trace.num_references());
      }
    }
    EXPECT_EQ(optimum.counts.back(), curve->unbounded);
  }
}

TEST(HitCurveTest, DefaultSizesGoUpToTheNeedOfLru) {
  std::vector<TraceRequest> requests;
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t id = 0; id < 30; ++id)
      requests.push_back(MakeRequest({id}));
  }
  const auto curve =
      ComputeHitCurve(MakeTrace(requests), {.policies = {"lru"}});
  ASSERT_TRUE(curve.ok());
  EXPECT_EQ(curve->lru_need, BlockCount(30));
  EXPECT_THAT(curve->sizes,
              ElementsAre(BlockCount(1), BlockCount(2), BlockCount(5),
                          BlockCount(10), BlockCount(20), BlockCount(30)));
}

TEST(HitCurveTest, ATraceWithoutReuseHasACurveToo) {
  const auto curve =
      ComputeHitCurve(MakeTrace({MakeRequest({1}), MakeRequest({2})}), {});
  ASSERT_TRUE(curve.ok());
  EXPECT_THAT(curve->sizes, ElementsAre(BlockCount(1)));
  EXPECT_EQ(curve->unbounded.hit_blocks, 0);
}

TEST(HitCurveTest, NamesWhatIsWrong) {
  const BlockTrace trace = MakeTrace({MakeRequest({1})});
  const auto expect_refusal = [&](const HitCurveOptions& options,
                                  const char* message) {
    const auto curve = ComputeHitCurve(trace, options);
    EXPECT_EQ(curve.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(curve.status().message()), HasSubstr(message));
  };
  expect_refusal({.policies = {"fifo"}}, "unknown policy 'fifo': use lru, ");
  expect_refusal({.policies = {"lru", "lru"}}, "'lru' is named twice");
  expect_refusal({.sizes = {BlockCount(0)}}, "a cache of 0 blocks");
}

}  // namespace
}  // namespace pagedkv::sim
