// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/study/step_fit_report.h"

namespace pagedkv::sim {
namespace {

/// An engine that takes exactly this.
StepTime TrueTime() {
  return {.serial = {.per_step = 15'000'000'000'000,
                     .per_sequence = 40'000'000'000,
                     .per_computed_token = 90'000'000'000,
                     .per_prefill_attention = 4'000'000,
                     .per_resident_token = 150'000'000}};
}

/// Requests of random lengths against a pool in which they queue and are
/// preempted, and the times that an engine of `TrueTime` gave them.
MeasuredRun SyntheticRun(std::size_t num_requests) {
  std::mt19937_64 random(11);
  MeasuredRun run;
  run.name = "synthetic";
  run.num_blocks = BlockCount(600);
  run.policy.kind = PolicyKind::kPaged;
  run.simulation.clock = ClockKind::kModel;
  run.simulation.capacity = TokenCount(600 * 16);
  run.simulation.max_sequence_tokens = TokenCount(4'096);
  run.simulation.max_num_seqs = 32;
  run.simulation.max_num_batched_tokens = TokenCount(1'024);
  std::int64_t arrival_ns = 0;
  for (std::size_t i = 0; i < num_requests; ++i) {
    TraceRequest request;
    request.id = static_cast<std::int64_t>(i);
    arrival_ns += static_cast<std::int64_t>(random() % 300'000'000);
    request.arrival_ns = arrival_ns;
    request.prompt_tokens = 20 + static_cast<std::int32_t>(random() % 1'500);
    request.output_tokens = 1 + static_cast<std::int32_t>(random() % 300);
    run.requests.push_back(request);
  }
  for (std::int64_t second = 1; second < 20; ++second) {
    run.series.push_back({.time_ns = second * 1'000'000'000});
  }
  const absl::StatusOr<ReplayedRun> truth = ReplayMeasuredRun(run, TrueTime());
  EXPECT_TRUE(truth.ok()) << truth.status();
  if (!truth.ok()) return run;
  EXPECT_GT(truth->totals.preemptions, 0);
  run.series = truth->series;
  for (const RequestRecord& record : truth->requests) {
    run.measured.push_back(
        MeasuredRequest{.first_token_ns = record.first_token_ns,
                        .last_token_ns = record.finish_ns,
                        .admitted_ns = record.admit_ns});
  }
  return run;
}

bool All(std::int64_t) { return true; }

TEST(StepFitTest, ARunThatIsReplayedWithItsOwnTimesIsItself) {
  const MeasuredRun run = SyntheticRun(80);
  const absl::StatusOr<ReplayedRun> replayed =
      ReplayMeasuredRun(run, TrueTime());
  ASSERT_TRUE(replayed.ok());
  EXPECT_EQ(CompareRequests(run, *replayed, All).Objective(), 0);
  for (const FitFigure& figure : CompareRun(run, *replayed)) {
    EXPECT_EQ(figure.measured, figure.replayed) << figure.name;
    EXPECT_EQ(figure.error, figure.name == "preemptions" ? 1 : 0)
        << figure.name;
  }
}

TEST(StepFitTest, FindsTheTimesOfAnEngineFromFarAway) {
  MeasuredRun run = SyntheticRun(80);
  StepTime roofline = TrueTime();
  roofline.serial.per_step /= 3;
  roofline.serial.per_computed_token *= 2;
  roofline.serial.per_resident_token *= 2;
  run.roofline = roofline;
  const absl::StatusOr<StepFit> fit = FitStepTime(run, All);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_GT(fit->start_objective, 0.3);
  EXPECT_LT(fit->objective, 0.05);
  const StepWork decode{
      .sequences = 20, .computed_tokens = 20, .resident_tokens = 9'000};
  const StepWork prefill{.sequences = 1,
                         .computed_tokens = 1'000,
                         .prefill_attention = 500'500,
                         .resident_tokens = 1'000};
  for (const StepWork& work : {decode, prefill}) {
    const auto truth = static_cast<double>(TrueTime().NanosecondsOf(work));
    EXPECT_NEAR(static_cast<double>(fit->time.NanosecondsOf(work)), truth,
                0.05 * truth);
  }
}

TEST(StepFitTest, NeedsNoRoofline) {
  const MeasuredRun run = SyntheticRun(60);
  ASSERT_FALSE(run.roofline.has_value());
  const absl::StatusOr<StepFit> fit = FitStepTime(run, All);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LT(fit->objective, 0.05);
}

TEST(StepFitTest, TheSearchComesNoFurtherAway) {
  const MeasuredRun run = SyntheticRun(20);
  const absl::StatusOr<StepFit> fit = FitStepTime(run, All);
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LE(fit->objective, fit->regression_objective);
  const absl::StatusOr<StepFit> again = FitStepTime(run, All);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->time.serial, fit->time.serial);
}

TEST(StepFitTest, RequestsThatDoNotCountAreNotLookedAt) {
  MeasuredRun run = SyntheticRun(60);
  MeasuredRun spoiled = run;
  for (std::size_t i = 1; i < spoiled.measured.size(); i += 2) {
    spoiled.measured[i]->first_token_ns *= 3;
    spoiled.measured[i]->last_token_ns *= 5;
  }
  const RequestSet even = [](std::int64_t id) { return id % 2 == 0; };
  const absl::StatusOr<StepFit> fit = FitStepTime(run, even, {.search = false});
  const absl::StatusOr<StepFit> same =
      FitStepTime(spoiled, even, {.search = false});
  ASSERT_TRUE(fit.ok() && same.ok());
  EXPECT_EQ(fit->time.serial, same->time.serial);
}

TEST(StepFitTest, TooFewRequestsAreRefused) {
  const MeasuredRun run = SyntheticRun(60);
  const absl::StatusOr<StepFit> fit =
      FitStepTime(run, [](std::int64_t id) { return id == 3; });
  EXPECT_TRUE(absl::IsFailedPrecondition(fit.status()));
}

TEST(StepFitTest, StopsWhenToldTo) {
  const MeasuredRun run = SyntheticRun(60);
  const absl::StatusOr<StepFit> fit =
      FitStepTime(run, All, {.stop = [] { return true; }});
  EXPECT_TRUE(absl::IsCancelled(fit.status()));
}

TEST(StepFitTest, TheRecordedRunOfVllmIsReplayedWithinTheTargets) {
  const char* folder = std::getenv("PAGEDKV_TRACES");
  const std::string path =
      (folder != nullptr ? std::string(folder)
                         : PAGEDKV_SOURCE_DIR "/../shared/traces") +
      "/vllm_rtx4090";
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << "no run " << path
                 << "; set PAGEDKV_TRACES to the folder that has it";
  }
  const absl::StatusOr<MeasuredRun> run = ReadMeasuredRun(path);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->num_blocks, BlockCount(2'588));
  EXPECT_EQ(run->requests.size(), 300u);
  EXPECT_EQ(run->series.size(), 184u);
  EXPECT_TRUE(run->simulation.prefix_cache);
  EXPECT_TRUE(run->assumptions.empty());
  ASSERT_TRUE(run->roofline.has_value());
  const absl::StatusOr<StepFit> fit = FitStepTime(*run, All, {.search = false});
  ASSERT_TRUE(fit.ok()) << fit.status();
  const absl::StatusOr<ReplayedRun> replayed =
      ReplayMeasuredRun(*run, fit->time);
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  int num_targets = 0;
  for (const FitFigure& figure : CompareRun(*run, *replayed)) {
    EXPECT_TRUE(figure.met()) << figure.name << ": " << figure.measured << ", "
                              << figure.replayed << ", " << figure.error;
    num_targets += figure.target ? 1 : 0;
  }
  EXPECT_EQ(num_targets, 6);
}

}  // namespace
}  // namespace pagedkv::sim
