// SPDX-License-Identifier: Apache-2.0
#include "sim/report/verdict.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

PolicyResult Result(PolicyKind kind, std::optional<double> batch, double token,
                    double waste, std::int64_t peak = 0) {
  PolicyResult result;
  result.policy.kind = kind;
  if (batch) result.metrics.batch_mean = Estimate{*batch, std::nullopt};
  result.metrics.token_pct = Estimate{token, std::nullopt};
  result.metrics.waste_pct = Estimate{waste, std::nullopt};
  result.totals.capacity_slots = peak;
  return result;
}

Report ReportOf(std::vector<PolicyResult> results) {
  Report report = ExampleReport();
  report.results = std::move(results);
  return report;
}

TEST(VerdictTest, SetsTheLargestBatchBesideTheBaseline) {
  EXPECT_EQ(Verdict(ReportOf({
                Result(PolicyKind::kContiguousMax, 7, 20, 80),
                Result(PolicyKind::kPaged, 34.3, 97.1, 2),
                Result(PolicyKind::kConcat, 3, 10, 5),
            })),
            "Paging in blocks of 16 holds 4.9 times as many requests at once "
            "as preallocating 2,048 tokens (34.3 against 7.0): tokens fill "
            "97.1 % of the pool, against 20.0 %.");
}

TEST(VerdictTest, SetsABaselineThatIsBestBesideTheWorst) {
  EXPECT_EQ(Verdict(ReportOf({
                Result(PolicyKind::kPaged, 30, 97, 2),
                Result(PolicyKind::kContiguousOracle, 20, 40, 50),
                Result(PolicyKind::kContiguousPow2, 10, 30, 60),
            })),
            "Paging in blocks of 16 holds 3.0 times as many requests at once "
            "as reserving up to twice the output (30.0 against 10.0): tokens "
            "fill 97.0 % of the pool, against 30.0 %.");
}

TEST(VerdictTest, ComparesWasteWhereTheBatchesAreEqual) {
  EXPECT_EQ(Verdict(ReportOf({
                Result(PolicyKind::kContiguousMax, 5, 5, 80),
                Result(PolicyKind::kPaged, 5.05, 5, 2),
            })),
            "Paging in blocks of 16 and preallocating 2,048 tokens hold as "
            "many requests at once (5.0 and 5.0): memory does not decide here. "
            "Of what they hold, 2.0 % and 80.0 % are wasted.");
}

TEST(VerdictTest, ComparesPoliciesThatAreTheSameToo) {
  EXPECT_EQ(Verdict(ReportOf({
                Result(PolicyKind::kPaged, 5, 5, 2),
                Result(PolicyKind::kConcat, 5, 5, 2),
            })),
            "Paging in blocks of 16 and growing by copy hold as many requests "
            "at once (5.0 and 5.0): memory does not decide here. Of what they "
            "hold, 2.0 % and 2.0 % are wasted.");
}

TEST(VerdictTest, ComparesPeaksWhereThePoolIsUnbounded) {
  Report report = ReportOf({
      Result(PolicyKind::kContiguousMaxExact, 5, 5, 80, 20'480),
      Result(PolicyKind::kPaged, 5, 5, 2, 4'096),
  });
  report.simulation.demand = true;
  EXPECT_EQ(Verdict(report),
            "Paging in blocks of 16 needs 4,096 slots at its peak, an arena of "
            "2,048 tokens for each request needs 20,480: 5.0 times as many.");
  report.results.pop_back();
  EXPECT_EQ(Verdict(report),
            "An arena of 2,048 tokens for each request needs 20,480 slots at "
            "its peak.");
}

TEST(VerdictTest, DescribesASinglePolicy) {
  EXPECT_EQ(Verdict(ReportOf({Result(PolicyKind::kPaged, 34.3, 97.1, 2)})),
            "Paging in blocks of 16 holds 34.3 requests at once; tokens fill "
            "97.1 % of the pool, and 2.0 % of what is held is wasted.");
}

TEST(VerdictTest, SaysWhereNothingEverRan) {
  EXPECT_EQ(Verdict(ReportOf({Result(PolicyKind::kPaged, std::nullopt, 0, 0)})),
            "No request was ever resident: the pool holds none of them.");
  EXPECT_EQ(Verdict(ReportOf({
                Result(PolicyKind::kContiguousMax, std::nullopt, 0, 0),
                Result(PolicyKind::kPaged, 3, 50, 0),
            })),
            "Paging in blocks of 16 holds 3.0 requests at once, preallocating "
            "2,048 tokens none.");
}

}  // namespace
}  // namespace pagedkv::sim
