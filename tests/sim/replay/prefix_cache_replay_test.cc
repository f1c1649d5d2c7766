// SPDX-License-Identifier: Apache-2.0
// Requests that share content: who hits what, and that every slot still has
// exactly one cause (a replay stops where it does not).
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/eviction_policy.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/lru_curve.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/memory_watcher.h"
#include "tests/sim/replay/recording_observer.h"

namespace pagedkv::sim {
namespace {

constexpr std::int32_t kBlock = 16;

SimulationOptions Options(std::int64_t blocks) {
  SimulationOptions options;
  options.capacity = TokenCount(blocks * kBlock);
  options.max_sequence_tokens = TokenCount(1024);
  options.clock = ClockKind::kFixed;
  options.step_ns = 10;
  options.prefix_cache = true;
  options.trace_block = BlockSize(kBlock);
  return options;
}

// Prompts that go on from one another as a random tree, each with a last,
// partial block of its own.
std::vector<TraceRequest> TreeOfPrompts(std::uint64_t seed, int count,
                                        std::int64_t gap_ns) {
  std::mt19937_64 random(seed);
  std::vector<TraceRequest> requests;
  std::uint64_t next_id = 1;
  for (int i = 0; i < count; ++i) {
    TraceRequest request;
    request.id = i;
    request.arrival_ns = i * gap_ns;
    if (i > 0 && random() % 4 != 0) {
      const std::vector<std::uint64_t>& other =
          requests[random() % requests.size()].block_ids;
      const std::size_t kept = random() % other.size();
      request.block_ids.assign(
          other.begin(), other.begin() + static_cast<std::ptrdiff_t>(kept));
    }
    const std::size_t added = 1 + random() % 6;
    for (std::size_t j = 0; j < added && request.block_ids.size() < 30; ++j) {
      request.block_ids.push_back(next_id++);
    }
    const auto blocks = static_cast<std::int32_t>(request.block_ids.size());
    request.prompt_tokens =
        (blocks - 1) * kBlock + 1 + static_cast<std::int32_t>(random() % 15);
    request.output_tokens = 1 + static_cast<std::int32_t>(random() % 40);
    requests.push_back(request);
  }
  return requests;
}

SimulationTotals Replay(const SimulationOptions& options,
                        const std::vector<TraceRequest>& requests,
                        RecordingObserver& observer) {
  const auto totals =
      Simulate(*Policy::Parse("paged-16"), options, requests, observer);
  EXPECT_TRUE(totals.ok()) << totals.status();
  return totals.ok() ? *totals : SimulationTotals();
}

TEST(PrefixCacheReplayTest, OneAfterAnotherHitsWhatAnUnboundedCacheHits) {
  const std::vector<TraceRequest> requests =
      TreeOfPrompts(1, 200, /*gap_ns=*/10'000);
  RecordingObserver observer;
  const SimulationTotals totals = Replay(Options(4'000), requests, observer);

  const auto trace = BlockTrace::Create(requests, kBlock);
  ASSERT_TRUE(trace.ok());
  LruCurve curve(trace->block_size());
  for (std::size_t i = 0; i < trace->num_requests(); ++i) {
    curve.Add(trace->contents(i), trace->prompt(i));
  }
  EXPECT_EQ(totals.hits, curve.Unbounded());
  EXPECT_GT(totals.hits.hit_blocks, 0);
  EXPECT_EQ(totals.finished, 200);
}

TEST(PrefixCacheReplayTest, EverySlotHasOneCauseUnderEachEvictionPolicy) {
  const std::vector<TraceRequest> requests =
      TreeOfPrompts(2, 300, /*gap_ns=*/40);
  for (const std::string& eviction : EvictionPolicyNames()) {
    SCOPED_TRACE(eviction);
    SimulationOptions options = Options(80);
    options.eviction_policy = eviction;
    RecordingObserver observer;
    const SimulationTotals totals = Replay(options, requests, observer);
    EXPECT_EQ(totals.finished + totals.rejected, 300);
    EXPECT_GT(totals.hits.hit_blocks, 0);
    EXPECT_GT(observer.Integral(Cause::kCachedIdle), 0);
    for (const Sample& sample : observer.samples) {
      for (std::size_t i = 0; i < kNumCauses; ++i) {
        ASSERT_GE(sample.slots[static_cast<Cause>(i)], 0) << kCauseNames[i];
      }
    }
  }
}

TEST(PrefixCacheReplayTest, ShowsWhatIsSharedAndWhatIsCached) {
  MemoryWatcher watcher;
  const std::vector<TraceRequest> requests =
      TreeOfPrompts(4, 200, /*gap_ns=*/100);
  const SimulationTotals totals = Replay(Options(60), requests, watcher);
  watcher.Check();
  EXPECT_GE(watcher.num_checked, totals.steps);
  EXPECT_TRUE(watcher.saw_shared);
  EXPECT_TRUE(watcher.saw_cached_idle);
}

TEST(PrefixCacheReplayTest, WhatTwoShareCountsOnce) {
  TraceRequest first;
  first.prompt_tokens = 2 * kBlock + 1;
  first.output_tokens = 50;
  first.block_ids = {1, 2, 3};
  TraceRequest second = first;
  second.id = 1;
  second.arrival_ns = 10;
  second.block_ids = {1, 2, 4};
  RecordingObserver observer;
  Replay(Options(20), {first, second}, observer);
  const CauseSlots& both = observer.samples[1].slots;
  EXPECT_EQ(observer.samples[1].running, 2);
  // Two shared blocks, the second token of one and the first of the other.
  EXPECT_EQ(both[Cause::kToken], 2 * kBlock + 2 + 1);
  EXPECT_EQ(observer.records[1].hit_tokens, 2 * kBlock);
}

TEST(PrefixCacheReplayTest, TheNextTurnFindsWhatWasGenerated) {
  // 24 prompt tokens and 20 of output fill blocks 1 to 3 but for 4 tokens; the
  // next turn shows them in blocks 1, 2 and 3.
  TraceRequest first;
  first.prompt_tokens = 24;
  first.output_tokens = 20;
  first.block_ids = {1, 2};
  first.output_block_ids = {2, 3};
  TraceRequest next;
  next.id = 1;
  next.prompt_tokens = 60;
  next.output_tokens = 4;
  next.block_ids = {1, 2, 3, 4};
  next.arrival_ns = 1'000;
  next.follows = 0;
  next.delay_ns = 1'000;
  RecordingObserver observer;
  Replay(Options(20), {first, next}, observer);
  ASSERT_EQ(observer.records.size(), 2u);
  EXPECT_EQ(observer.records[1].arrival_ns,
            observer.records[0].finish_ns + 1'000);
  // The last token sampled is never computed: 43 tokens are 2 full blocks.
  EXPECT_EQ(observer.records[1].hit_tokens, 2 * kBlock);
}

TEST(PrefixCacheReplayTest, OffNothingIsShared) {
  SimulationOptions options = Options(4'000);
  options.prefix_cache = false;
  RecordingObserver observer;
  const SimulationTotals totals =
      Replay(options, TreeOfPrompts(1, 50, 10'000), observer);
  EXPECT_EQ(totals.hits, HitCounts());
  EXPECT_EQ(observer.Integral(Cause::kCachedIdle), 0);
}

}  // namespace
}  // namespace pagedkv::sim
