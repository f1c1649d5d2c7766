// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace pagedkv::sim {
namespace {

TEST(RandomTest, IsTheSameOnEveryMachine) {
  Random random(1, 2);
  EXPECT_EQ(random.Word(), 2190451680U);
  EXPECT_EQ(random.Word(), 740767090U);
  EXPECT_EQ(random.Exponential(), 11912525117U);
}

TEST(RandomTest, MixesAsSplitMix64Does) {
  // The first outputs of the reference implementation for the seed 0.
  EXPECT_EQ(Mix64(0x9E3779B97F4A7C15), 0xE220A8397B1DCDAFU);
  EXPECT_EQ(Mix64(2 * 0x9E3779B97F4A7C15), 0x6E789E6AA1B965F4U);
}

TEST(RandomTest, IsUniform) {
  Random random(7, 0);
  constexpr int kDraws = 200'000;
  double sum = 0;
  int low = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.Word() / 4294967296.0;
    sum += value;
    low += value < 0.1 ? 1 : 0;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.003);
  EXPECT_NEAR(static_cast<double>(low) / kDraws, 0.1, 0.003);
}

TEST(RandomTest, DrawsExponentialGaps) {
  Random random(7, 0);
  constexpr int kDraws = 200'000;
  double sum = 0;
  double squares = 0;
  int above_two = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value =
        static_cast<double>(random.Exponential()) / 4294967296.0;
    sum += value;
    squares += value * value;
    above_two += value > 2 ? 1 : 0;
  }
  EXPECT_NEAR(sum / kDraws, 1.0, 0.01);
  EXPECT_NEAR(squares / kDraws, 2.0, 0.05);
  EXPECT_NEAR(static_cast<double>(above_two) / kDraws, std::exp(-2.0), 0.003);
}

TEST(RandomTest, HasStreamsThatDiffer) {
  Random a(7, 0);
  Random b(7, 1);
  Random c(8, 0);
  int equal = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t word = a.Word();
    equal += word == b.Word() ? 1 : 0;
    equal += word == c.Word() ? 1 : 0;
  }
  EXPECT_EQ(equal, 0);
}

}  // namespace
}  // namespace pagedkv::sim
