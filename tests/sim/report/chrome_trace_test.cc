// SPDX-License-Identifier: Apache-2.0
#include "sim/report/chrome_trace.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace pagedkv::sim {
namespace {

using nlohmann::json;

constexpr std::int64_t kMicrosecond = 1'000;

Sample StepAt(std::int64_t begin_us, std::int32_t running) {
  Sample sample;
  sample.begin_ns = begin_us * kMicrosecond;
  sample.duration_ns = 10 * kMicrosecond;
  sample.is_step = true;
  sample.slots[Cause::kToken] = 25;
  sample.slots[Cause::kBlockedCapacity] = 70;
  sample.slots[Cause::kTail] = 5;
  sample.running = running;
  return sample;
}

RequestRecord Record(std::int64_t id, std::int64_t arrival_us,
                     std::int64_t first_token_us, std::int64_t finish_us) {
  RequestRecord record;
  record.id = id;
  record.arrival_ns = arrival_us * kMicrosecond;
  record.first_token_ns = first_token_us * kMicrosecond;
  record.finish_ns = finish_us * kMicrosecond;
  return record;
}

/// The events that have a time.
std::vector<json> Timed(ChromeTraceProcess& process) {
  std::vector<json> timed;
  for (const json& event : json::parse(ChromeTrace({process.TakeEvents()}))) {
    if (event["ph"] != "M") timed.push_back(event);
  }
  return timed;
}

TEST(ChromeTraceTest, NamesItsProcesses) {
  ChromeTraceProcess first(1, "paged-16");
  ChromeTraceProcess second(2, "concat");
  const json trace =
      json::parse(ChromeTrace({first.TakeEvents(), second.TakeEvents()}));
  ASSERT_EQ(trace.size(), 4);
  EXPECT_EQ(trace[0]["args"]["name"], "paged-16");
  EXPECT_EQ(trace[2]["args"]["name"], "concat");
  EXPECT_EQ(trace[2]["pid"], 2);
}

TEST(ChromeTraceTest, AStepIsASliceWithCountersThatChange) {
  ChromeTraceProcess process(1, "paged-16");
  process.OnSample(StepAt(0, 3));
  process.OnSample(StepAt(10, 4));
  std::vector<std::string> seen;
  for (const json& event : Timed(process)) {
    seen.push_back(event["ts"].dump() + ' ' + event["name"].get<std::string>() +
                   ' ' +
                   (event["ph"] == "C" ? event["args"]["value"].dump() : ""));
  }
  EXPECT_EQ(seen,
            (std::vector<std::string>{"0 step ", "0 resident 3", "0 waiting 0",
                                      "0 free slots 70", "0 token % 25",
                                      "10 step ", "10 resident 4"}));
}

TEST(ChromeTraceTest, ARequestHasItsPhasesInside) {
  ChromeTraceProcess process(1, "paged-16");
  process.OnAdmission(7, 5 * kMicrosecond);
  process.OnPreemption(7, 30 * kMicrosecond);
  process.OnAdmission(7, 40 * kMicrosecond);
  process.OnRequest(Record(7, 0, 15, 60));
  std::vector<std::string> seen;
  for (const json& event : Timed(process)) {
    EXPECT_EQ(event["id"], 7);
    seen.push_back(event["ph"].get<std::string>() + ' ' + event["ts"].dump() +
                   ' ' + event["name"].get<std::string>());
  }
  EXPECT_EQ(seen, (std::vector<std::string>{
                      "b 0 request", "b 0 queued", "e 5 queued", "b 5 prefill",
                      "e 15 prefill", "b 15 decode", "e 30 decode",
                      "b 30 preempted", "e 40 preempted", "b 40 decode",
                      "e 60 decode", "e 60 request"}));
}

TEST(ChromeTraceTest, LeavesOutWhatTookNoTimeAndWhoWasRejected) {
  ChromeTraceProcess process(1, "paged-16");
  process.OnAdmission(1, 0);
  process.OnRequest(Record(1, 0, 10, 10));
  RequestRecord rejected = Record(2, 0, 0, 0);
  rejected.rejected = true;
  process.OnRequest(rejected);
  std::vector<std::string> names;
  for (const json& event : Timed(process)) names.push_back(event["name"]);
  EXPECT_EQ(names, (std::vector<std::string>{"request", "prefill", "prefill",
                                             "request"}));
}

TEST(ChromeTraceTest, EachReplicaHasItsTrackAndCounters) {
  ChromeTraceProcess process(1, "paged-16");
  Sample other = StepAt(5, 3);
  other.replica = 1;
  process.OnSample(StepAt(0, 3));
  process.OnSample(other);
  const json trace = json::parse(ChromeTrace({process.TakeEvents()}));
  std::vector<std::string> seen;
  for (const json& event : trace) {
    if (event["name"] == "thread_name") {
      seen.push_back(event["args"]["name"]);
    } else if (event["ph"] == "X") {
      seen.push_back("step on " + event["tid"].dump());
    } else if (event["ph"] == "C" && event["args"]["value"] == 3) {
      seen.push_back(event["name"]);
    }
  }
  EXPECT_EQ(seen, (std::vector<std::string>{
                      "steps", "steps of replica 1", "step on 1", "resident",
                      "step on 2", "resident (replica 1)"}));
}

TEST(ChromeTraceTest, IsInOrderOfTime) {
  ChromeTraceProcess process(1, "paged-16");
  process.OnSample(StepAt(0, 1));
  process.OnSample(StepAt(10, 1));
  process.OnAdmission(1, 3 * kMicrosecond);
  process.OnRequest(Record(1, 2, 4, 12));
  double last = 0;
  for (const json& event : Timed(process)) {
    EXPECT_GE(event["ts"], last);
    last = event["ts"];
  }
}

TEST(ChromeTraceTest, IsCutShortAndSaysSo) {
  ChromeTraceProcess process(1, "paged-16", /*max_events=*/6);
  for (int i = 0; i < 100; ++i)
    process.OnSample(StepAt(std::int64_t{10} * i, i % 2));
  process.OnRequest(Record(1, 0, 1, 2));
  const json trace = json::parse(ChromeTrace({process.TakeEvents()}));
  EXPECT_LE(trace.size(), 2 + 6 + 5);
  EXPECT_EQ(trace[0]["args"]["name"], "paged-16 (cut short: too many events)");
}

}  // namespace
}  // namespace pagedkv::sim
