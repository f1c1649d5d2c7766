// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_spec_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kSmall = R"({
  "schema": "pagedkv.workload/1", "name": "small", "requests": 10,
  "classes": [{
    "name": "chat",
    "arrivals": {"process": "gamma", "sessions_per_s": 2, "burstiness_cv": 3,
                 "diurnal": {"amplitude": 0.5, "peak_s": 43200}},
    "shared_texts": [{"name": "system", "count": 4, "zipf": 1.25,
                      "tokens": 100, "draws": {"quantiles": [[0, 0], [1, 2]]}}],
    "turns": {"by_prompt": [{"up_to_tokens": 500, "values": 3}, {"values": 1}]},
    "message_tokens": {"quantiles": [[0, 1], [0.999, 50], [1, 900]]},
    "answer_tokens": 7,
    "think_time_ms": 1500,
    "branches": 1
  }]
})";

absl::StatusOr<WorkloadSpec> Parse(std::string_view text) {
  return ParseWorkloadSpec(text, "w.json");
}

/// What is said to `kSmall` with `from` replaced by `to`.
std::string Complaint(std::string_view from, std::string_view to) {
  std::string text(kSmall);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const auto spec = Parse(text);
  EXPECT_FALSE(spec.ok()) << to;
  const std::string message(spec.status().message());
  EXPECT_THAT(message, StartsWith("w.json"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  return message;
}

TEST(WorkloadSpecJsonTest, ReadsADescription) {
  const auto spec = Parse(kSmall);
  ASSERT_TRUE(spec.ok()) << spec.status().ToString();
  EXPECT_EQ(spec->num_requests, 10);
  EXPECT_EQ(spec->block, BlockSize(16));
  const WorkloadClass& chat = spec->classes.at(0);
  EXPECT_EQ(chat.arrivals.kind, ArrivalKind::kGamma);
  EXPECT_EQ(chat.arrivals.burstiness_cv, 3.0);
  // Quarters of an hour; the lowest at midnight, the highest at noon.
  ASSERT_EQ(chat.arrivals.profile.size(), 96U);
  EXPECT_EQ(chat.arrivals.profile[0], 500'268U);
  EXPECT_EQ(chat.arrivals.profile[47], 1'499'732U);
  EXPECT_EQ(chat.shared.at(0).zipf_thousandths, 1250);
  EXPECT_EQ(chat.shared[0].draws.max(), 2);
  EXPECT_EQ(chat.turns.For(500).max(), 3);
  EXPECT_EQ(chat.turns.For(501).max(), 1);
  EXPECT_EQ(chat.first_message, chat.message);
  EXPECT_EQ(chat.message.points()[1],
            (Distribution::Point{.fraction = 999'000, .value = 50}));
  EXPECT_EQ(chat.think_time_ms.max(), 1500);
  EXPECT_TRUE(chat.closed_loop);
}

TEST(WorkloadSpecJsonTest, ReadsBackWhatItWrites) {
  const auto spec = Parse(kSmall);
  ASSERT_TRUE(spec.ok());
  const std::string text = WorkloadSpecToJson(*spec);
  const auto again = Parse(text);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(*again, *spec);
  EXPECT_EQ(WorkloadSpecToJson(*again), text);
}

TEST(WorkloadSpecJsonTest, PresetsAreValidAndReadBack) {
  const auto presets = WorkloadPresets();
  ASSERT_TRUE(presets.ok()) << presets.status().ToString();
  EXPECT_EQ(presets->size(), 5U);
  for (const WorkloadSpec& preset : *presets) {
    const auto again = Parse(WorkloadSpecToJson(preset));
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(*again, preset);
  }
}

TEST(WorkloadSpecJsonTest, UnknownKeysAreNamedWithTheirPlace) {
  EXPECT_THAT(
      Complaint("\"name\": \"small\"", "\"name\": \"small\", \"seed\": 1"),
      StartsWith("w.json: unknown key 'seed'; known here are "));
  EXPECT_THAT(Complaint("\"turns\"", "\"turn\""),
              StartsWith("w.json: classes[0]: unknown key 'turn'"));
  EXPECT_THAT(Complaint("\"message_tokens\"", "\"mesage_tokens\""),
              StartsWith("w.json: classes[0]: unknown key 'mesage_tokens'"));
  EXPECT_THAT(Complaint("\"sessions_per_s\"", "\"rate\""),
              StartsWith("w.json: classes[0].arrivals: unknown key 'rate'"));
  EXPECT_THAT(Complaint("\"peak_s\"", "\"peak\""),
              HasSubstr("classes[0].arrivals.diurnal: unknown key 'peak'"));
  EXPECT_THAT(Complaint("\"zipf\"", "\"zapf\""),
              HasSubstr("classes[0].shared_texts[0]: unknown key 'zapf'"));
  EXPECT_THAT(Complaint("{\"values\": 1}", "{\"values\": 1, \"x\": 1}"),
              HasSubstr("classes[0].turns.by_prompt[1]: unknown key 'x'"));
  EXPECT_THAT(Complaint("[1, 900]]}", "[1, 900]], \"mean\": 5}"),
              HasSubstr("classes[0].message_tokens: unknown key 'mean'"));
  // Of another process.
  EXPECT_THAT(Complaint("gamma", "poisson"),
              HasSubstr("unknown key 'burstiness_cv'"));
}

TEST(WorkloadSpecJsonTest, SaysWhatIsMissing) {
  EXPECT_THAT(Complaint("\"requests\": 10,", ""),
              HasSubstr("'requests' is missing"));
  EXPECT_THAT(Complaint("\"answer_tokens\": 7,", ""),
              HasSubstr("classes[0]: 'answer_tokens' is missing"));
  EXPECT_THAT(Complaint("\"think_time_ms\": 1500,", ""),
              HasSubstr("classes[0]: 'think_time_ms' is missing"));
  EXPECT_THAT(Complaint("\"burstiness_cv\": 3,", ""),
              HasSubstr("classes[0].arrivals: 'burstiness_cv' is missing"));
  EXPECT_THAT(Complaint("\"sessions_per_s\": 2,", ""),
              HasSubstr("'sessions_per_s' is missing"));
}

TEST(WorkloadSpecJsonTest, RefusesWhatIsOutOfRange) {
  EXPECT_THAT(Complaint("workload/1", "workload/2"),
              HasSubstr("'schema' must be \"pagedkv.workload/1\""));
  EXPECT_THAT(Complaint("\"answer_tokens\": 7", "\"answer_tokens\": 0"),
              HasSubstr("classes[0].answer_tokens: must be from 1 to"));
  EXPECT_THAT(Complaint("\"answer_tokens\": 7", "\"answer_tokens\": \"7\""),
              HasSubstr("answer_tokens: must be a whole number, or"));
  EXPECT_THAT(Complaint("\"answer_tokens\": 7", "\"answer_tokens\": 7.5"),
              HasSubstr("answer_tokens: must be a whole number, or"));
  EXPECT_THAT(Complaint("[[0, 1], [0.999", "[[0, 0], [0.999"),
              HasSubstr("'message_tokens' may be 0 only where"));
  EXPECT_THAT(Complaint("[0.999, 50]", "[0.999, 901]"),
              HasSubstr("'quantiles' must be pairs"));
  EXPECT_THAT(Complaint("[0.999, 50]", "[0, 50]"),
              HasSubstr("'quantiles' must be pairs"));
  EXPECT_THAT(Complaint("[[0, 0], [1, 2]]", "[[0, 0], [1, 5]]"),
              HasSubstr("values must be from 0 to 4, not 0 to 5"));
  EXPECT_THAT(Complaint("\"amplitude\": 0.5", "\"amplitude\": 1.5"),
              HasSubstr("'amplitude' must be a number from 0 to 0.999"));
  EXPECT_THAT(Complaint("\"burstiness_cv\": 3", "\"burstiness_cv\": 30"),
              HasSubstr("'burstiness_cv' must be a number from 0.1 to 10"));
  EXPECT_THAT(Complaint("gamma", "uniform"), HasSubstr("'process' must be"));
  EXPECT_THAT(
      Complaint("{\"values\": 1}", "{\"up_to_tokens\": 9, \"values\": 1}"),
      HasSubstr("the last row is for all longer prompts"));
  EXPECT_THAT(Complaint("\"branches\": 1", "\"loop\": \"half\""),
              HasSubstr("'loop' must be \"closed\" or \"open\""));
  EXPECT_THAT(std::string(Parse("[]").status().message()),
              HasSubstr("a JSON object is needed here"));
  EXPECT_THAT(std::string(Parse("{").status().message()),
              HasSubstr("w.json:1:"));
}

TEST(WorkloadSpecJsonTest, ReadsAFile) {
  const TestFile file(kSmall);
  EXPECT_TRUE(ReadWorkloadSpec(file.path()).ok());
  EXPECT_THAT(std::string(ReadWorkloadSpec("/none/w.json").status().message()),
              HasSubstr("/none/w.json: the file cannot be read"));
}

}  // namespace
}  // namespace pagedkv::sim
