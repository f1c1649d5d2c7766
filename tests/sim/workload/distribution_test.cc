// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/distribution.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

TEST(DistributionTest, IsUniformBetweenItsQuantiles) {
  const Distribution distribution(std::vector<Distribution::Point>{
      {0, 10}, {500'000, 20}, {1'000'000, 60}});
  EXPECT_EQ(distribution.At(0), 10);
  EXPECT_EQ(distribution.At(std::uint32_t{1} << 30), 15);
  EXPECT_EQ(distribution.At(std::uint32_t{1} << 31), 20);
  EXPECT_EQ(distribution.At(std::uint32_t{3} << 30), 40);
  EXPECT_EQ(distribution.At(0xFFFF'FFFF), 60);
  EXPECT_DOUBLE_EQ(distribution.mean(), 27.5);
  Random random(1, 1);
  double sum = 0.0;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) {
    sum += static_cast<double>(distribution.At(random.Word()));
  }
  EXPECT_NEAR(sum / kDraws, 27.5, 0.4);
}

TEST(DistributionTest, TakesValuesBeyond32Bits) {
  constexpr std::int64_t kMax = Distribution::kMaxValue;
  const Distribution distribution(
      std::vector<Distribution::Point>{{0, 0}, {1'000'000, kMax}});
  EXPECT_EQ(distribution.At(std::uint32_t{1} << 31), kMax / 2);
  EXPECT_EQ(Distribution(7).At(12345), 7);
}

TEST(DistributionTest, KnowsWhichQuantilesAreValid) {
  EXPECT_TRUE(Distribution::AreValid({{0, 1}, {1'000'000, 1}}));
  EXPECT_FALSE(Distribution::AreValid({}));
  EXPECT_FALSE(Distribution::AreValid({{0, 1}}));
  EXPECT_FALSE(Distribution::AreValid({{1, 1}, {1'000'000, 1}}));
  EXPECT_FALSE(Distribution::AreValid({{0, 1}, {999'999, 1}}));
  EXPECT_FALSE(Distribution::AreValid({{0, 2}, {1'000'000, 1}}));
  EXPECT_FALSE(Distribution::AreValid({{0, -1}, {1'000'000, 1}}));
  EXPECT_FALSE(
      Distribution::AreValid({{0, 1}, {5, 1}, {5, 2}, {1'000'000, 3}}));
  EXPECT_FALSE(Distribution::AreValid(
      {{0, 1}, {1'000'000, Distribution::kMaxValue + 1}}));
}

}  // namespace
}  // namespace pagedkv::sim
