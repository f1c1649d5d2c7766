// SPDX-License-Identifier: Apache-2.0
#include "sim/report/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

namespace pagedkv::sim {
namespace {

std::vector<Integrals<double>> WindowsOf(const std::vector<double>& values) {
  std::vector<Integrals<double>> windows;
  for (double value : values) {
    Integrals<double> window;
    window.weight = 1;
    window.running = value;
    windows.push_back(window);
  }
  return windows;
}

Interval IntervalOfMean(const std::vector<double>& values, std::uint64_t seed) {
  std::vector<double> means;
  for (const Integrals<double>& resample :
       ResampleMovingBlocks(WindowsOf(values), seed)) {
    means.push_back(resample.running / resample.weight);
  }
  return Central95(means);
}

/// Standard normal values, by Box and Muller.
std::vector<double> NormalValues(std::size_t count, std::mt19937_64& random) {
  constexpr double kTwoPi = 6.283185307179586;
  const auto uniform = [&] {
    return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
  };
  std::vector<double> values(count);
  for (double& value : values) {
    value = std::sqrt(-2 * std::log(uniform())) * std::cos(kTwoPi * uniform());
  }
  return values;
}

TEST(BootstrapTest, SaysNothingAboutFewerThanTwentyWindows) {
  EXPECT_TRUE(
      ResampleMovingBlocks(WindowsOf(std::vector<double>(19, 1.0)), 0).empty());
  EXPECT_FALSE(
      ResampleMovingBlocks(WindowsOf(std::vector<double>(20, 1.0)), 0).empty());
}

TEST(BootstrapTest, DrawsAsManyWindowsAsThereAre) {
  for (std::size_t count : {20, 63, 64, 512}) {
    for (const Integrals<double>& resample :
         ResampleMovingBlocks(WindowsOf(std::vector<double>(count, 2.0)), 1)) {
      ASSERT_EQ(resample.weight, static_cast<double>(count));
      ASSERT_EQ(resample.running, 2.0 * static_cast<double>(count));
    }
  }
}

TEST(BootstrapTest, TheSameSeedGivesTheSameInterval) {
  std::mt19937_64 random(7);
  const std::vector<double> values = NormalValues(100, random);
  const Interval first = IntervalOfMean(values, 42);
  const Interval again = IntervalOfMean(values, 42);
  const Interval other = IntervalOfMean(values, 43);
  EXPECT_EQ(first.lo, again.lo);
  EXPECT_EQ(first.hi, again.hi);
  EXPECT_NE(first.lo, other.lo);
}

TEST(BootstrapTest,
     CoversTheTrueMeanOfIndependentValuesAboutAsOftenAsPromised) {
  std::mt19937_64 random(11);
  int covered = 0;
  constexpr int kTrials = 200;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Interval interval = IntervalOfMean(NormalValues(200, random), 1);
    if (interval.lo <= 0 && 0 <= interval.hi) ++covered;
  }
  // 95 % in the limit; blocks of a twentieth of the data cost a few percent.
  EXPECT_GE(covered, kTrials * 85 / 100);
  EXPECT_LE(covered, kTrials * 99 / 100);
}

TEST(BootstrapTest, WidensWhereNeighboursDependOnEachOther) {
  std::mt19937_64 random(13);
  std::vector<double> values = NormalValues(400, random);
  const Interval independent = IntervalOfMean(values, 1);
  // The same spread, but each value lasts for ten windows.
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = values[i - i % 10];
  const Interval dependent = IntervalOfMean(values, 1);
  EXPECT_GT(dependent.hi - dependent.lo, 2 * (independent.hi - independent.lo));
}

TEST(Central95Test, CutsAFortiethOffEachSide) {
  std::vector<double> values;
  for (int i = 1000; i >= 1; --i) values.push_back(i);
  const Interval interval = Central95(values);
  EXPECT_EQ(interval.lo, 26);
  EXPECT_EQ(interval.hi, 975);
}

}  // namespace
}  // namespace pagedkv::sim
