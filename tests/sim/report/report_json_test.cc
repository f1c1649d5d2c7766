// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include <nlohmann/json.hpp>

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

nlohmann::json Parse(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

TEST(ReportJsonTest, TheSameReportGivesTheSameBytes) {
  EXPECT_EQ(ReportToJson(ExampleReport()), ReportToJson(ExampleReport()));
}

TEST(ReportJsonTest, TheHashCoversResultsButNotTheRun) {
  const Report report = ExampleReport();
  Report slower = report;
  slower.wall_s = 12.5;
  slower.version = "another";
  Report different = report;
  different.results[0].totals.finished += 1;
  const auto hash = [](const Report& of) {
    return Parse(ReportToJson(of))["hash"];
  };
  EXPECT_EQ(hash(slower), hash(report));
  EXPECT_NE(hash(different), hash(report));
  EXPECT_EQ(Parse(ReportToJson(slower))["run"]["wall_s"], 12.5);
}

TEST(ReportJsonTest, KeysAreSortedAndFractionsHaveSixDecimals) {
  const std::string text = ReportToJson(ExampleReport());
  EXPECT_LT(text.find("\"baseline\""), text.find("\"clock\""));
  EXPECT_THAT(text, HasSubstr("\"span_s\": 3501.721937,"));
  EXPECT_THAT(text, HasSubstr("\"token\": 40.000000"));
  EXPECT_THAT(text, HasSubstr("\"kept\": 1000,"));
}

TEST(ReportJsonTest, StatesPolicyPoolModelAndResults) {
  const nlohmann::json report = Parse(ReportToJson(ExampleReport()));
  EXPECT_EQ(report["schema"], "pagedkv.report/1");
  EXPECT_EQ(report["pool"]["bytes"], 1'000'999);
  EXPECT_EQ(report["model"]["max_seq_len"], 2'048);
  EXPECT_EQ(report["inputs"]["trace"]["dropped"]["over_max_seq"], 7);
  EXPECT_EQ(report["inputs"]["trace"]["trace_block_tokens"], nullptr);
  EXPECT_EQ(report["inputs"]["trace"]["engine_block_tokens"], 16);
  EXPECT_EQ(report["policies"][0]["allocator"], "buddy");
  EXPECT_EQ(report["policies"][1]["block_size"], 16);
  EXPECT_EQ(report["baseline"], "contiguous-max");

  const nlohmann::json& paged = report["results"]["paged-16"];
  EXPECT_EQ(paged["capacity_gain"], 2.0);
  EXPECT_EQ(paged["effective_pct"]["mean"], 40.0);
  EXPECT_EQ(paged["demand_peak"], nullptr);
  EXPECT_EQ(paged["admit"]["blocked_s"]["capacity"], 0.5);
  EXPECT_EQ(paged["preempt"]["count"], 1'234);
  EXPECT_EQ(paged["per_request"]["waste_slots"]["max"], 200);
  EXPECT_EQ(paged["per_request"]["waste_slots"]["worst"][0]["id"], 2);
  EXPECT_FALSE(paged.contains("growth"));
  EXPECT_EQ(report["results"]["concat"]["growth"]["copied_bytes"], 5'000'000);
}

TEST(ReportJsonTest, AHybridModelHasItsGroups) {
  Report report = ExampleReport();
  EXPECT_EQ(Parse(ReportToJson(report))["kv_cache_groups"], nullptr);
  KvGroupsReport groups;
  groups.plan.layers_per_group = 2;
  groups.plan.bytes_per_block = Bytes(256);
  groups.plan.groups.push_back({.attention = AttentionKind::kSlidingWindow,
                                .window = TokenCount(64),
                                .layers = {{.index = 0, .page = Bytes(120)}},
                                .page_padding = Bytes(8),
                                .missing_layers = 1});
  const MeanKvUse use = {
      .held = Bytes(256), .needed = Bytes(120), .wasted_pct = 53.125};
  groups.groups.push_back({.final_length = use, .residency = {}});
  groups.all.residency = use;
  report.kv_cache_groups = groups;
  const nlohmann::json json = Parse(ReportToJson(report))["kv_cache_groups"];
  EXPECT_EQ(json["kv_bytes_per_block"], 256);
  const nlohmann::json& group = json["groups"][0];
  EXPECT_EQ(group["attention"], "sliding_window");
  EXPECT_EQ(group["window_tokens"], 64);
  EXPECT_EQ(group["encoder_tokens"], nullptr);
  EXPECT_EQ(group["missing_layers"], 1);
  EXPECT_EQ(group["final_length"]["held_bytes"], 256);
  EXPECT_EQ(group["final_length"]["wasted_pct"], 53.125);
  EXPECT_EQ(json["all"]["residency"]["needed_bytes"], 120);
  EXPECT_EQ(json["uniform"]["residency"]["held_bytes"], 0);
}

TEST(ReportJsonTest, StatesLatencyThroughputAndGoodput) {
  const nlohmann::json report = Parse(ReportToJson(ExampleReport()));
  EXPECT_EQ(report["service_level"]["ttft_s"], 3.0);
  EXPECT_EQ(report["service_level"]["tpot_s"], nullptr);
  const nlohmann::json& paged = report["results"]["paged-16"];
  const nlohmann::json& latency = paged["latency"];
  EXPECT_EQ(latency["ttft_s"]["mean"], 3.0);
  EXPECT_EQ(latency["ttft_s"]["max"], 4.0);
  EXPECT_NEAR(latency["ttft_s"]["p50"].get<double>(), 3.0, 0.003);
  EXPECT_EQ(latency["tpot_s"]["p99"], 0.1);
  EXPECT_EQ(latency["e2e_s"]["mean"], 3.6);
  EXPECT_EQ(latency["queue_s"]["mean"], 1.0);
  EXPECT_EQ(latency["worst_ttft"].size(), 3u);
  EXPECT_EQ(latency["worst_ttft"][0]["id"], 2);
  EXPECT_EQ(latency["worst_ttft"][0]["queue_s"], 2.0);
  EXPECT_EQ(paged["throughput"]["output_tokens_per_s"], 0.525);
  EXPECT_EQ(paged["throughput"]["requests_per_s"], 0.075);
  EXPECT_EQ(paged["goodput"]["requests_pct"], 66.666667);
  EXPECT_EQ(paged["goodput"]["requests_per_s"], 0.05);
}

TEST(ReportJsonTest, WhereArrivalsAreIgnoredOnlyLaterTokensAreTimed) {
  Report report = ExampleReport();
  report.simulation.saturate = true;
  report.level = {};
  const nlohmann::json json = Parse(ReportToJson(report));
  const nlohmann::json& paged = json["results"]["paged-16"];
  EXPECT_EQ(paged["latency"]["ttft_s"], nullptr);
  EXPECT_EQ(paged["latency"]["tpot_s"]["mean"], 0.1);
  EXPECT_TRUE(paged["latency"]["worst_ttft"].empty());
  EXPECT_EQ(paged["goodput"], nullptr);
  EXPECT_EQ(paged["throughput"]["requests_per_s"], 0.075);

  report.simulation.clock = ClockKind::kIteration;
  const nlohmann::json steps = Parse(ReportToJson(report));
  EXPECT_EQ(steps["results"]["paged-16"]["latency"], nullptr);
  EXPECT_EQ(steps["results"]["paged-16"]["throughput"], nullptr);
}

TEST(ReportJsonTest, TheClockNamesItsPresetAndWhereItIsFrom) {
  Report report = ExampleReport();
  const nlohmann::json fixed = Parse(ReportToJson(report))["clock"];
  EXPECT_EQ(fixed["kind"], "fixed");
  EXPECT_EQ(fixed["preset"], nullptr);
  EXPECT_EQ(fixed["step_s"], 1.0);
  report.simulation.clock = ClockKind::kModel;
  report.simulation.step_time = {.preset = "fit",
                                 .model = "opt-13b",
                                 .source = "a run",
                                 .serial = {.per_step = 12},
                                 .memory = {.per_resident_token = 7}};
  const nlohmann::json clock = Parse(ReportToJson(report))["clock"];
  EXPECT_EQ(clock["kind"], "model");
  EXPECT_EQ(clock["preset"], "fit");
  EXPECT_EQ(clock["source"], "a run");
  EXPECT_EQ(clock["model"], "opt-13b");
  EXPECT_EQ(clock["step_s"], nullptr);
  EXPECT_EQ(clock["step_time_fs"]["serial"]["per_step"], 12);
  EXPECT_EQ(clock["step_time_fs"]["memory"]["per_resident_token"], 7);
  EXPECT_EQ(clock["step_time_fs"]["compute"]["per_step"], 0);
}

TEST(ReportJsonTest, WhatIsNotKnownIsNull) {
  Report report = ExampleReport();
  report.model.kv_bytes_per_token.reset();
  report.pool.slots.reset();
  report.pool.bytes.reset();
  const nlohmann::json json = Parse(ReportToJson(report));
  EXPECT_EQ(json["pool"]["slots"], nullptr);
  EXPECT_EQ(json["model"]["kv_bytes_per_token"], nullptr);
  EXPECT_EQ(json["results"]["paged-16"]["waste_gb_hours"], nullptr);
  EXPECT_EQ(json["results"]["concat"]["growth"]["copied_bytes"], nullptr);
  EXPECT_EQ(json["run"]["wall_s"], nullptr);
}

TEST(ReportJsonTest, AFileNameOfAnyBytesIsStillValidJson) {
  Report report = ExampleReport();
  report.inputs.trace.name = "tr\"ace\xff\n.csv";
  const nlohmann::json json = Parse(ReportToJson(report));
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["inputs"]["trace"]["name"], "tr\"ace\xef\xbf\xbd\n.csv");
}

}  // namespace
}  // namespace pagedkv::sim
