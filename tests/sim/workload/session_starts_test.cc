// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/session_starts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "sim/workload/workload_match.h"

namespace pagedkv::sim {
namespace {

std::vector<std::int64_t> Starts(const ArrivalSpec& spec, int count,
                                 double speed = 1.0) {
  SessionStarts starts(spec, speed, Random(7, 7));
  std::vector<std::int64_t> times;
  for (int i = 0; i < count; ++i) times.push_back(starts.Next().value());
  return times;
}

Sample Gaps(const std::vector<std::int64_t>& starts) {
  std::vector<std::int64_t> gaps;
  for (std::size_t i = 1; i < starts.size(); ++i) {
    gaps.push_back(starts[i] - starts[i - 1]);
  }
  return Sample(gaps);
}

TEST(SessionStartsTest, GapsHaveTheRateAndTheVariationAskedFor) {
  for (const double cv : {0.3, 0.7, 1.0, 1.7, 3.0}) {
    const Sample gaps = Gaps(Starts({.kind = ArrivalKind::kGamma,
                                     .sessions_per_s = 20.0,
                                     .burstiness_cv = cv},
                                    60'000));
    EXPECT_NEAR(gaps.mean(), 5e7, 5e7 * 0.015 * std::max(1.0, cv)) << cv;
    EXPECT_NEAR(gaps.cv(), cv, 0.03 * std::max(1.0, cv)) << cv;
  }
  const Sample poisson = Gaps(Starts({.sessions_per_s = 20.0}, 60'000));
  EXPECT_NEAR(poisson.cv(), 1.0, 0.02);
  // Of exponential gaps, half are below ln 2 of the mean.
  EXPECT_NEAR(static_cast<double>(poisson.Quantile(0.5)), 5e7 * std::log(2.0),
              1e6);
}

TEST(SessionStartsTest, GammaHasItsThirdMomentToo) {
  // Skewness of gamma is 2 / sqrt(shape); of other variables with the same
  // variation it is another.
  Random random(1, 2);
  for (const double shape : {0.2, 2.5}) {
    constexpr int kDraws = 60'000;
    std::vector<double> draws;
    for (int i = 0; i < kDraws; ++i) {
      draws.push_back(
          static_cast<double>(DrawGamma(
              static_cast<std::uint64_t>(shape * 4294967296.0), random)) /
          4294967296.0);
    }
    double cubes = 0.0;
    for (const double draw : draws) cubes += std::pow(draw - shape, 3);
    EXPECT_NEAR(cubes / kDraws / std::pow(shape, 1.5), 2.0 / std::sqrt(shape),
                0.12 * 2.0 / std::sqrt(shape));
  }
}

TEST(SessionStartsTest, ConstantGapsAreConstant) {
  const Sample gaps = Gaps(
      Starts({.kind = ArrivalKind::kConstant, .sessions_per_s = 4.0}, 100));
  EXPECT_EQ(gaps.values().front(), 250'000'000);
  EXPECT_EQ(gaps.values().back(), 250'000'000);
}

TEST(SessionStartsTest, FollowsTheProfileOfThePeriod) {
  // 10 a second on average, in parts of 25 s at 4, 8, 16 and 12.
  const auto starts = Starts({.sessions_per_s = 10.0,
                              .profile = {1, 2, 4, 3},
                              .period_ns = 100'000'000'000},
                             20'000);
  std::vector<double> counts(4, 0.0);
  std::int64_t last = 0;
  for (const std::int64_t start : starts) {
    ASSERT_GE(start, last);
    last = start;
    if (start >= 1'900'000'000'000) break;  // 19 whole periods
    counts[static_cast<std::size_t>(start / 25'000'000'000 % 4)] += 1.0;
  }
  EXPECT_NEAR(static_cast<double>(last) / 1e9, 1900, 1);
  const double per_unit = 19 * 25 * 4.0;
  EXPECT_NEAR(counts[0], per_unit * 1, 4 * std::sqrt(per_unit));
  EXPECT_NEAR(counts[1], per_unit * 2, 4 * std::sqrt(per_unit * 2));
  EXPECT_NEAR(counts[2], per_unit * 4, 4 * std::sqrt(per_unit * 4));
  EXPECT_NEAR(counts[3], per_unit * 3, 4 * std::sqrt(per_unit * 3));
}

TEST(SessionStartsTest, AnotherSpeedScalesTheSameGaps) {
  const auto slow = Starts({.sessions_per_s = 1.0}, 100);
  const auto fast = Starts({.sessions_per_s = 1.0}, 100, 4.0);
  for (std::size_t i = 0; i < slow.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(slow[i]),
                4.0 * static_cast<double>(fast[i]), 3.0);
  }
}

TEST(SessionStartsTest, EndsBeforeTimeOverflows) {
  const ArrivalSpec spec = {.kind = ArrivalKind::kConstant,
                            .sessions_per_s = 2.5e-10};
  SessionStarts starts(spec, 1.0, Random(1, 1));
  EXPECT_TRUE(starts.Next().has_value());
  EXPECT_TRUE(starts.Next().has_value());
  EXPECT_FALSE(starts.Next().has_value());
}

}  // namespace
}  // namespace pagedkv::sim
