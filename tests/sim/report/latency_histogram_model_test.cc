// SPDX-License-Identifier: Apache-2.0
// Histograms of random times against the sorted times themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <random>
#include <vector>

#include "sim/report/latency_histogram.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kSeed = 20240917;

void ExpectQuantilesOf(std::vector<std::int64_t> values) {
  LatencyHistogram histogram;
  double sum = 0;
  for (const std::int64_t value : values) {
    histogram.Add(value);
    sum += static_cast<double>(value);
  }
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  for (const double quantile :
       {1e-9, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank =
        static_cast<std::size_t>(std::max(1.0, std::ceil(quantile * count)));
    const auto exact = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(static_cast<double>(*histogram.Quantile(quantile)), exact,
                exact / 1'024)
        << quantile << " of " << values.size();
  }
  EXPECT_EQ(*histogram.Quantile(1.0), values.back());
  EXPECT_EQ(*histogram.Greatest(), values.back());
  EXPECT_NEAR(*histogram.Mean(), sum / count, 1e-9 * sum / count);
}

TEST(LatencyHistogramModelTest, QuantilesAreWithinTheErrorOfTheExactOnes) {
  std::cout << "seed " << kSeed << '\n';
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    const std::size_t count = 1 + random() % 2'000;
    // Magnitudes over all octaves, or a single narrow one.
    const auto widest = static_cast<int>(random() % 63);
    const bool narrow = random() % 2 == 0;
    std::vector<std::int64_t> values;
    for (std::size_t i = 0; i < count; ++i) {
      const int bits =
          narrow ? widest : static_cast<int>(random() % 63) % (widest + 1);
      values.push_back(static_cast<std::int64_t>(
          random() & ((std::uint64_t{1} << bits) - 1)));
    }
    ExpectQuantilesOf(std::move(values));
  }
}

TEST(LatencyHistogramModelTest, EveryEdgeOfABucketIsWithinTheError) {
  for (int bits = 0; bits < 63; ++bits) {
    for (const std::int64_t step : {-1, 0, 1}) {
      const std::int64_t value = (std::int64_t{1} << bits) + step;
      // Between two others, so that it is not the least or the greatest.
      ExpectQuantilesOf({value / 2, value, value, value, value + value / 2});
    }
  }
}

}  // namespace
}  // namespace pagedkv::sim
