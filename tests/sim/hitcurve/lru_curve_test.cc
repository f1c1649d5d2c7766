// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/lru_curve.h"

#include <array>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using Contents = std::vector<std::uint32_t>;

TEST(LruCurveTest, APromptLongerThanTheCacheLeavesItsBeginning) {
  LruCurve curve(BlockSize(4));
  curve.Add(Contents{0, 1, 2}, TokenCount(12));
  curve.Add(Contents{0, 1, 2}, TokenCount(12));
  EXPECT_EQ(curve.need(), BlockCount(3));
  EXPECT_EQ(curve.At(BlockCount(1)).hit_blocks, 1);
  EXPECT_EQ(curve.At(BlockCount(2)).hit_blocks, 2);
  EXPECT_EQ(curve.At(BlockCount(3)).hit_blocks, 3);
  EXPECT_EQ(curve.At(BlockCount(1'000'000'000'000)), curve.Unbounded());
}

// Touching block 2 of [0 1 2] must not push 1 out before it is looked for.
TEST(LruCurveTest, HitsAreDecidedBeforeTheRequestTouchesAnything) {
  LruCurve curve(BlockSize(4));
  curve.Add(Contents{0, 1}, TokenCount(8));
  curve.Add(Contents{0, 1, 2}, TokenCount(12));
  EXPECT_EQ(curve.At(BlockCount(2)).hit_blocks, 2);
}

TEST(LruCurveTest, WhatLiesBehindAMissIsNoHit) {
  LruCurve curve(BlockSize(4));
  curve.Add(Contents{7}, TokenCount(4));
  curve.Add(Contents{8, 7}, TokenCount(8));
  EXPECT_EQ(curve.Unbounded().hit_blocks, 0);
  EXPECT_EQ(curve.need(), BlockCount(0));
  // 8 is above 7, but 7 counts as a hit only where 8 is one.
  curve.Add(Contents{7, 8}, TokenCount(8));
  EXPECT_EQ(curve.At(BlockCount(1)).hit_blocks, 0);
  EXPECT_EQ(curve.At(BlockCount(2)).hit_blocks, 2);
}

TEST(LruCurveTest, APartialLastBlockWeighsItsTokens) {
  LruCurve curve(BlockSize(4));
  curve.Add(Contents{0, 1}, TokenCount(5));
  curve.Add(Contents{0, 1}, TokenCount(5));
  const HitCounts counts = curve.Unbounded();
  EXPECT_EQ(counts.hit_tokens, 5);
  EXPECT_EQ(counts.tokens, 10);
  EXPECT_DOUBLE_EQ(counts.rates().request, 0.5);
}

}  // namespace
}  // namespace pagedkv::sim
