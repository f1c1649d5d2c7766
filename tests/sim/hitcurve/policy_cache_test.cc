// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/policy_cache.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

std::int64_t Serve(PolicyCache& cache, std::size_t request) {
  const auto hits = cache.Serve(request);
  EXPECT_TRUE(hits.ok()) << hits.status().ToString();
  EXPECT_TRUE(cache.CheckInvariants().ok())
      << cache.CheckInvariants().ToString();
  return hits.value_or(-1);
}

TEST(PolicyCacheTest, TellsThePolicyAsAnEngineWould) {
  const BlockTrace trace = MakeTrace(
      {MakeRequest({10, 11}), MakeRequest({10, 12}), MakeRequest({13})});
  std::string calls;
  PolicyCache cache(
      trace, BlockCount(3),
      std::make_unique<ListPolicy>(ListPolicy::Order::kIdle, false, &calls));
  EXPECT_EQ(Serve(cache, 0), 0);
  EXPECT_EQ(calls, "?0 +1 ?1 +2 idle2 idle1");
  calls.clear();
  EXPECT_EQ(Serve(cache, 1), 1);
  EXPECT_EQ(calls, "!1 use1 ?1 +3 idle3 idle1");
  calls.clear();
  EXPECT_EQ(Serve(cache, 2), 0);
  EXPECT_EQ(calls, "?0 -2 +2 idle2");
}

TEST(PolicyCacheTest, WhatTheRequestUsesIsNoVictim) {
  // The oldest are 1 and 2, which the second request uses.
  const BlockTrace trace =
      MakeTrace({MakeRequest({1, 2}), MakeRequest({3}), MakeRequest({1, 2, 4}),
                 MakeRequest({1, 2, 4}), MakeRequest({3})});
  PolicyCache cache(trace, BlockCount(3),
                    std::make_unique<ListPolicy>(ListPolicy::Order::kInserted));
  EXPECT_EQ(Serve(cache, 0), 0);
  EXPECT_EQ(Serve(cache, 1), 0);
  EXPECT_EQ(Serve(cache, 2), 2);
  EXPECT_EQ(Serve(cache, 3), 3);
  EXPECT_EQ(Serve(cache, 4), 0);
}

TEST(PolicyCacheTest, ALeafGoesInsteadOfItsForebears) {
  // The victim is 1, the first in; but 2 and 3 go on from it.
  const BlockTrace trace = MakeTrace(
      {MakeRequest({1, 2, 3}), MakeRequest({4}), MakeRequest({1, 2, 3})});
  const auto order = ListPolicy::Order::kInserted;
  PolicyCache keeps(trace, BlockCount(3), std::make_unique<ListPolicy>(order));
  EXPECT_EQ(Serve(keeps, 0), 0);
  EXPECT_EQ(Serve(keeps, 1), 0);
  EXPECT_EQ(Serve(keeps, 2), 2);

  PolicyCache evicts(trace, BlockCount(3),
                     std::make_unique<ListPolicy>(order, true));
  EXPECT_EQ(Serve(evicts, 0), 0);
  EXPECT_EQ(Serve(evicts, 1), 0);
  EXPECT_EQ(Serve(evicts, 2), 0);
}

TEST(PolicyCacheTest, TheBranchUnusedForLongestGoesFirst) {
  // 1 is continued by 2, by 3 and, again, by 2.
  const BlockTrace trace =
      MakeTrace({MakeRequest({1, 2}), MakeRequest({1, 3}), MakeRequest({1, 2}),
                 MakeRequest({4}), MakeRequest({1, 2}), MakeRequest({1, 3})});
  PolicyCache cache(trace, BlockCount(3),
                    std::make_unique<ListPolicy>(ListPolicy::Order::kInserted));
  for (std::size_t request = 0; request < 4; ++request) Serve(cache, request);
  EXPECT_EQ(Serve(cache, 4), 2);
  EXPECT_EQ(Serve(cache, 5), 1);
}

TEST(PolicyCacheTest, APromptLongerThanTheCacheLeavesItsBeginning) {
  const BlockTrace trace = MakeTrace(
      {MakeRequest({9}), MakeRequest({1, 2, 3, 4}), MakeRequest({1, 2, 3})});
  PolicyCache cache(trace, BlockCount(2),
                    std::make_unique<ListPolicy>(ListPolicy::Order::kIdle));
  EXPECT_EQ(Serve(cache, 0), 0);
  EXPECT_EQ(Serve(cache, 1), 0);
  EXPECT_EQ(Serve(cache, 2), 2);
}

TEST(PolicyCacheTest, APolicyWithoutAVictimIsAnError) {
  class NeverPolicy : public ListPolicy {
   public:
    NeverPolicy() : ListPolicy(Order::kIdle) {}
    [[nodiscard]] BlockId Victim() override { return kNullBlock; }
  };
  const BlockTrace trace = MakeTrace({MakeRequest({1}), MakeRequest({2})});
  const auto counts =
      SimulatePolicy(trace, BlockCount(1), std::make_unique<NeverPolicy>());
  EXPECT_EQ(counts.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(counts.status().message()),
              HasSubstr("policy list gives block 0 as its victim"));
}

}  // namespace
}  // namespace pagedkv::sim
