// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/block_pool.h"

namespace pagedkv {
namespace {

BlockPool ShuffledPool(std::int64_t num_blocks, bool prefix_caching) {
  BlockPool pool = *BlockPool::Create(
      {.num_blocks = BlockCount(num_blocks), .prefix_caching = prefix_caching});
  workloads::Require(pool.Release(workloads::ShuffledBlocks(pool)).ok());
  return pool;
}

void AllocateRelease(benchmark::State& state, std::int64_t pool_blocks,
                     bool prefix_caching) {
  BlockPool pool = ShuffledPool(pool_blocks, prefix_caching);
  std::vector<BlockId> blocks(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.TryAllocate(blocks));
    benchmark::DoNotOptimize(pool.ReleaseReversed(blocks).ok());
  }
  state.counters["per_block"] =
      benchmark::Counter(static_cast<double>(state.range(0)),
                         benchmark::Counter::kIsIterationInvariantRate |
                             benchmark::Counter::kInvert);
}

// Workload a: allocate N blocks, then free them.
void BM_AllocateRelease(benchmark::State& state) {
  AllocateRelease(state, workloads::kPoolBlocks.value(), false);
}
BENCHMARK(BM_AllocateRelease)->Arg(1)->Arg(16)->Arg(256);

// The same with the order of reissue that a prefix cache needs.
void BM_AllocateReleasePrefixCaching(benchmark::State& state) {
  AllocateRelease(state, workloads::kPoolBlocks.value(), true);
}
BENCHMARK(BM_AllocateReleasePrefixCaching)->Arg(1)->Arg(16)->Arg(256);

// The cost must not depend on the size of the pool: N blocks of 16 Mi.
void BM_AllocateReleaseLargePool(benchmark::State& state) {
  AllocateRelease(state, std::int64_t{1} << 24, false);
}
BENCHMARK(BM_AllocateReleaseLargePool)->Arg(16)->Arg(256);

}  // namespace
}  // namespace pagedkv
