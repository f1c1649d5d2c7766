// SPDX-License-Identifier: Apache-2.0
#include "sim/report/latency_histogram.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>

namespace pagedkv::sim {
namespace {

TEST(LatencyHistogramTest, NothingHasNoQuantiles) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0);
  EXPECT_EQ(histogram.Quantile(0.5), std::nullopt);
  EXPECT_EQ(histogram.Mean(), std::nullopt);
  EXPECT_EQ(histogram.Greatest(), std::nullopt);
}

TEST(LatencyHistogramTest, SmallValuesAreExact) {
  LatencyHistogram histogram;
  for (std::int64_t value = 0; value < 1'024; ++value) histogram.Add(value);
  for (std::int64_t value = 0; value < 1'024; ++value) {
    const double quantile = static_cast<double>(value + 1) / 1'024;
    EXPECT_EQ(histogram.Quantile(quantile), value);
  }
}

TEST(LatencyHistogramTest, AQuantileIsAValueThatThereIsAtTheEnds) {
  LatencyHistogram histogram;
  histogram.Add(1'000'003);
  EXPECT_EQ(histogram.Quantile(0.5), 1'000'003);
  histogram.Add(2'000'003);
  EXPECT_EQ(histogram.Quantile(1.0), 2'000'003);
  EXPECT_EQ(histogram.Mean(), 1'500'003);
  EXPECT_EQ(histogram.Greatest(), 2'000'003);
}

TEST(LatencyHistogramTest, TheRankIsRoundedUp) {
  LatencyHistogram histogram;
  for (const std::int64_t value : {10, 20, 30}) histogram.Add(value);
  EXPECT_EQ(histogram.Quantile(0.33), 10);
  EXPECT_EQ(histogram.Quantile(0.34), 20);
  EXPECT_EQ(histogram.Quantile(0.67), 30);
}

TEST(LatencyHistogramTest, TheGreatestTimesHaveABucketToo) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  LatencyHistogram histogram;
  histogram.Add(kMax);
  histogram.Add(kMax);
  EXPECT_EQ(histogram.Greatest(), kMax);
  EXPECT_EQ(histogram.Mean(), static_cast<double>(kMax));
  EXPECT_EQ(histogram.Quantile(1.0), kMax);
}

}  // namespace
}  // namespace pagedkv::sim
