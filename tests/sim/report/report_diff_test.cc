// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

#include "sim/report/canonical_json.h"
#include "sim/report/diff_table.h"
#include "sim/report/report_json.h"
#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ReportFile FileOf(const Report& report, const std::string& path) {
  const absl::StatusOr<ReportFile> file =
      ParseReportFile(ReportToJson(report), path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *file : ReportFile{};
}

absl::StatusOr<ReportDiff> Diff(const Report& before, const Report& after,
                                double tolerance = 0.5) {
  return DiffReports(FileOf(before, "a.json"), FileOf(after, "b.json"),
                     tolerance);
}

/// The second policy, paged-16.
PolicyResult& Paged(Report& report) { return report.results[1]; }

auto Change(const std::string& figure, Verdict verdict) {
  return AllOf(Field(&FigureChange::policy, "paged-16"),
               Field(&FigureChange::figure, figure),
               Field(&FigureChange::verdict, verdict));
}

TEST(ReportDiffTest, EqualReportsAreEqual) {
  const absl::StatusOr<ReportDiff> diff =
      Diff(ExampleReport(), ExampleReport());
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_TRUE(diff->identical);
  EXPECT_THAT(diff->changes, IsEmpty());
  EXPECT_GT(diff->num_figures, 3u * 20u);
  EXPECT_THAT(DiffToText(*diff), HasSubstr("the reports are equal\n"));
}

TEST(ReportDiffTest, WhatGotWorseIsARegressionAndComesFirst) {
  const Report before = ExampleReport();
  Report after = before;
  Paged(after).metrics.token_pct->mean += 2;  // effective_pct: better
  Paged(after).metrics.batch_mean->mean -= 1;
  Paged(after).totals.preemptions += 100;
  const absl::StatusOr<ReportDiff> diff = Diff(before, after);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_FALSE(diff->identical);
  EXPECT_THAT(diff->changes,
              ElementsAre(Change("batch.mean", Verdict::kRegression),
                          Change("preempt.count", Verdict::kRegression),
                          Change("effective_pct", Verdict::kImprovement),
                          Change("capacity_gain", Verdict::kChange),
                          Change("paper_pct.token", Verdict::kChange)));
  EXPECT_EQ(diff->Count(Verdict::kRegression), 2u);
  EXPECT_THAT(DiffToText(*diff),
              HasSubstr("2 regressions, 1 improvement, 2 other changes\n"));
  EXPECT_THAT(DiffToMarkdown(*diff),
              HasSubstr("| paged-16 | batch.mean | regression | 3 | 2 | -1 | "
                        "0.015 |\n"));
  const auto json = nlohmann::json::parse(DiffToJson(*diff));
  EXPECT_EQ(json["regressions"], 2);
  EXPECT_EQ(json["changes"][0]["figure"], "batch.mean");
  EXPECT_EQ(json["changes"][0]["before"], 3);
}

TEST(ReportDiffTest, TheOtherWayRoundItIsAnImprovement) {
  const Report before = ExampleReport();
  Report after = before;
  Paged(after).metrics.batch_mean->mean -= 1;
  const absl::StatusOr<ReportDiff> diff = Diff(after, before);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes,
              Contains(Change("batch.mean", Verdict::kImprovement)));
  EXPECT_EQ(diff->Count(Verdict::kRegression), 0u);
}

TEST(ReportDiffTest, ThePercentToleranceIsInPointsTheOtherInPercent) {
  const Report before = ExampleReport();
  Report after = before;
  Paged(after).metrics.waste_pct->mean += 0.6;
  Paged(after).totals.preemptions += 6;  // of 1,234: 0.49 %
  absl::StatusOr<ReportDiff> diff = Diff(before, after, 0.5);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes,
              ElementsAre(Change("waste_pct", Verdict::kRegression)));
  diff = Diff(before, after, 0.7);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes, IsEmpty());
  EXPECT_FALSE(diff->identical);
  EXPECT_THAT(DiffToText(*diff), HasSubstr("no figure changed by more than"));
  diff = Diff(before, after, 0);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes,
              ElementsAre(Change("preempt.count", Verdict::kRegression),
                          Change("waste_pct", Verdict::kRegression)));
}

TEST(ReportDiffTest, AnIntervalWiderThanTheToleranceCounts) {
  Report before = ExampleReport();
  Report after = before;
  Paged(after).metrics.waste_pct->mean += 1.5;
  Paged(before).metrics.waste_pct->interval = Interval{40, 44};
  absl::StatusOr<ReportDiff> diff = Diff(before, after);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes, IsEmpty());
  Paged(after).metrics.waste_pct->mean += 1;  // 2.5 beside a half width of 2
  diff = Diff(before, after);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes,
              ElementsAre(AllOf(Change("waste_pct", Verdict::kRegression),
                                Field(&FigureChange::tolerance, 2))));
}

TEST(ReportDiffTest, AFigureThatOneLacksIsAChange) {
  const Report before = ExampleReport();
  Report after = before;
  Paged(after).metrics.waste_pct.reset();
  const absl::StatusOr<ReportDiff> diff = Diff(before, after);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->changes,
              ElementsAre(Change("waste_pct", Verdict::kChange)));
  EXPECT_EQ(diff->changes[0].after, std::nullopt);
}

TEST(ReportDiffTest, AnotherQuestionIsRefusedAndSaysWhatDiffers) {
  const Report before = ExampleReport();
  const auto refusal = [&](auto change) {
    Report after = before;
    change(after);
    const absl::StatusOr<ReportDiff> diff = Diff(before, after);
    EXPECT_TRUE(absl::IsFailedPrecondition(diff.status())) << diff.status();
    return std::string(diff.status().message());
  };
  EXPECT_EQ(refusal([](Report& r) { r.pool.slots = TokenCount(2'000); }),
            "a.json and b.json do not answer the same question: pool.slots is "
            "1000 and 2000");
  EXPECT_THAT(refusal([](Report& r) {
                r.inputs.trace.sha256 = std::string(64, 'b');
                r.model.name = "llama";
              }),
              AllOf(HasSubstr("inputs.trace.sha256 is aaaaaaaaaaaaaaaa... and "
                              "bbbbbbbbbbbbbbbb..."),
                    HasSubstr("; model.name is opt-13b and llama")));
  EXPECT_THAT(
      refusal([](Report& r) { r.simulation.clock = ClockKind::kIteration; }),
      HasSubstr("clock.kind is fixed and iteration"));
  EXPECT_THAT(refusal([](Report& r) { r.window = WindowKind::kBusy; }),
              HasSubstr("window.asked is saturated and busy"));
  EXPECT_THAT(refusal([](Report& r) { r.inputs.trace.kept -= 1; }),
              HasSubstr("inputs.trace.kept is 1000 and 999"));
  EXPECT_THAT(refusal([](Report& r) {
                for (PolicyResult& each : r.results) {
                  each.policy.kind = PolicyKind::kContiguousOracle;
                }
              }),
              HasSubstr("no policy is in both"));
}

TEST(ReportDiffTest, AnotherNameOfTheTraceIsTheSameQuestion) {
  const Report before = ExampleReport();
  Report after = before;
  after.inputs.trace.name = "copy.csv";
  EXPECT_TRUE(Diff(before, after).ok());
}

TEST(ReportDiffTest, WhatMayDifferIsNoted) {
  const Report before = ExampleReport();
  Report after = before;
  after.simulation.max_num_seqs = 128;
  after.simulation.watermark = 0.25;
  after.results.pop_back();
  const absl::StatusOr<ReportDiff> diff = Diff(before, after);
  ASSERT_TRUE(diff.ok()) << diff.status();
  EXPECT_THAT(diff->notes, ElementsAre("limits.max_num_seqs is 256 and 128",
                                       "concat is only in a.json",
                                       "paged-16.watermark is 0.0 and 0.25"));
  EXPECT_THAT(DiffToText(*diff), HasSubstr("note: concat is only in a.json\n"));
}

TEST(ReportFileTest, AnEditedReportIsRefused) {
  std::string text = ReportToJson(ExampleReport());
  const std::size_t at = text.find("\"finished\": 3");
  ASSERT_NE(at, std::string::npos);
  text[at + 12] = '4';
  const absl::Status status = ParseReportFile(text, "a.json").status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("a.json: the report was edited: it states hash "));
}

TEST(ReportFileTest, TheRunAndTheLayoutAreNotPartOfTheHash) {
  nlohmann::json document =
      nlohmann::json::parse(ReportToJson(ExampleReport()));
  document["run"]["wall_s"] = 12;
  EXPECT_TRUE(ParseReportFile(document.dump(), "a.json").ok());
}

TEST(ReportFileTest, WhatIsNoReportIsRefusedWithTheFile) {
  const auto message = [](const std::string& text) {
    return std::string(ParseReportFile(text, "a.json").status().message());
  };
  EXPECT_EQ(message("{\n]"), "a.json:2:1: this is not valid JSON");
  EXPECT_THAT(message("{}"), HasSubstr("a.json: this is no report"));
  EXPECT_THAT(message("[]"), HasSubstr("a.json: this is no report"));
  EXPECT_THAT(message(R"({"schema": "pagedkv.report/2"})"),
              HasSubstr("schema 'pagedkv.report/2' is not known"));
  EXPECT_THAT(message(R"({"schema": "pagedkv.report/1"})"),
              HasSubstr("no hash"));
  EXPECT_THAT(std::string(ReadReportFile("/nonexistent").status().message()),
              HasSubstr("/nonexistent: "));
}

TEST(ReportFileTest, AReportOfTheRightHashAndNothingElseIsRefusedByDiff) {
  const std::string text =
      SealedText({{"schema", "pagedkv.report/1"}, {"results", 3}}, {});
  const absl::StatusOr<ReportFile> file = ParseReportFile(text, "a.json");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(std::string(DiffReports(*file, *file, 0.5).status().message()),
              HasSubstr("no results"));
}

}  // namespace
}  // namespace pagedkv::sim
