// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

KvCacheManager MakeManager() {
  KvCacheManager manager =
      *KvCacheManager::Create({.pool = {.num_blocks = workloads::kPoolBlocks},
                               .groups = {{workloads::kBlockSize}},
                               .max_sequence_tokens = TokenCount(8192)});
  // Sequences of one block each, ended in random order, shuffle the pool.
  std::vector<SequenceId> sequences;
  for (int i = 0; i < 1024; ++i) {
    sequences.push_back(*manager.AddSequence());
    workloads::Require(*manager.TryAppend(sequences.back(), TokenCount(1008)));
  }
  std::shuffle(sequences.begin(), sequences.end(), std::mt19937_64(1));
  for (SequenceId sequence : sequences) {
    workloads::Require(manager.Release(sequence).ok());
  }
  manager.ClearDirty();
  return manager;
}

// Workload b: prompt, appends, free.
void BM_SequenceLife(benchmark::State& state) {
  KvCacheManager manager = MakeManager();
  for (auto _ : state) {
    const SequenceId sequence = *manager.AddSequence();
    benchmark::DoNotOptimize(
        *manager.TryAppend(sequence, workloads::kPromptTokens));
    for (int i = 0; i < workloads::kDecodeTokens; ++i) {
      benchmark::DoNotOptimize(*manager.TryAppend(sequence, TokenCount(1)));
    }
    benchmark::DoNotOptimize(manager.Release(sequence).ok());
    manager.ClearDirty();
  }
}
BENCHMARK(BM_SequenceLife);

// One append of workload b, its share of new blocks included.
void BM_Append(benchmark::State& state) {
  KvCacheManager manager = MakeManager();
  const SequenceId sequence = *manager.AddSequence();
  benchmark::DoNotOptimize(
      *manager.TryAppend(sequence, workloads::kPromptTokens));
  for (auto _ : state) {
    for (int i = 0; i < workloads::kDecodeTokens; ++i) {
      benchmark::DoNotOptimize(*manager.TryAppend(sequence, TokenCount(1)));
    }
    benchmark::DoNotOptimize(
        manager.Truncate(sequence, workloads::kPromptTokens).ok());
  }
  state.counters["per_append"] =
      benchmark::Counter(static_cast<double>(workloads::kDecodeTokens),
                         benchmark::Counter::kIsIterationInvariantRate |
                             benchmark::Counter::kInvert);
}
BENCHMARK(BM_Append);

// Fork a sequence of `range` tokens, write one token of the fork (which copies
// its last block), and end it.
void BM_ForkWriteRelease(benchmark::State& state) {
  KvCacheManager manager = MakeManager();
  const SequenceId parent = *manager.AddSequence();
  benchmark::DoNotOptimize(
      *manager.TryAppend(parent, TokenCount(state.range(0))));
  for (auto _ : state) {
    const SequenceId fork = *manager.Fork(parent);
    benchmark::DoNotOptimize(*manager.TryAppend(fork, TokenCount(1)));
    benchmark::DoNotOptimize(manager.Release(fork).ok());
    manager.ClearCopies();
    manager.ClearDirty();
  }
}
BENCHMARK(BM_ForkWriteRelease)->Arg(100)->Arg(1000)->Arg(8000);

// The tables of a batch of 256 sequences of 128 blocks in compressed rows.
void BM_FillCsr(benchmark::State& state) {
  KvCacheManager manager = MakeManager();
  std::vector<SequenceId> batch;
  for (int i = 0; i < 256; ++i) {
    batch.push_back(*manager.AddSequence());
    workloads::Require(*manager.TryAppend(batch.back(), TokenCount(2048)));
  }
  CsrBlockTables csr;
  for (auto _ : state) {
    manager.FillCsr(batch, csr);
    benchmark::DoNotOptimize(csr.indices.data());
  }
}
BENCHMARK(BM_FillCsr);

}  // namespace
}  // namespace pagedkv
