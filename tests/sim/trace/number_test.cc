// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/number.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(NumberTest, ReadsTokensThatFit) {
  std::int32_t tokens = -1;
  std::string error;
  EXPECT_TRUE(ParseTokens("0", tokens, error));
  EXPECT_EQ(tokens, 0);
  EXPECT_TRUE(ParseTokens("2147483647", tokens, error));
  EXPECT_EQ(tokens, 2147483647);
}

TEST(NumberTest, RefusesTokensThatAreNoWholeNumberInRange) {
  for (const std::string_view text :
       {"", "-1", "2147483648", "99999999999999999999", "12x", "x12", "1.5",
        "1e3", " 1", "+1", "nan", "0x10"}) {
    std::int32_t tokens = 0;
    std::string error;
    EXPECT_FALSE(ParseTokens(text, tokens, error)) << text;
    EXPECT_THAT(error, HasSubstr("\"" + std::string(text) + "\""));
  }
}

TEST(NumberTest, ReadsTimesToTheNanosecond) {
  struct Case {
    std::string_view text;
    std::int64_t unit_ns;
    std::int64_t expected;
  };
  for (const Case& each : {
           Case{"0", kSecond, 0},
           Case{"5", kSecond, 5 * kSecond},
           Case{"45.0", kSecond, 45 * kSecond},
           Case{"0.1", kSecond, 100'000'000},
           Case{"61.114000001", kSecond, 61'114'000'001},
           Case{"1.0000000019", kSecond, 1'000'000'001},
           Case{"27482", 1'000'000, 27'482'000'000},
           Case{"27482.5", 1'000'000, 27'482'500'000},
           Case{"46926808", 1, 46'926'808},
           Case{"5e-05", kSecond, 50'000},
           Case{"1.5E3", kSecond, 1500 * kSecond},
       }) {
    std::int64_t time = -1;
    std::string error;
    EXPECT_TRUE(ParseTime(each.text, each.unit_ns, time, error)) << error;
    EXPECT_EQ(time, each.expected) << each.text;
  }
}

TEST(NumberTest, RefusesTimesThatAreNegativeTooLateOrNoNumber) {
  for (const std::string_view text :
       {"", "-1", "-0.5", "1.2.3", "abc", "1s", "nan", "inf", "-inf", "1e300",
        "9223372037", "99999999999999999999", "--1", "1,5"}) {
    std::int64_t time = 0;
    std::string error;
    EXPECT_FALSE(ParseTime(text, kSecond, time, error)) << text;
    EXPECT_FALSE(error.empty());
  }
}

TEST(NumberTest, ReadsDatesOfEveryAzureTrace) {
  struct Case {
    std::string_view text;
    std::int64_t expected;
  };
  for (const Case& each : {
           Case{"1970-01-01 00:00:00", 0},
           Case{"1970-01-01 00:00:00.1", 100'000'000},
           // date -d '2023-11-16 18:15:46 UTC' +%s
           Case{"2023-11-16 18:15:46.6805900", 1'700'158'546'680'590'000},
           Case{"2024-05-10 00:00:00.009930+00:00", 1'715'299'200'009'930'000},
           Case{"2024-05-10 00:00:01+00:00", 1'715'299'201'000'000'000},
           Case{"2024-05-10T00:00:01Z", 1'715'299'201'000'000'000},
           Case{"2024-05-10 02:00:01+02:00", 1'715'299'201'000'000'000},
           Case{"2024-05-09 18:30:01-05:30", 1'715'299'201'000'000'000},
           // A leap day, and a turn of month, of year.
           Case{"2024-02-29 23:59:59.999999999", 1'709'251'199'999'999'999},
           Case{"2024-03-01 00:00:00", 1'709'251'200'000'000'000},
           Case{"2024-01-01 00:00:00", 1'704'067'200'000'000'000},
       }) {
    std::int64_t time = -1;
    std::string error;
    EXPECT_TRUE(ParseDateTime(each.text, time, error)) << error;
    EXPECT_EQ(time, each.expected) << each.text;
  }
}

TEST(NumberTest, RefusesDatesThatDoNotExistOrAreAbsurd) {
  for (const std::string_view text : {"",
                                      "2023-11-16",
                                      "2023-02-29 00:00:00",
                                      "2023-13-01 00:00:00",
                                      "2023-00-01 00:00:00",
                                      "2023-11-31 00:00:00",
                                      "2023-11-16 24:00:00",
                                      "2023-11-16 18:60:00",
                                      "2023-11-16 18:15:60",
                                      "1969-12-31 23:59:59",
                                      "1970-01-01 00:00:00+01:00",
                                      "2200-01-01 00:00:00",
                                      "0000-00-00 00:00:00",
                                      "2023-11-16 18:15:46.",
                                      "2023-11-16 18:15:46x",
                                      "2023-11-16 18:15:46.5+0:00",
                                      "2023-11-16 18:15:46+15:00",
                                      "2023-11-16 18:15",
                                      "16/11/2023 18:15:46",
                                      "1700158546"}) {
    std::int64_t time = 0;
    std::string error;
    EXPECT_FALSE(ParseDateTime(text, time, error)) << text;
    EXPECT_FALSE(error.empty());
  }
}

TEST(NumberTest, QuotesWithoutControlCharacters) {
  EXPECT_EQ(Quote("a\x01\n\xFF"), "\"a\\x01\\n\\xff\"");
  EXPECT_LT(Quote(std::string(1000, 'a')).size(), 80U);
}

}  // namespace
}  // namespace pagedkv::sim
