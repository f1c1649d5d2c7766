// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_time_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

StepTime Example() {
  return {.preset = "fit-small",
          .model = "small",
          .source = "a run",
          .serial = {.per_step = 1,
                     .per_sequence = 2,
                     .per_computed_token = 3,
                     .per_prefill_attention = 4,
                     .per_resident_token = 1'000'000'000'000'000'000},
          .compute = {.per_computed_token = 6},
          .memory = {.per_resident_token = 7}};
}

void ExpectEqual(const StepTime& a, const StepTime& b) {
  EXPECT_EQ(a.preset, b.preset);
  EXPECT_EQ(a.model, b.model);
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.serial, b.serial);
  EXPECT_EQ(a.compute, b.compute);
  EXPECT_EQ(a.memory, b.memory);
}

TEST(StepTimeFileTest, WhatIsWrittenIsReadBack) {
  const std::string text = StepTimeToJson(Example());
  const absl::StatusOr<StepTime> time = ParseStepTime(text, "it");
  ASSERT_TRUE(time.ok()) << time.status();
  ExpectEqual(*time, Example());
  EXPECT_EQ(StepTimeToJson(*time), text);
}

TEST(StepTimeFileTest, WhatIsMissingIsZero) {
  const absl::StatusOr<StepTime> time = ParseStepTime(
      R"({"schema": "pagedkv.step_time/1", "preset": "p", "source": "s",
          "memory": {"per_step": 5}})",
      "it");
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_EQ(time->model, "");
  EXPECT_EQ(time->serial, StepCost());
  EXPECT_EQ(time->memory, (StepCost{.per_step = 5}));
}

TEST(StepTimeFileTest, MistakesAreNamedInOneLine) {
  const std::string head =
      R"({"schema": "pagedkv.step_time/1", "preset": "p", "source": "s")";
  for (const auto& [text, message] : {
           std::pair<std::string, std::string>{"", "it:1:1: "},
           {"[]", "it: a JSON object"},
           {"{}", "it: 'schema' is missing"},
           {R"({"schema": "pagedkv.report/1"})", "'schema' must be"},
           {R"({"schema": "pagedkv.step_time/1"})", "'preset' is missing"},
           {head + "}", "all coefficients are 0"},
           {head + R"(, "serial": 5})", "it: serial: a JSON object"},
           {head + R"(, "serial": {"per_step": -1}})",
            "it: serial: 'per_step' must be"},
           {head + R"(, "serial": {"per_step": 1.5}})", "'per_step' must be"},
           {head + R"(, "serial": {"per_step": 1000000000000000001}})",
            "'per_step' must be"},
           {head + R"(, "serial": {"per_sted": 1}})",
            "it: serial: unknown key 'per_sted'"},
           {head + R"(, "serail": {"per_step": 1}})",
            "it: unknown key 'serail'"},
       }) {
    const absl::StatusOr<StepTime> time = ParseStepTime(text, "it");
    ASSERT_FALSE(time.ok()) << text;
    const std::string error(time.status().message());
    EXPECT_THAT(error, HasSubstr(message));
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(StepTimeFileTest, AFileIsReadAndNamed) {
  const std::string path = ::testing::TempDir() + "/step_time_file_test.json";
  std::ofstream(path) << StepTimeToJson(Example());
  const absl::StatusOr<StepTime> time = ReadStepTime(path);
  ASSERT_TRUE(time.ok()) << time.status();
  ExpectEqual(*time, Example());
  std::remove(path.c_str());
  EXPECT_TRUE(absl::IsNotFound(ReadStepTime(path).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadStepTime("/").status()));
}

}  // namespace
}  // namespace pagedkv::sim
