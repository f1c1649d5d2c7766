// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/scheduler.h"

namespace pagedkv {
namespace {

// Workload e: one step (schedule, table deltas, slot mapping, update) with
// `range` sequences decoding. They end in the end and are then replaced,
// outside of the time taken.
void BM_DecodeStep(benchmark::State& state) {
  const std::int64_t sequences = state.range(0);
  constexpr std::int64_t kSteps = 512;
  KvCacheManager manager =
      *KvCacheManager::Create({.pool = {.num_blocks = workloads::kPoolBlocks},
                               .groups = {{workloads::kBlockSize}},
                               .max_sequence_tokens = TokenCount(2048)});
  Scheduler scheduler = *Scheduler::Create(
      {.max_num_batched_tokens = workloads::kStepBudget, .max_num_seqs = 1024},
      manager);
  std::uint64_t next_id = 0;
  std::int64_t steps_left = 0;
  for (auto _ : state) {
    if (steps_left == 0) {
      state.PauseTiming();
      while (scheduler.num_running() > 0) {
        workloads::Require(scheduler.Schedule().ok());
        workloads::Require(scheduler.Update().ok());
      }
      for (std::int64_t i = 0; i < sequences; ++i) {
        workloads::Require(
            scheduler
                .Submit({.id = RequestId(next_id++),
                         .num_prompt_tokens = workloads::kStepPromptTokens,
                         .max_output_tokens = TokenCount(kSteps + 128)})
                .ok());
      }
      while (scheduler.num_waiting() > 0) {
        workloads::Require(scheduler.Schedule().ok());
        workloads::Require(scheduler.Update().ok());
      }
      steps_left = kSteps;
      state.ResumeTiming();
    }
    --steps_left;
    const auto plan = scheduler.Schedule();
    benchmark::DoNotOptimize(plan->slot_mapping.data());
    benchmark::DoNotOptimize(scheduler.Update().ok());
  }
  state.counters["per_sequence"] =
      benchmark::Counter(static_cast<double>(sequences),
                         benchmark::Counter::kIsIterationInvariantRate |
                             benchmark::Counter::kInvert);
}
BENCHMARK(BM_DecodeStep)->Arg(64)->Arg(256)->Arg(1024)->Iterations(20480);

}  // namespace
}  // namespace pagedkv
