// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/value_counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace pagedkv::sim {
namespace {

TEST(ValueCountsTest, IsZeroWithoutValues) {
  const ValueCounts counts;
  EXPECT_EQ(counts.count(), 0);
  EXPECT_EQ(counts.Quantile(0.5), 0);
  EXPECT_EQ(counts.Quantile(1.0), 0);
}

TEST(ValueCountsTest, TakesQuantilesByNearestRankWhateverTheSize) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  ValueCounts counts;
  std::vector<std::int64_t> values;
  for (int i = 0; i < 3'000; ++i) {
    // From a few to far beyond the dense ones.
    const std::uint64_t value = random() >> (24 + random() % 40);
    values.push_back(static_cast<std::int64_t>(value));
    counts.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  ASSERT_GT(values.back(), std::int64_t{1} << 30);
  EXPECT_EQ(counts.count(), 3'000);
  for (const double p : {1e-9, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(p * 3'000));
    EXPECT_EQ(counts.Quantile(p), values[rank - 1]) << p;
  }
}

}  // namespace
}  // namespace pagedkv::sim
