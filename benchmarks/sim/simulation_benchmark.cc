// SPDX-License-Identifier: Apache-2.0

/// Whole simulations: a built-in workload through one policy, accounting
/// included, reports not. A sequence-step is one sequence in one engine step.

#include <cstdint>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "sim/replay/simulation.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

class CountingObserver : public SimulationObserver {
 public:
  void OnSample(const Sample& sample) override {
    sequence_steps_ += sample.is_step ? sample.running : 0;
  }
  void OnRequest(const RequestRecord& record) override {
    benchmark::DoNotOptimize(&record);
  }
  [[nodiscard]] std::int64_t sequence_steps() const { return sequence_steps_; }

 private:
  std::int64_t sequence_steps_ = 0;
};

void Run(benchmark::State& state, const char* workload, Policy policy,
         std::int64_t capacity, std::int64_t max_sequence_tokens,
         bool fuse_steps) {
  const auto loaded = LoadWorkload({.workload = workload, .requests = 5000});
  workloads::Require(loaded.ok());
  std::int64_t sequence_steps = 0;
  for (auto _ : state) {
    CountingObserver observer;
    const auto totals =
        Simulate(policy,
                 {.capacity = TokenCount(capacity),
                  .max_sequence_tokens = TokenCount(max_sequence_tokens),
                  .fuse_steps = fuse_steps},
                 loaded->requests, observer);
    workloads::Require(totals.ok());
    sequence_steps += observer.sequence_steps();
  }
  state.SetItemsProcessed(sequence_steps);
}

// The argument is `SimulationOptions::fuse_steps`: 0 is step by step.
void BM_Paged16ShareGpt(benchmark::State& state) {
  Run(state, "sharegpt", {.kind = PolicyKind::kPaged}, 15728, 2048,
      state.range(0) != 0);
}
BENCHMARK(BM_Paged16ShareGpt)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

void BM_Paged16AzureConversation(benchmark::State& state) {
  Run(state, "azure-conv-2023", {.kind = PolicyKind::kPaged}, 131072, 16384,
      state.range(0) != 0);
}
BENCHMARK(BM_Paged16AzureConversation)
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMillisecond);

void BM_ContiguousPow2ShareGpt(benchmark::State& state) {
  Run(state, "sharegpt", {.kind = PolicyKind::kContiguousPow2}, 15728, 2048,
      state.range(0) != 0);
}
BENCHMARK(BM_ContiguousPow2ShareGpt)
    ->Arg(0)
    ->Arg(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagedkv::sim
