// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/quantile_table.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace pagedkv::sim {
namespace {

constexpr Quantile kTable[] = {
    {0, 10}, {5000, 20}, {9999, 20}, {10000, 1 << 17}};
constexpr QuantileTable table(kTable);
static_assert(table.IsValid());

constexpr std::uint32_t Word(double fraction) {
  return static_cast<std::uint32_t>(fraction * 4294967296.0);
}

TEST(QuantileTableTest, GoesFromTheMinimumToTheMaximum) {
  EXPECT_EQ(table.At(0), 10);
  EXPECT_EQ(table.At(0xFFFFFFFF), 1 << 17);
}

TEST(QuantileTableTest, InterpolatesToTheNearestValue) {
  EXPECT_EQ(table.At(Word(0.25)), 15);
  EXPECT_EQ(table.At(Word(0.124)), 12);
  EXPECT_EQ(table.At(Word(0.126)), 13);
  EXPECT_EQ(table.At(Word(0.5)), 20);
  EXPECT_EQ(table.At(Word(0.9)), 20);
  EXPECT_EQ(table.At(Word(0.99995)), 10 + (1 << 16));
}

TEST(QuantileTableTest, KnowsATableThatIsNone) {
  constexpr Quantile kShort[] = {{0, 1}};
  constexpr Quantile kNoStart[] = {{1, 1}, {10000, 2}};
  constexpr Quantile kNoEnd[] = {{0, 1}, {9999, 2}};
  constexpr Quantile kFalling[] = {{0, 2}, {10000, 1}};
  constexpr Quantile kTwice[] = {{0, 1}, {5, 2}, {5, 3}, {10000, 4}};
  constexpr Quantile kNegative[] = {{0, -1}, {10000, 1}};
  constexpr Quantile kLarge[] = {{0, 1}, {10000, (1 << 17) + 1}};
  EXPECT_FALSE(QuantileTable(kShort).IsValid());
  EXPECT_FALSE(QuantileTable(kNoStart).IsValid());
  EXPECT_FALSE(QuantileTable(kNoEnd).IsValid());
  EXPECT_FALSE(QuantileTable(kFalling).IsValid());
  EXPECT_FALSE(QuantileTable(kTwice).IsValid());
  EXPECT_FALSE(QuantileTable(kNegative).IsValid());
  EXPECT_FALSE(QuantileTable(kLarge).IsValid());
}

}  // namespace
}  // namespace pagedkv::sim
