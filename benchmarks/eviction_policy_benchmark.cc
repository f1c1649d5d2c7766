// SPDX-License-Identifier: Apache-2.0
//
// Each eviction policy with a full cache of 64 Ki or 1 Mi idle blocks:
//
//   Hit          a request finds an idle block, uses it and ends
//   InsertEvict  a victim is found and given up, and new content takes its
//                block: one block of a request that misses
//   Mixed        requests for contents of Zipf-like popularity; of the hits and
//                misses that come of it. Counter: the share of hits.

#include <cmath>
#include <cstdint>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "pagedkv/eviction_policy.h"

namespace pagedkv {
namespace {

constexpr std::size_t kRequests = std::size_t{1} << 20;

CachedBlockInfo InfoOf(std::uint64_t content) {
  return {.content = content * 0x9E3779B97F4A7C15ULL,
          .position = static_cast<std::int32_t>(content % 256)};
}

// The policy that the arguments name, whose blocks all have content and are
// idle: block b has content b.
std::unique_ptr<EvictionPolicy> FullPolicy(benchmark::State& state) {
  const std::string name =
      EvictionPolicyNames()[static_cast<std::size_t>(state.range(0))];
  state.SetLabel(name);
  const std::int64_t num_blocks = state.range(1);
  std::unique_ptr<EvictionPolicy> policy =
      *CreateEvictionPolicy(name, BlockCount(num_blocks));
  for (std::int32_t id = 1; id < num_blocks; ++id) {
    policy->OnInsert(BlockId(id), InfoOf(static_cast<std::uint64_t>(id)));
    policy->OnIdle(BlockId(id));
  }
  return policy;
}

void AllPolicies(benchmark::internal::Benchmark* benchmark) {
  const auto policies = std::ssize(EvictionPolicyNames());
  benchmark->ArgNames({"policy", "blocks"})
      ->ArgsProduct({benchmark::CreateDenseRange(0, policies - 1, 1),
                     {1 << 16, 1 << 20}});
}

BlockId Replace(EvictionPolicy& policy, std::uint64_t content) {
  const CachedBlockInfo info = InfoOf(content);
  policy.OnMiss(info);
  const BlockId block = policy.Victim();
  policy.OnRemove(block);
  policy.OnInsert(block, info);
  policy.OnIdle(block);
  return block;
}

void BM_Hit(benchmark::State& state) {
  const std::int64_t num_blocks = state.range(1);
  const auto policy = FullPolicy(state);
  std::mt19937_64 random(1);
  std::vector<BlockId> blocks(kRequests);
  for (BlockId& block : blocks) {
    block = BlockId(static_cast<std::int32_t>(
        1 + random() % static_cast<std::uint64_t>(num_blocks - 1)));
  }
  std::size_t i = 0;
  for (auto _ : state) {
    const BlockId block = blocks[i++ % kRequests];
    policy->OnHit(block);
    policy->OnUse(block);
    policy->OnIdle(block);
  }
}
BENCHMARK(BM_Hit)->Apply(AllPolicies);

void BM_InsertEvict(benchmark::State& state) {
  const auto policy = FullPolicy(state);
  std::uint64_t content = static_cast<std::uint64_t>(state.range(1));
  for (auto _ : state) {
    benchmark::DoNotOptimize(Replace(*policy, content++));
  }
}
BENCHMARK(BM_InsertEvict)->Apply(AllPolicies);

void BM_Mixed(benchmark::State& state) {
  const std::int64_t num_blocks = state.range(1);
  const auto policy = FullPolicy(state);
  // Contents 1 .. 8 n, where rank r is asked for in proportion to 1 / r.
  const auto num_contents = static_cast<double>(8 * num_blocks);
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(0.0, std::log(num_contents));
  std::vector<std::uint32_t> contents(kRequests);
  for (std::uint32_t& content : contents) {
    content = static_cast<std::uint32_t>(std::exp(exponent(random)));
  }
  std::vector<BlockId> block_of(8 * static_cast<std::size_t>(num_blocks) + 1);
  std::vector<std::uint32_t> content_of(static_cast<std::size_t>(num_blocks));
  for (std::int32_t id = 1; id < num_blocks; ++id) {
    block_of[static_cast<std::size_t>(id)] = BlockId(id);
    content_of[static_cast<std::size_t>(id)] = static_cast<std::uint32_t>(id);
  }
  std::size_t i = 0;
  std::int64_t hits = 0;
  for (auto _ : state) {
    const std::uint32_t content = contents[i++ % kRequests];
    BlockId& block = block_of[content];
    if (block != kNullBlock) {
      ++hits;
      policy->OnHit(block);
      continue;
    }
    block = Replace(*policy, content);
    std::uint32_t& evicted =
        content_of[static_cast<std::size_t>(block.value())];
    block_of[evicted] = kNullBlock;
    evicted = content;
  }
  state.counters["hits"] = benchmark::Counter(
      static_cast<double>(hits), benchmark::Counter::kAvgIterations);
}
BENCHMARK(BM_Mixed)->Apply(AllPolicies);

}  // namespace
}  // namespace pagedkv
