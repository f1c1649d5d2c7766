// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/cache_histograms.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace pagedkv {
namespace {

TEST(DurationHistogramTest, BucketsArePowersOfTwo) {
  DurationHistogram histogram;
  for (const std::int64_t duration : {0, 1, 2, 3, 4, 7, 8, 1023, 1024}) {
    histogram.Add(duration);
  }
  EXPECT_EQ(histogram.bucket(0), 1);
  EXPECT_EQ(histogram.bucket(1), 1);
  EXPECT_EQ(histogram.bucket(2), 2);
  EXPECT_EQ(histogram.bucket(3), 2);
  EXPECT_EQ(histogram.bucket(4), 1);
  EXPECT_EQ(histogram.bucket(10), 1);
  EXPECT_EQ(histogram.bucket(11), 1);
  EXPECT_EQ(histogram.count(), 9);
  EXPECT_DOUBLE_EQ(histogram.sum_seconds(), 2072e-9);
  histogram.CheckInvariants();
}

TEST(DurationHistogramTest, NoDurationIsTooLongAndNegativeOnesAreNone) {
  DurationHistogram histogram;
  histogram.Add(std::numeric_limits<std::int64_t>::max());
  histogram.Add(std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(histogram.bucket(63), 1);
  EXPECT_EQ(histogram.bucket(0), 1);
  EXPECT_EQ(DurationHistogram::UpperBound(63),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(DurationHistogram::UpperBound(0), 0);
}

TEST(DurationHistogramTest, AQuantileIsTheUpperBoundOfItsBucket) {
  DurationHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), 0);
  for (int i = 0; i < 9; ++i) histogram.Add(100);
  histogram.Add(5000);
  EXPECT_EQ(histogram.Quantile(0), 127);
  EXPECT_EQ(histogram.Quantile(0.5), 127);
  EXPECT_EQ(histogram.Quantile(0.9), 127);
  EXPECT_EQ(histogram.Quantile(0.91), 8191);
  EXPECT_EQ(histogram.Quantile(1), 8191);
}

TEST(CacheHistogramsTest, AddsUpThoseOfSeveralCaches) {
  CacheHistograms a{.num_sampled = 2};
  a.lifetime.Add(10);
  a.reuse_gap.Add(3);
  CacheHistograms b{.num_sampled = 1};
  b.lifetime.Add(12);
  b.idle_before_evict.Add(1);
  a += b;
  EXPECT_EQ(a.num_sampled, 3);
  EXPECT_EQ(a.lifetime.count(), 2);
  EXPECT_EQ(a.lifetime.bucket(4), 2);
  EXPECT_EQ(a.idle_before_evict.count(), 1);
  EXPECT_EQ(a.reuse_gap.count(), 1);
  a.lifetime.CheckInvariants();
}

}  // namespace
}  // namespace pagedkv
