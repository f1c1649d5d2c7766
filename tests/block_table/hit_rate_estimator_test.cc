// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/hit_rate_estimator.h"

#include <array>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using Contents = std::vector<std::uint64_t>;

HitRateEstimator Make(const HitRateEstimatorOptions& options = {}) {
  return *HitRateEstimator::Create(options);
}

TEST(HitRateEstimatorTest, KnowsNothingAtFirst) {
  const HitRateEstimator estimator = Make();
  EXPECT_EQ(estimator.Estimate(BlockCount(1000)), 0.0);
  EXPECT_EQ(estimator.num_references(), 0);
  EXPECT_EQ(estimator.num_samples(), 0);
  EXPECT_EQ(estimator.sampling_rate(), 1.0);
  EXPECT_TRUE(estimator.CheckInvariants().ok());
}

TEST(HitRateEstimatorTest, RefusesOptionsOutOfRange) {
  for (const std::int32_t max_samples : {-1, 0, 15, (1 << 24) + 1}) {
    const auto estimator =
        HitRateEstimator::Create({.max_samples = max_samples});
    EXPECT_EQ(estimator.status().code(), absl::StatusCode::kInvalidArgument)
        << max_samples;
  }
  EXPECT_TRUE(HitRateEstimator::Create({.max_samples = 16}).ok());
}

// A cache of 3 keeps the beginning of [1 2 3 4], as 4 is touched first. The
// second request finds 1, 2, 3; the third [1 2 5] finds 1 and 2 in a cache
// of 2.
TEST(HitRateEstimatorTest, TouchesARequestFromItsLastBlockToItsFirst) {
  HitRateEstimator estimator = Make();
  estimator.OnRequest(Contents{1, 2, 3, 4});
  estimator.OnRequest(Contents{1, 2, 3, 4});
  estimator.OnRequest(Contents{1, 2, 5});
  EXPECT_EQ(estimator.num_references(), 11);
  EXPECT_EQ(estimator.num_samples(), 5);
  EXPECT_EQ(estimator.Estimate(BlockCount(0)), 0.0);
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(1)), 2.0 / 11);
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(2)), 4.0 / 11);
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(3)), 5.0 / 11);
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(4)), 6.0 / 11);
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(1'000'000'000'000'000)),
                   6.0 / 11);
}

TEST(HitRateEstimatorTest, FollowsNoMoreThanItMay) {
  HitRateEstimator estimator = Make({.max_samples = 100});
  double rate = 1.0;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    estimator.OnRequest(std::array{i});
    EXPECT_LE(estimator.num_samples(), 100);
    EXPECT_LE(estimator.sampling_rate(), rate);
    rate = estimator.sampling_rate();
  }
  EXPECT_EQ(estimator.num_samples(), 100);
  EXPECT_NEAR(rate, 100.0 / 20'000, 0.002);
  // Nothing came back; a hundred samples do not tell it more precisely.
  EXPECT_LT(estimator.Estimate(BlockCount(1'000'000)), 0.1);
  EXPECT_TRUE(estimator.CheckInvariants().ok());
}

// Content 7 is nearly all there is, and is followed under some seeds only.
TEST(HitRateEstimatorTest, IsNotMisledByOneHotContent) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    HitRateEstimator estimator = Make({.max_samples = 64, .seed = seed});
    for (std::uint64_t i = 0; i < 10'000; ++i) {
      estimator.OnRequest(std::array{std::uint64_t{7}});
      if (i % 10 == 0) estimator.OnRequest(std::array{1000 + i});
    }
    // 7 comes back at depth 1, and at depth 2 after one of the others.
    EXPECT_NEAR(estimator.Estimate(BlockCount(1000)), 9'999.0 / 11'000, 0.02)
        << "seed " << seed;
  }
}

TEST(HitRateEstimatorTest, ANewWindowKeepsWhatIsRecent) {
  HitRateEstimator estimator = Make();
  estimator.OnRequest(Contents{1, 2});
  EXPECT_EQ(estimator.Estimate(BlockCount(10)), 0.0);
  estimator.StartWindow();
  EXPECT_EQ(estimator.num_references(), 0);
  EXPECT_EQ(estimator.Estimate(BlockCount(10)), 0.0);
  estimator.OnRequest(Contents{1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(estimator.Estimate(BlockCount(10)), 0.5);
  EXPECT_TRUE(estimator.CheckInvariants().ok());
}

TEST(HitRateEstimatorTest, SameArgumentsGiveTheSameEstimates) {
  HitRateEstimator a = Make({.max_samples = 50, .seed = 3});
  HitRateEstimator b = Make({.max_samples = 50, .seed = 3});
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    const std::array request = {i % 7, 100 + (i * i) % 501, 10'000 + i % 997};
    a.OnRequest(request);
    b.OnRequest(request);
  }
  for (std::int64_t size = 1; size < 4'000; size += 13) {
    EXPECT_EQ(a.Estimate(BlockCount(size)), b.Estimate(BlockCount(size)));
  }
}

}  // namespace
}  // namespace pagedkv
