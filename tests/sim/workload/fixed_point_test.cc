// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/fixed_point.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr double kUnit = 4294967296.0;          // 2^32
constexpr double kOne = 4611686018427387904.0;  // 2^62

TEST(FixedPointTest, PowersAndLogarithmsAreThoseOfTheMathematicalLibrary) {
  Random random(1, 2);
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t value = (std::uint64_t{random.Word()} >> (i % 32)) + 1;
    EXPECT_NEAR(static_cast<double>(Log2(value)) / kUnit,
                std::log2(static_cast<double>(value)), 3e-10);
    const std::uint64_t exponent = std::uint64_t{random.Word()} << (i % 4);
    const double x = static_cast<double>(exponent) / kUnit;
    EXPECT_NEAR(static_cast<double>(PowerOfHalf(exponent)) / kOne,
                std::exp2(-x), 1e-15);
    EXPECT_NEAR(static_cast<double>(ExpOfMinus(exponent)) / kOne, std::exp(-x),
                1e-9 * std::exp(-x) + 1e-15);
  }
}

TEST(FixedPointTest, IsExactAtTheEnds) {
  EXPECT_EQ(Log2(1), 0U);
  EXPECT_EQ(Log2(std::uint64_t{1} << 63), std::uint64_t{63} << 32);
  EXPECT_EQ(PowerOfHalf(0), std::uint64_t{1} << 62);
  EXPECT_EQ(PowerOfHalf(std::uint64_t{3} << 32), std::uint64_t{1} << 59);
  EXPECT_EQ(PowerOfHalf(std::uint64_t{63} << 32), 0U);
  EXPECT_EQ(ExpOfMinus(~std::uint64_t{0}), 0U);
}

}  // namespace
}  // namespace pagedkv::sim
