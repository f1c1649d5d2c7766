// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_page.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "sim/cli/hitcurve_plot.h"

namespace pagedkv::sim {
namespace {

HitCounts OfHundredBlocks(std::int64_t hits) {
  HitCounts counts;
  counts.blocks = 100;
  counts.hit_blocks = hits;
  return counts;
}

/// LRU finds 10, 30 and 40 % with 5, 10 and 20 blocks; the optimum 20, 40, 40.
HitcurveReport Example() {
  HitcurveReport report;
  report.trace.name = "conv.jsonl";
  report.trace.trace_block_tokens = 512;
  report.curve.sizes = {BlockCount(5), BlockCount(10), BlockCount(20)};
  report.curve.rows = {
      {"lru",
       HitCurveMethod::kStackDistances,
       {OfHundredBlocks(10), OfHundredBlocks(30), OfHundredBlocks(40)}},
      {"optimum",
       HitCurveMethod::kOffline,
       {OfHundredBlocks(20), OfHundredBlocks(40), OfHundredBlocks(40)}}};
  report.curve.unbounded = OfHundredBlocks(40);
  report.curve.lru_need = BlockCount(20);
  return report;
}

TEST(HitcurvePageTest, TheVerdictNamesTheSizesThatSuffice) {
  EXPECT_EQ(HitcurveVerdict(Example(), HitWeight::kBlock),
            "A cache that never evicts finds 40.0 % of the blocks asked for; "
            "of the sizes tried, for nine tenths of that lru needs 20 blocks, "
            "and the offline optimum needs 10 blocks.");
}

TEST(HitcurvePageTest, TheVerdictSaysWhereNoSizeSufficesOrNothingIsShared) {
  HitcurveReport report = Example();
  report.curve.unbounded = OfHundredBlocks(90);
  EXPECT_EQ(HitcurveVerdict(report, HitWeight::kBlock),
            "A cache that never evicts finds 90.0 % of the blocks asked for; "
            "of the sizes tried, for nine tenths of that lru needs more than "
            "20 blocks, and the offline optimum needs more than 20 blocks.");
  report.curve.unbounded = OfHundredBlocks(0);
  EXPECT_EQ(HitcurveVerdict(report, HitWeight::kBlock),
            "A cache that never evicts finds 0.0 % of the blocks asked for: "
            "there is nothing to share.");
}

TEST(HitcurvePageTest, HasTheCurvesInside) {
  const std::string page = HitcurvePage(Example(), {HitWeight::kBlock});
  EXPECT_NE(page.find("pagedkv.hitcurve/1"), std::string::npos);
  EXPECT_NE(page.find("conv.jsonl"), std::string::npos);
}

TEST(HitcurvePlotTest, DrawsAMarkForEachPolicyAndSize) {
  EXPECT_EQ(HitcurvePlot(Example(), HitWeight::kBlock),
            "0.4000 |------2---1-\n"
            "       |            \n"
            "       |            \n"
            "       |      1     \n"
            "       |            \n"
            "       |  2         \n"
            "       |            \n"
            "       |            \n"
            "       |  1         \n"
            "       |            \n"
            "       |            \n"
            "0.0000 |            \n"
            "       +------------\n"
            "        5  20 blocks\n"
            "        1 lru  2 optimum  - unbounded\n");
}

}  // namespace
}  // namespace pagedkv::sim
