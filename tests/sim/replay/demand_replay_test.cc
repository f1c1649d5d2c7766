// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/demand_replay.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

/// All that is observed, in order.
struct Call {
  bool is_sample = false;
  Sample sample = {};
  RequestRecord record = {};
};

class CallObserver : public SimulationObserver {
 public:
  void OnSample(const Sample& sample) override {
    calls.push_back({.is_sample = true, .sample = sample});
  }
  void OnRequest(const RequestRecord& record) override {
    calls.push_back({.record = record});
  }
  std::vector<Call> calls;
};

SimulationOptions DemandOptions(std::int64_t step_ns,
                                std::int64_t max_sequence_tokens) {
  return {.demand = true,
          .max_sequence_tokens = TokenCount(max_sequence_tokens),
          .clock = ClockKind::kFixed,
          .step_ns = step_ns};
}

absl::StatusOr<std::vector<SimulationTotals>> RunInClosedForm(
    const std::vector<Policy>& policies, const SimulationOptions& options,
    const std::vector<TraceRequest>& requests,
    const std::vector<SimulationObserver*>& observers) {
  SpanSource first(requests);
  const auto demand =
      MeasureDemand(policies, options, first, [] { return false; });
  if (!demand.ok()) return demand.status();
  EXPECT_EQ(demand->num_requests, static_cast<std::int64_t>(requests.size()));
  std::vector<DemandRun> runs;
  for (std::size_t i = 0; i < policies.size(); ++i) {
    runs.push_back({.policy = policies[i],
                    .capacity = demand->capacities[i],
                    .observer = observers[i]});
  }
  SpanSource second(requests);
  return ReplayDemand(runs, options, second);
}

void ExpectSameSample(const Sample& a, const Sample& b) {
  EXPECT_EQ(a.begin_ns, b.begin_ns);
  EXPECT_EQ(a.duration_ns, b.duration_ns);
  EXPECT_EQ(a.is_step, b.is_step);
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    const auto cause = static_cast<Cause>(i);
    EXPECT_EQ(a.slots[cause], b.slots[cause]) << kCauseNames[i];
  }
  EXPECT_EQ(a.running, b.running);
  EXPECT_EQ(a.waiting, b.waiting);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.blocked, b.blocked);
  EXPECT_EQ(a.largest_free_slots, b.largest_free_slots);
}

void ExpectSameRecord(const RequestRecord& a, const RequestRecord& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.arrival_ns, b.arrival_ns);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.output_tokens, b.output_tokens);
  EXPECT_EQ(a.admit_ns, b.admit_ns);
  EXPECT_EQ(a.first_token_ns, b.first_token_ns);
  EXPECT_EQ(a.finish_ns, b.finish_ns);
  EXPECT_EQ(a.slots_granted, b.slots_granted);
  EXPECT_EQ(a.waste_slot_s, b.waste_slot_s);  // to the bit
  EXPECT_EQ(a.reserved_slot_s, b.reserved_slot_s);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.hit_tokens, b.hit_tokens);
  EXPECT_EQ(a.blocked_cause, b.blocked_cause);
  EXPECT_EQ(a.rejected, b.rejected);
}

void ExpectSameTotals(const SimulationTotals& a, const SimulationTotals& b) {
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.end_ns, b.end_ns);
  EXPECT_EQ(a.finished, b.finished);
  EXPECT_EQ(a.rejected, b.rejected);
  EXPECT_EQ(a.capacity_slots, b.capacity_slots);
  EXPECT_EQ(a.peak_slots, b.peak_slots);
  EXPECT_EQ(a.peak_running, b.peak_running);
  EXPECT_EQ(a.peak_step_tokens, b.peak_step_tokens);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.recomputed_tokens, b.recomputed_tokens);
  EXPECT_EQ(a.max_preemptions_per_request, b.max_preemptions_per_request);
  EXPECT_EQ(a.livelocked_requests, b.livelocked_requests);
  EXPECT_EQ(a.copied_slots, b.copied_slots);
  EXPECT_EQ(a.transient_peak_slots, b.transient_peak_slots);
  EXPECT_EQ(a.blocked_capacity_ns, b.blocked_capacity_ns);
  EXPECT_EQ(a.blocked_fragmented_ns, b.blocked_fragmented_ns);
  EXPECT_EQ(a.blocked_watermark_ns, b.blocked_watermark_ns);
  EXPECT_EQ(a.blocked_policy_ns, b.blocked_policy_ns);
}

void ExpectSameRun(const std::string& policy_id,
                   const SimulationOptions& options,
                   const std::vector<TraceRequest>& requests) {
  const Policy policy = *Policy::Parse(policy_id);
  ASSERT_TRUE(HasClosedForm(policy, options));
  CallObserver by_step;
  CallObserver closed;
  const auto expected = Simulate(policy, options, requests, by_step);
  const auto found = RunInClosedForm({policy}, options, requests, {&closed});
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_TRUE(found.ok()) << found.status();
  ExpectSameTotals(found->front(), *expected);
  ASSERT_EQ(closed.calls.size(), by_step.calls.size());
  for (std::size_t i = 0; i < closed.calls.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "call " << i);
    const Call& a = closed.calls[i];
    const Call& b = by_step.calls[i];
    ASSERT_EQ(a.is_sample, b.is_sample);
    ExpectSameSample(a.sample, b.sample);
    ExpectSameRecord(a.record, b.record);
    if (testing::Test::HasFailure()) return;
  }
}

using Parameters = std::tuple<std::string, std::int64_t>;

class DemandReplayPropertyTest : public testing::TestWithParam<Parameters> {
 protected:
  const std::string& policy() const { return std::get<0>(GetParam()); }
  std::int64_t step_ns() const { return std::get<1>(GetParam()); }
};

TEST_P(DemandReplayPropertyTest, IsTheSameAsStepByStep) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    // Lengths from about one block to several; some exceed the maximum.
    const std::uint32_t most = seed % 3 == 0 ? 5 : (seed % 3 == 1 ? 48 : 150);
    ExpectSameRun(policy(), DemandOptions(step_ns(), most + most * 7 / 8),
                  RandomRequests(seed, 250, most));
    if (HasFailure()) return;
  }
}

std::string Name(const testing::TestParamInfo<Parameters>& info) {
  std::string name = std::get<0>(info.param) + "_" +
                     std::to_string(std::get<1>(info.param)) + "ns";
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    AllPolicies, DemandReplayPropertyTest,
    testing::Combine(
        testing::Values("paged-1", "paged-2", "paged-7", "paged-16", "paged-64",
                        "paged-1000", "contiguous-max", "contiguous-pow2",
                        "contiguous-oracle", "contiguous-max-exact", "concat"),
        testing::Values(std::int64_t{1}, std::int64_t{13}, std::int64_t{400})),
    Name);

TEST(DemandReplayTest, IsTheSameWhereOutputsOutlastTheNearFuture) {
  // Beyond the ring of the calendar, and at its edge.
  const auto requests =
      Requests({{.prompt = 3, .output = 20'000},
                {.prompt = 9, .output = 8'192},
                {.prompt = 9, .output = 8'193},
                {.prompt = 1, .output = 8'191},
                {.prompt = 5, .output = 1},
                {.prompt = 7, .output = 9'000, .arrival_ns = 50'000},
                {.prompt = 2, .output = 12'000, .arrival_ns = 80'000}});
  for (const char* policy :
       {"paged-16", "paged-15000", "contiguous-pow2", "concat"}) {
    SCOPED_TRACE(policy);
    ExpectSameRun(policy, DemandOptions(10, 1 << 20), requests);
  }
}

TEST(DemandReplayTest, IsTheSameWhereAllArriveAtOnceOrNoneFits) {
  for (const char* policy :
       {"paged-16", "contiguous-max", "contiguous-oracle", "concat"}) {
    SCOPED_TRACE(policy);
    ExpectSameRun(policy, DemandOptions(20, 100),
                  Requests({{.prompt = 50, .output = 50},
                            {.prompt = 50, .output = 51},
                            {.prompt = 1, .output = 1},
                            {.prompt = 2, .output = 3}}));
    ExpectSameRun(policy, DemandOptions(20, 10),
                  Requests({{.prompt = 50, .output = 50, .arrival_ns = 5},
                            {.prompt = 50, .output = 51, .arrival_ns = 9}}));
    ExpectSameRun(policy, DemandOptions(20, 10), {});
  }
}

TEST(DemandReplayTest, RunsPoliciesTogetherAsEachAlone) {
  const auto requests = RandomRequests(/*seed=*/7, /*count=*/200, /*most=*/60);
  const SimulationOptions options = DemandOptions(11, 100);
  const std::vector<Policy> policies = {*Policy::Parse("paged-16"),
                                        *Policy::Parse("contiguous-oracle"),
                                        *Policy::Parse("concat")};
  std::vector<CallObserver> together(policies.size());
  std::vector<SimulationObserver*> observers;
  for (CallObserver& each : together) observers.push_back(&each);
  const auto totals = RunInClosedForm(policies, options, requests, observers);
  ASSERT_TRUE(totals.ok()) << totals.status();
  for (std::size_t i = 0; i < policies.size(); ++i) {
    SCOPED_TRACE(policies[i].id());
    CallObserver alone;
    const auto expected =
        RunInClosedForm({policies[i]}, options, requests, {&alone});
    ASSERT_TRUE(expected.ok());
    ExpectSameTotals((*totals)[i], expected->front());
    ASSERT_EQ(together[i].calls.size(), alone.calls.size());
    for (std::size_t j = 0; j < alone.calls.size(); ++j) {
      ExpectSameSample(together[i].calls[j].sample, alone.calls[j].sample);
      ExpectSameRecord(together[i].calls[j].record, alone.calls[j].record);
    }
  }
}

TEST(DemandReplayTest, StopsWhenAnObserverWantsTo) {
  const auto requests = RandomRequests(/*seed=*/3, /*count=*/100, /*most=*/20);
  const SimulationOptions options = DemandOptions(11, 100);
  const Policy policy = *Policy::Parse("paged-16");
  RecordingObserver observer;
  observer.stop_after_samples = 5;
  const auto totals = RunInClosedForm({policy}, options, requests, {&observer});
  EXPECT_TRUE(absl::IsCancelled(totals.status())) << totals.status();
  EXPECT_EQ(observer.samples.size(), 5U);

  SpanSource source(requests);
  int polls = 0;
  const auto demand = MeasureDemand(std::vector{policy}, options, source,
                                    [&polls] { return ++polls == 10; });
  EXPECT_TRUE(absl::IsCancelled(demand.status())) << demand.status();
}

TEST(DemandReplayTest, RefusesWhatStepByStepRefuses) {
  const std::vector<std::vector<TraceRequest>> bad = {
      Requests({{.prompt = 1, .output = 0}}),
      Requests({{.prompt = 0, .output = 1}}),
      Requests({{.prompt = 1, .output = 1, .arrival_ns = 5},
                {.prompt = 1, .output = 1, .arrival_ns = 4}})};
  for (const auto& requests : bad) {
    CallObserver observer;
    const Policy policy = *Policy::Parse("paged-16");
    const auto expected =
        Simulate(policy, DemandOptions(11, 100), requests, observer);
    const auto found = RunInClosedForm({policy}, DemandOptions(11, 100),
                                       requests, {&observer});
    EXPECT_EQ(found.status(), expected.status());
    EXPECT_TRUE(absl::IsInvalidArgument(found.status()));
  }
  CallObserver observer;
  const auto found = RunInClosedForm({*Policy::Parse("paged-16")},
                                     DemandOptions(0, 100), {}, {&observer});
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("step_ns"));
}

TEST(DemandReplayTest, LeavesTurnsThatWaitForOthersToStepByStep) {
  auto requests = Requests({{.prompt = 3, .output = 2},
                            {.prompt = 3, .output = 2, .arrival_ns = 5}});
  requests[1].follows = 0;
  SimulationOptions options = DemandOptions(11, 100);
  SpanSource closed(requests);
  const std::vector policies = {*Policy::Parse("paged-16")};
  EXPECT_TRUE(absl::IsFailedPrecondition(
      MeasureDemand(policies, options, closed, [] { return false; }).status()));
  options.closed_loop = false;
  ExpectSameRun("paged-16", options, requests);
}

/// Fails after some requests.
class FailingSource : public RequestSource {
 public:
  absl::StatusOr<bool> Next(TraceRequest& request) override {
    if (left_-- == 0) return absl::DataLossError("the disk is gone");
    request.prompt_tokens = request.output_tokens = 4;
    return true;
  }

 private:
  int left_ = 3;
};

TEST(DemandReplayTest, PassesOnTheErrorsOfItsSource) {
  FailingSource source;
  const auto demand =
      MeasureDemand(std::vector{*Policy::Parse("concat")},
                    DemandOptions(11, 100), source, [] { return false; });
  EXPECT_EQ(demand.status(), absl::DataLossError("the disk is gone"));
}

TEST(DemandReplayTest, HasAClosedFormOnlyWithoutQueuesAndAtAFixedPace) {
  const Policy policy = *Policy::Parse("paged-16");
  SimulationOptions options = DemandOptions(11, 100);
  EXPECT_TRUE(HasClosedForm(policy, options));
  EXPECT_FALSE(HasClosedForm(*Policy::Parse("paged-2000000"), options));
  options.clock = ClockKind::kModel;
  EXPECT_FALSE(HasClosedForm(policy, options));
  options = DemandOptions(11, 100);
  options.demand = false;
  EXPECT_FALSE(HasClosedForm(policy, options));
  options = DemandOptions(11, 100);
  options.prefix_cache = true;
  EXPECT_FALSE(HasClosedForm(policy, options));
  options = DemandOptions(11, 100);
  options.fleet.num_replicas = 2;
  EXPECT_FALSE(HasClosedForm(policy, options));
  options = DemandOptions(11, 100);
  options.saturate = true;
  EXPECT_FALSE(HasClosedForm(policy, options));
}

}  // namespace
}  // namespace pagedkv::sim
