// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/report/example_report.h"

#include <cstdint>
#include <string>

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

constexpr ServiceLevel kExampleLevel = {.ttft_ns = 3 * kSecond};

StatisticsOptions ExampleOptions() {
  StatisticsOptions options;
  options.window = WindowKind::kSaturated;
  options.num_requests = 1'000;
  options.level = kExampleLevel;
  return options;
}

PolicyResult ExampleResult(PolicyKind kind, double batch) {
  PolicyResult result;
  result.policy.kind = kind;
  RunStatistics statistics(ExampleOptions());
  RunExample(40, statistics);
  result.metrics =
      ComputeMetrics(statistics, result.policy, ClockKind::kFixed, 1);
  result.metrics.batch_mean = Estimate{batch, std::nullopt};
  result.requests = statistics.requests();
  result.latency = statistics.latency();
  result.num_events = statistics.num_events();
  result.totals.steps = 40;
  result.totals.end_ns = 40 * kSecond;
  result.totals.finished = 3;
  result.totals.capacity_slots = 1'000;
  result.totals.peak_slots = 750;
  result.totals.preemptions = 1'234;
  result.totals.blocked_capacity_ns = kSecond / 2;
  return result;
}

}  // namespace

CauseSlots ExampleSlots() {
  CauseSlots slots;
  slots[Cause::kToken] = 400;
  slots[Cause::kReserved] = 100;
  slots[Cause::kInternal] = 200;
  slots[Cause::kRoundUp] = 50;
  slots[Cause::kWatermark] = 30;
  slots[Cause::kBlockedFragmented] = 20;
  slots[Cause::kBlockedCapacity] = 110;
  slots[Cause::kBlockedPolicy] = 40;
  slots[Cause::kTail] = 10;
  slots[Cause::kIdle] = 40;
  return slots;
}

void RunExample(int num_steps, RunStatistics& statistics) {
  for (std::int64_t id = 0; id < 3; ++id) {
    RequestRecord record;
    record.id = id;
    record.prompt_tokens = 10;
    record.output_tokens = 7;
    record.slots_granted = 16 + 100 * id;
    record.admit_ns = id * kSecond;
    record.first_token_ns = (2 + id) * kSecond;
    record.finish_ns = record.first_token_ns + 6 * kSecond / 10;
    statistics.OnRequest(record);
  }
  for (int step = 0; step < num_steps; ++step) {
    Sample sample;
    sample.begin_ns = step * kSecond;
    sample.duration_ns = kSecond;
    sample.is_step = true;
    sample.slots = ExampleSlots();
    sample.running = 3;
    sample.waiting = 1;
    sample.largest_free_slots = 60;
    statistics.OnSample(sample);
  }
}

Report ExampleReport() {
  Report report;
  report.inputs.trace.name = "conv.csv";
  report.inputs.trace.format = "azure";
  report.inputs.trace.sha256 = std::string(64, 'a');
  report.inputs.trace.rows = 1'010;
  report.inputs.trace.kept = 1'000;
  report.inputs.trace.dropped.over_max_seq = 7;
  report.inputs.trace.dropped.zero_output = 3;
  report.inputs.trace.span_ns = 3'501'721'937'123;
  report.inputs.trace.prompt_tokens = 22'361'870;
  report.inputs.trace.output_tokens = 4'088'665;
  report.inputs.seed = 7;
  report.model = {"opt-13b", Bytes(1'000), TokenCount(2'048), true};
  report.pool = {TokenCount(1'000), Bytes(1'000'999), "explicit", "--memory"};
  report.simulation.clock = ClockKind::kFixed;
  report.simulation.capacity = TokenCount(1'000);
  report.simulation.max_sequence_tokens = TokenCount(2'048);
  report.window = WindowKind::kSaturated;
  report.level = kExampleLevel;
  report.results.push_back(ExampleResult(PolicyKind::kContiguousMax, 1.5));
  report.results.push_back(ExampleResult(PolicyKind::kPaged, 3));
  report.results.push_back(ExampleResult(PolicyKind::kConcat, 3));
  report.results.back().totals.copied_slots = 5'000;
  report.results.back().totals.transient_peak_slots = 12;
  report.version = "0.0.0-test";
  return report;
}

}  // namespace pagedkv::sim
