// SPDX-License-Identifier: Apache-2.0
#include "sim/study/paper_check.h"

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

PaperCheck Check(double lo, double hi, double tolerance,
                 std::vector<double> values) {
  PaperCheck check;
  check.expected_lo = lo;
  check.expected_hi = hi;
  check.tolerance = tolerance;
  check.values = std::move(values);
  return check;
}

TEST(PaperCheckTest, PassesWithinTheToleranceAndNotBeyond) {
  EXPECT_TRUE(Check(10, 10, 2, {8}).passed());
  EXPECT_TRUE(Check(10, 10, 2, {12}).passed());
  EXPECT_FALSE(Check(10, 10, 2, {7.99}).passed());
  EXPECT_FALSE(Check(10, 10, 2, {12.01}).passed());
  EXPECT_TRUE(Check(10, 10, 0, {10}).passed());
  EXPECT_FALSE(Check(10, 10, 0, {10.001}).passed());
}

TEST(PaperCheckTest, ARangeIsWidenedByTheTolerance) {
  EXPECT_TRUE(Check(10, 20, 1, {9}).passed());
  EXPECT_TRUE(Check(10, 20, 1, {15}).passed());
  EXPECT_TRUE(Check(10, 20, 1, {21}).passed());
  EXPECT_FALSE(Check(10, 20, 1, {21.5}).passed());
}

TEST(PaperCheckTest, TheEdgeOfADecimalToleranceIsInside) {
  // 0.3 - 0.1 is a little less than 0.2 in binary.
  EXPECT_TRUE(Check(0.3, 0.3, 0.1, {0.2}).passed());
}

TEST(PaperCheckTest, NothingMeasuredNeverPasses) {
  EXPECT_FALSE(Check(0, 0, 1, {}).passed());
}

TEST(PaperCheckTest, TheMeanOverSeedsCounts) {
  const PaperCheck check = Check(10, 10, 0, {5, 15});
  EXPECT_EQ(check.mean(), 10);
  EXPECT_TRUE(check.passed());
}

TEST(PaperCheckTest, TheIntervalIsStudents) {
  EXPECT_FALSE(Check(0, 0, 0, {5}).interval().has_value());
  // Standard deviation 1, so 12.706 / sqrt(2) and 4.303 / sqrt(3).
  const double root_half = 0.70710678;
  const auto two = Check(0, 0, 0, {5 - root_half, 5 + root_half}).interval();
  ASSERT_TRUE(two.has_value());
  EXPECT_NEAR(two->lo, 5 - 8.9845, 1e-3);
  EXPECT_NEAR(two->hi, 5 + 8.9845, 1e-3);
  const auto three = Check(0, 0, 0, {4, 5, 6}).interval();
  ASSERT_TRUE(three.has_value());
  EXPECT_NEAR(three->hi, 5 + 2.4843, 1e-3);
}

}  // namespace
}  // namespace pagedkv::sim
