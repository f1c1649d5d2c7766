// SPDX-License-Identifier: Apache-2.0
#include "sim/report/decimal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;

TEST(FixedDecimalTest, HasSixDecimalsAndNoNegativeZero) {
  EXPECT_EQ(FixedDecimal(96.85), "96.850000");
  EXPECT_EQ(FixedDecimal(-1e-9), "0.000000");
  EXPECT_EQ(FixedDecimal(-0.25), "-0.250000");
}

TEST(ThousandthsToStringTest, DropsTrailingZeros) {
  EXPECT_EQ(ThousandthsToString(0), "0");
  EXPECT_EQ(ThousandthsToString(15'728'000), "15728");
  EXPECT_EQ(ThousandthsToString(1'050), "1.05");
  EXPECT_EQ(ThousandthsToString(-7), "-0.007");
}

TEST(NanosecondsToSecondsTest, IsExact) {
  EXPECT_EQ(NanosecondsToSeconds(0), "0");
  EXPECT_EQ(NanosecondsToSeconds(20'000'000), "0.02");
  EXPECT_EQ(NanosecondsToSeconds(3'501'721'937'123), "3501.721937123");
  EXPECT_EQ(NanosecondsToSeconds(100'000'000'000), "100");
}

TEST(GroupedTest, SeparatesThousands) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1'000), "1,000");
  EXPECT_EQ(Grouped(-123'456), "-123,456");
  EXPECT_EQ(Grouped(std::numeric_limits<std::int64_t>::max()),
            "9,223,372,036,854,775,807");
}

TEST(ApportionTest, GivesWhatIsLeftToTheLargestRemainders) {
  // 10 units over 1 : 1 : 1 are 3.33 each, over 1 : 2 : 4 are 1.4, 2.9, 5.7.
  EXPECT_THAT(Apportion(std::vector<absl::int128>{1, 1, 1}, 10),
              ElementsAre(4, 3, 3));
  EXPECT_THAT(Apportion(std::vector<absl::int128>{1, 2, 4}, 10),
              ElementsAre(1, 3, 6));
  EXPECT_THAT(Apportion(std::vector<absl::int128>{0, 0}, 10),
              ElementsAre(0, 0));
}

TEST(ApportionTest, SumsToTheUnitsForAnyParts) {
  std::mt19937_64 random(20'231'023);
  for (int trial = 0; trial < 1000; ++trial) {
    std::vector<absl::int128> parts(11);
    for (absl::int128& part : parts) part = random() % 1'000'000'007 + 1;
    const auto units = static_cast<std::int64_t>(random() % 100'000'000);
    const std::vector<std::int64_t> shares = Apportion(parts, units);
    ASSERT_EQ(std::accumulate(shares.begin(), shares.end(), std::int64_t{0}),
              units)
        << "trial " << trial;
  }
}

}  // namespace
}  // namespace pagedkv::sim
