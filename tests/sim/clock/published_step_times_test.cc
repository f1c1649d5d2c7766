// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/published_step_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

/// A row of the published table.
struct Row {
  StepWork work;
  double published_ms;
};

StepWork Prompt(std::int64_t tokens) {
  return {.sequences = 1,
          .computed_tokens = tokens,
          .prefill_attention = tokens * (tokens + 1) / 2,
          .resident_tokens = tokens};
}

StepWork Decode(std::int64_t sequences) {
  return {.sequences = sequences,
          .computed_tokens = sequences,
          .resident_tokens = 576 * sequences};
}

const std::vector<Row>& TableOf(const std::string& preset) {
  static const std::vector<Row> kH100 = {{Prompt(512), 53.9},
                                         {Prompt(1024), 77.9},
                                         {Prompt(2048), 136.8},
                                         {Decode(1), 30.6},
                                         {Decode(64), 50.2}};
  static const std::vector<Row> kA100 = {{Prompt(512), 93.0},
                                         {Prompt(1024), 154.5},
                                         {Prompt(2048), 274.2},
                                         {Decode(1), 45.0},
                                         {Decode(64), 71.6}};
  return preset == "splitwise-h100-tp8-llama-2-70b" ? kH100 : kA100;
}

double RelativeError(const StepTime& time, const Row& row) {
  return static_cast<double>(time.NanosecondsOf(row.work)) * 1e-6 /
             row.published_ms -
         1;
}

double SumOfSquares(const StepTime& time) {
  double sum = 0;
  for (const Row& row : TableOf(time.preset)) {
    sum += std::pow(RelativeError(time, row), 2);
  }
  return sum;
}

TEST(PublishedStepTimesTest, KeepToTheTableAsCloselyAsTheySay) {
  ASSERT_EQ(PublishedStepTimes().size(), 2u);
  for (const StepTime& time : PublishedStepTimes()) {
    const bool is_h100 = time.preset == "splitwise-h100-tp8-llama-2-70b";
    EXPECT_THAT(time.source, HasSubstr(is_h100 ? "within 1 %" : "within 3 %"));
    EXPECT_THAT(time.source, HasSubstr("not validated by us"));
    for (const Row& row : TableOf(time.preset)) {
      EXPECT_LT(std::abs(RelativeError(time, row)), is_h100 ? 0.01 : 0.03)
          << time.preset << " " << row.published_ms << " ms";
    }
  }
}

TEST(PublishedStepTimesTest, NoOtherCoefficientsComeCloser) {
  for (const StepTime& time : PublishedStepTimes()) {
    const double least = SumOfSquares(time);
    for (std::int64_t StepCost::* coefficient :
         {&StepCost::per_step, &StepCost::per_sequence,
          &StepCost::per_computed_token, &StepCost::per_prefill_attention}) {
      for (const double factor : {0.99, 1.01}) {
        StepTime other = time;
        other.serial.*coefficient = static_cast<std::int64_t>(
            factor * static_cast<double>(time.serial.*coefficient));
        EXPECT_GT(SumOfSquares(other), least) << time.preset;
      }
    }
  }
}

}  // namespace
}  // namespace pagedkv::sim
