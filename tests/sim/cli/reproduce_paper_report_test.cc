// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/reproduce_paper_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<PaperCheck> Examples() {
  return {{.id = "toy.exact",
           .where = "Fig. 3",
           .setting = "by hand",
           .unit = "slots",
           .expected_lo = 2038,
           .expected_hi = 2038,
           .values = {2038}},
          {.id = "toy.drawn",
           .where = "Fig. 9",
           .setting = "drawn",
           .unit = "%",
           .expected_lo = 44.3,
           .expected_hi = 66.3,
           .tolerance = 0.5,
           .values = {50, 51, 52}}};
}

TEST(ReproducePaperReportTest, OneMissedFigureFailsTheWhole) {
  std::vector<PaperCheck> checks = Examples();
  EXPECT_TRUE(AllPassed(checks));
  checks[0].expected_lo = checks[0].expected_hi = 2037;
  EXPECT_FALSE(AllPassed(checks));
  EXPECT_FALSE(AllPassed({}));
}

TEST(ReproducePaperReportTest, TheTableHasBothFiguresAndTheVerdict) {
  const std::string text = PaperChecksToText({.seeds = 3}, Examples());
  EXPECT_THAT(text,
              HasSubstr("2038 |          2038 |     exact | slots |    pass"));
  EXPECT_THAT(text, HasSubstr("44.30 to 66.30 | 51.00 +- 2.48"));
  EXPECT_THAT(text, HasSubstr("toy.exact: by hand"));
  EXPECT_THAT(text, HasSubstr("the seeds 1 to 3"));
  EXPECT_THAT(text, HasSubstr("2 of 2 figures are within their tolerance"));
  EXPECT_THAT(text, Not(HasSubstr("FAIL")));
}

TEST(ReproducePaperReportTest, AFailureIsSeenAndItsFactIsNamed) {
  std::vector<PaperCheck> checks = Examples();
  checks[1].values = {10};
  checks[0].note = "block 3 is the first";
  for (const std::string& text :
       {PaperChecksToText({}, checks), PaperChecksToMarkdown({}, checks)}) {
    EXPECT_THAT(text, HasSubstr("FAIL"));
    EXPECT_THAT(text, HasSubstr("1 of 2 figures"));
    EXPECT_THAT(text, HasSubstr("toy.exact: not: block 3 is the first"));
  }
}

TEST(ReproducePaperReportTest, JsonHasEverySeed) {
  std::vector<PaperCheck> checks = Examples();
  checks.push_back({.id = "toy.nothing"});
  const auto json =
      nlohmann::json::parse(PaperChecksToJson({.seeds = 3}, checks));
  EXPECT_EQ(json["schema"], "pagedkv.reproduce/1");
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["seeds"], 3);
  ASSERT_EQ(json["checks"].size(), 3u);
  const auto& drawn = json["checks"][1];
  EXPECT_EQ(drawn["values"], (std::vector<double>{50, 51, 52}));
  EXPECT_EQ(drawn["ours"]["mean"], 51);
  EXPECT_NEAR(drawn["ours"]["hi"].get<double>(), 51 + 2.4843, 1e-3);
  EXPECT_EQ(drawn["published"]["lo"], 44.3);
  EXPECT_EQ(drawn["passed"], true);
  EXPECT_TRUE(json["checks"][0]["ours"]["lo"].is_null());
  EXPECT_TRUE(json["checks"][2]["ours"].is_null());
}

}  // namespace
}  // namespace pagedkv::sim
