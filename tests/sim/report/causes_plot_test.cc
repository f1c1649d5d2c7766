// SPDX-License-Identifier: Apache-2.0
#include "sim/report/causes_plot.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

Report TwoPolicies() {
  Report report = ExampleReport();
  report.results.resize(2);
  // One policy that wastes nothing.
  report.results[1].metrics.causes_millionths_pct = {100'000'000};
  return report;
}

TEST(CausesPlotTest, HasABarForEachPolicyAndAKeyOfWhatOccurs) {
  // 40 % token, 10 reserved, 20 internal, 5 round-up, 3 watermark, 2 blocked by
  // fragmentation, 11 by capacity, 4 by limits, 1 tail, 4 idle: 2 % a column,
  // and the largest remainders get what is left.
  EXPECT_EQ(CausesPlot(TwoPolicies(), Glyphs::kAscii),
            "where the pool goes, 2 % a column:\n"
            "contiguous-max |####################=====xxxxxxxxxx+++ww%ccccc"
            "pp..|\n"
            "paged-16       |" +
                std::string(50, '#') +
                "|\n"
                "# token  = reserved  x internal  + round-up  w watermark  % "
                "blocked: fragmented  c blocked: capacity  p blocked: limits  "
                ". idle\n");
}

TEST(CausesPlotTest, UsesBlocksWhereTheyCanBeShown) {
  const std::string plot = CausesPlot(TwoPolicies(), Glyphs::kUnicode);
  EXPECT_NE(plot.find("contiguous-max |████████████████████▓▓▓▓▓▒▒▒▒▒▒▒▒▒▒░░░"),
            std::string::npos)
      << plot;
  EXPECT_NE(plot.find("█ token  ▓ reserved  ▒ internal"), std::string::npos);
}

}  // namespace
}  // namespace pagedkv::sim
