// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> ValuesOf(const std::string& list) {
  const absl::StatusOr<SweepParameter> parameter =
      ParseSweepParameter("name=" + list);
  EXPECT_TRUE(parameter.ok()) << parameter.status();
  return parameter.ok() ? parameter->values : std::vector<std::string>();
}

std::string ErrorOf(const std::string& text) {
  return std::string(ParseSweepParameter(text).status().message());
}

TEST(SweepValuesTest, ListsAreSeparatedByCommas) {
  const absl::StatusOr<SweepParameter> parameter =
      ParseSweepParameter("--max-seq-len=2048,4096");
  ASSERT_TRUE(parameter.ok()) << parameter.status();
  EXPECT_EQ(parameter->name, "max-seq-len");
  EXPECT_THAT(parameter->values, ElementsAre("2048", "4096"));
}

TEST(SweepValuesTest, ASemicolonLeavesCommasInTheValues) {
  EXPECT_THAT(ValuesOf("paged-16,concat;paged-32"),
              ElementsAre("paged-16,concat", "paged-32"));
}

TEST(SweepValuesTest, RangesMultiplyAddOrCount) {
  EXPECT_THAT(ValuesOf("8..100*2"), ElementsAre("8", "16", "32", "64"));
  EXPECT_THAT(ValuesOf("8..64*2"), ElementsAre("8", "16", "32", "64"));
  EXPECT_THAT(ValuesOf("1..10+4"), ElementsAre("1", "5", "9"));
  EXPECT_THAT(ValuesOf("3..6"), ElementsAre("3", "4", "5", "6"));
  EXPECT_THAT(ValuesOf("5..5"), ElementsAre("5"));
  EXPECT_THAT(ValuesOf("1,8..16*2,5"), ElementsAre("1", "8", "16", "5"));
}

TEST(SweepValuesTest, RangesKeepWhatStandsAroundTheNumber) {
  EXPECT_THAT(ValuesOf("1GiB..3GiB+1GiB"), ElementsAre("1GiB", "2GiB", "3GiB"));
  EXPECT_THAT(ValuesOf("1GiB..2GiB+0.5"),
              ElementsAre("1GiB", "1.5GiB", "2GiB"));
  EXPECT_THAT(ValuesOf("paged-8..paged-32*2"),
              ElementsAre("paged-8", "paged-16", "paged-32"));
  EXPECT_THAT(ValuesOf("0.1..0.3+0.1"), ElementsAre("0.1", "0.2", "0.3"));
  EXPECT_THAT(ValuesOf("1..4*1.5"), ElementsAre("1", "1.5", "2.25", "3.375"));
}

TEST(SweepValuesTest, APathMayHaveDots) {
  EXPECT_THAT(ValuesOf("../a1.csv,./b..2"), ElementsAre("../a1.csv", "./b..2"));
}

TEST(SweepValuesTest, WhatIsNoSweepIsRefused) {
  EXPECT_THAT(ErrorOf("max-seq-len"), HasSubstr("names no values"));
  EXPECT_THAT(ErrorOf("a=1,,2"), HasSubstr("has an empty value"));
  EXPECT_THAT(ErrorOf("a="), HasSubstr("has an empty value"));
  EXPECT_THAT(ErrorOf("a=1,2,1"), HasSubstr("has the value 1 twice"));
  EXPECT_THAT(ErrorOf("a=8..2"), HasSubstr("'8..2' ends below its begin"));
  EXPECT_THAT(ErrorOf("a=8..64*1"), HasSubstr("never ends"));
  EXPECT_THAT(ErrorOf("a=0..64*2"), HasSubstr("never ends"));
  EXPECT_THAT(ErrorOf("a=0.000001..64*1.5"), HasSubstr("never ends"));
  EXPECT_THAT(ErrorOf("a=1..64+0"), HasSubstr("never ends"));
  EXPECT_THAT(ErrorOf("a=1GiB..2MiB"), HasSubstr("different units"));
  EXPECT_THAT(ErrorOf("a=1GiB..2GiB+1MiB"), HasSubstr("another unit"));
  EXPECT_THAT(ErrorOf("a=x..y"), HasSubstr("has no numbers"));
  EXPECT_THAT(ErrorOf("a=1..99999999999999999999"), HasSubstr("no numbers"));
  EXPECT_THAT(ErrorOf("a=1..1000000"), HasSubstr("too many values"));
}

TEST(SweepValuesTest, TheLastParameterChangesFastest) {
  const auto combinations =
      SweepCombinations({{"a", {"1", "2"}}, {"b", {"x", "y", "z"}}});
  ASSERT_TRUE(combinations.ok()) << combinations.status();
  ASSERT_EQ(combinations->size(), 6u);
  EXPECT_THAT((*combinations)[0], ElementsAre("1", "x"));
  EXPECT_THAT((*combinations)[1], ElementsAre("1", "y"));
  EXPECT_THAT((*combinations)[5], ElementsAre("2", "z"));
}

TEST(SweepValuesTest, TooManyCombinationsAndANameTwiceAreRefused) {
  const SweepParameter many{"a", std::vector<std::string>(200, "x")};
  SweepParameter other = many;
  other.name = "b";
  EXPECT_THAT(std::string(SweepCombinations({many, other}).status().message()),
              HasSubstr("more than 10000 combinations"));
  EXPECT_THAT(std::string(SweepCombinations({many, many}).status().message()),
              HasSubstr("a is swept more than once"));
}

}  // namespace
}  // namespace pagedkv::sim
