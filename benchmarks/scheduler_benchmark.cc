// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/scheduler.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kSteps = 512;

// `state.range(0)` sequences that decode. They end in the end and are then
// replaced, outside of the time taken.
class DecodingBatch {
 public:
  DecodingBatch(benchmark::State& state, const SchedulerOptions& options)
      : state_(state),
        manager_(*KvCacheManager::Create(
            {.pool = {.num_blocks = workloads::kPoolBlocks},
             .groups = {{workloads::kBlockSize}},
             .max_sequence_tokens = TokenCount(2048)})),
        scheduler_(*Scheduler::Create(options, manager_)) {}

  // One plan of at most so many steps.
  void Run(std::int32_t max_steps) {
    if (steps_left_ <= 0) Replace();
    const auto plan = scheduler_.Schedule(max_steps);
    benchmark::DoNotOptimize(plan->slot_mapping.data());
    steps_left_ -= plan->num_steps;
    num_steps_ += plan->num_steps;
    benchmark::DoNotOptimize(scheduler_.Update().ok());
  }
  // Time per sequence and step.
  void Report() {
    state_.counters["per_sequence"] = benchmark::Counter(
        static_cast<double>(state_.range(0)) * static_cast<double>(num_steps_),
        benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  }

 private:
  void Replace() {
    state_.PauseTiming();
    while (scheduler_.num_running() > 0) {
      workloads::Require(scheduler_.Schedule().ok());
      workloads::Require(scheduler_.Update().ok());
    }
    for (std::int64_t i = 0; i < state_.range(0); ++i) {
      workloads::Require(
          scheduler_
              .Submit({.id = RequestId(next_id_++),
                       .num_prompt_tokens = workloads::kStepPromptTokens,
                       .max_output_tokens = TokenCount(kSteps + 128)})
              .ok());
    }
    while (scheduler_.num_waiting() > 0) {
      workloads::Require(scheduler_.Schedule().ok());
      workloads::Require(scheduler_.Update().ok());
    }
    steps_left_ = kSteps;
    state_.ResumeTiming();
  }

  benchmark::State& state_;
  KvCacheManager manager_;
  Scheduler scheduler_;
  std::uint64_t next_id_ = 0;
  std::int64_t steps_left_ = 0;
  std::int64_t num_steps_ = 0;
};

SchedulerOptions Options(bool fill_slot_mapping) {
  return {.max_num_batched_tokens = workloads::kStepBudget,
          .max_num_seqs = 1024,
          .fill_slot_mapping = fill_slot_mapping};
}

// Workload e: one step (schedule, table deltas, slot mapping, update) with
// `range` sequences decoding.
void BM_DecodeStep(benchmark::State& state) {
  DecodingBatch batch(state, Options(/*fill_slot_mapping=*/true));
  for (auto _ : state) batch.Run(/*max_steps=*/1);
  batch.Report();
}
BENCHMARK(BM_DecodeStep)->Arg(64)->Arg(256)->Arg(1024)->Iterations(20480);

// The same for a client that does not read the slot mapping.
void BM_DecodeStepWithoutSlots(benchmark::State& state) {
  DecodingBatch batch(state, Options(/*fill_slot_mapping=*/false));
  for (auto _ : state) batch.Run(/*max_steps=*/1);
  batch.Report();
}
BENCHMARK(BM_DecodeStepWithoutSlots)->Arg(64)->Arg(1024)->Iterations(20480);

// Several steps at once: (sequences, steps), with and without the slot mapping,
// which alone grows with the steps.
void BM_DecodeSteps(benchmark::State& state) {
  DecodingBatch batch(state, Options(/*fill_slot_mapping=*/true));
  const auto max_steps = static_cast<std::int32_t>(state.range(1));
  for (auto _ : state) batch.Run(max_steps);
  batch.Report();
}
void BM_DecodeStepsWithoutSlots(benchmark::State& state) {
  DecodingBatch batch(state, Options(/*fill_slot_mapping=*/false));
  const auto max_steps = static_cast<std::int32_t>(state.range(1));
  for (auto _ : state) batch.Run(max_steps);
  batch.Report();
}
BENCHMARK(BM_DecodeSteps)->ArgsProduct({{64, 1024}, {8, 64}})->Iterations(2048);
BENCHMARK(BM_DecodeStepsWithoutSlots)
    ->ArgsProduct({{64, 1024}, {8, 64}})
    ->Iterations(2048);

}  // namespace
}  // namespace pagedkv
