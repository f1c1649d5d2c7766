// SPDX-License-Identifier: Apache-2.0
#include "sim/study/units.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

TEST(UnitsTest, SizesAreExactAndDoNotMixGbWithGib) {
  const struct {
    const char* text;
    std::int64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"7B", 7},
      {"800KiB", 819'200},
      {"800KB", 800'000},
      {"800kB", 800'000},
      {"3MiB", 3'145'728},
      {"3MB", 3'000'000},
      {"12GiB", 12'884'901'888},
      {"24GB", 24'000'000'000},
      {"24 gb", 24'000'000'000},
      {"1.5GiB", 1'610'612'736},
      {"0.000001GB", 1'000},
      {"0.3KiB", 307},  // 307.2
      {"1TiB", 1'099'511'627'776},
      {"1.999999TiB", 2'199'022'156'040},
      {"2TB", 2'000'000'000'000},
      {"9223372036854775807", std::numeric_limits<std::int64_t>::max()},
  };
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseBytes(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, Bytes(bytes)) << text;
  }
}

TEST(UnitsTest, TimesAreExact) {
  const struct {
    const char* text;
    std::int64_t ns;
  } cases[] = {
      {"5ns", 5},
      {"10us", 10'000},
      {"20ms", 20'000'000},
      {"1.5s", 1'500'000'000},
      {"0.000001s", 1'000},
      {"2min", 120'000'000'000},
      {"2h", 7'200'000'000'000},
      {"0s", 0},
      {"9.999999h", 35'999'996'400'000},
  };
  for (const auto& [text, ns] : cases) {
    const auto parsed = ParseDurationNs(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(*parsed, ns) << text;
  }
}

TEST(UnitsTest, JunkIsAnErrorThatShowsHowToWriteIt) {
  for (const char* text :
       {"",       " ",       "GiB",         "-1",   "-1GiB", "+1",
        "12G",    "12Gi",    "12GiBB",      "1e9",  "1,000", "1.",
        ".5GB",   "1.5.5GB", "0x10",        "nan",  "inf",   "12  GiB",
        " 12GiB", "12GiB ",  "1.1234567GB", "12ms", "\xff"}) {
    EXPECT_EQ(ParseBytes(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
  for (const char* text :
       {"", "20", "ms", "-1s", "1d", "20msec", "1.s", "1m"}) {
    EXPECT_EQ(ParseDurationNs(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
  EXPECT_EQ(std::string(ParseBytes("12G").status().message()),
            "'12G' is not a size: write it like 12GiB (2^30), 24GB (10^9), "
            "800KiB or 4096");
  EXPECT_THAT(std::string(ParseDurationNs("20").status().message()),
              HasSubstr("'20' is not a time: write it like 20ms"));
}

TEST(UnitsTest, WhatDoesNotFit63BitsIsOutOfRange) {
  for (const char* text : {"9223372036854775808", "99999999999999999999",
                           "8388608TiB", "9007199254740992KiB"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), absl::StatusCode::kOutOfRange)
        << text;
  }
  EXPECT_TRUE(ParseBytes("8388607.999999TiB").ok());
  EXPECT_TRUE(ParseDurationNs("2562047h").ok());
  EXPECT_EQ(ParseDurationNs("2562048h").status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(UnitsTest, BytesAreShownAsGbOrAsGib) {
  EXPECT_EQ(FormatGb(Bytes(42'949'672'960)), "42.950");
  EXPECT_EQ(FormatGib(Bytes(42'949'672'960)), "40.000");
  EXPECT_EQ(FormatGb(Bytes(327'680)), "0.000328");
  EXPECT_EQ(FormatGb(Bytes(-2'268'313'805)), "-2.268");
  EXPECT_DOUBLE_EQ(ToGb(Bytes(42'949'672'960)), 42.949673);
  EXPECT_DOUBLE_EQ(ToGib(Bytes(1'342'177'280)), 1.25);
}

}  // namespace
}  // namespace pagedkv::sim
