// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/hit_counts.h"

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

constexpr BlockSize kBlock(512);

TEST(HitCountsTest, TheLastBlockHoldsWhatIsLeftOfThePrompt) {
  EXPECT_EQ(TokensOfPrefix(0, kBlock, TokenCount(600)), TokenCount(0));
  EXPECT_EQ(TokensOfPrefix(1, kBlock, TokenCount(600)), TokenCount(512));
  EXPECT_EQ(TokensOfPrefix(2, kBlock, TokenCount(600)), TokenCount(600));
}

TEST(HitCountsTest, EachWeightHasItsOwnRate) {
  HitCounts counts;
  counts.AddRequest(2, TokenCount(600));
  counts.AddHits(1, kBlock, TokenCount(600));
  counts.AddRequest(1, TokenCount(100));
  counts.AddHits(1, kBlock, TokenCount(100));
  counts.AddRequest(0, TokenCount(300));  // known to have hit nothing
  const HitRates rates = counts.rates();
  EXPECT_DOUBLE_EQ(rates.block, 2.0 / 3);
  EXPECT_DOUBLE_EQ(rates.token, 612.0 / 1000);
  EXPECT_NEAR(rates.request, (512.0 / 600 + 1 + 0) / 3, 1e-9);
}

TEST(HitCountsTest, NothingAskedForIsNothingHit) {
  EXPECT_EQ(HitCounts().rates(), HitRates());
}

TEST(HitCountsTest, TheLongestPromptHasAShareOfOne) {
  const TokenCount longest(2'147'483'647);
  EXPECT_EQ(RequestShare(longest, longest), std::int64_t{1} << 32);
  EXPECT_EQ(RequestShare(TokenCount(0), longest), 0);
}

}  // namespace
}  // namespace pagedkv::sim
