// SPDX-License-Identifier: Apache-2.0
//
// Pools that shrink and grow while requests run.

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "tests/support/count_allocations.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

KvCacheManager CreateCache(std::int64_t num_blocks, bool prefix_caching,
                           std::int64_t num_swap_blocks = 0) {
  return *KvCacheManager::Create(
      {.pool = {.num_blocks = BlockCount(num_blocks),
                .prefix_caching = prefix_caching,
                .max_num_blocks = BlockCount(2 * num_blocks)},
       .groups = {Full(4)},
       .max_sequence_tokens = TokenCount(200),
       .num_swap_blocks = BlockCount(num_swap_blocks),
       .list_fresh_blocks = true});
}

Request Asks(std::uint64_t id, int prompt, int output, int samples = 1) {
  return {.id = RequestId(id),
          .num_prompt_tokens = TokenCount(prompt),
          .max_output_tokens = TokenCount(output),
          .num_samples = samples};
}

TEST(SchedulerResizeTest, AShrinkInWhichALiveRequestCouldNotFinishIsRefused) {
  KvCacheManager cache = CreateCache(50, false);
  Scheduler scheduler = *Scheduler::Create({}, cache);
  ASSERT_TRUE(scheduler.Submit(Asks(7, 20, 21)).ok());  // 40 tokens: 10 blocks
  ASSERT_TRUE(scheduler.Submit(Asks(8, 8, 4)).ok());
  const absl::Status status = scheduler.BeginShrink(BlockCount(10));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("request 7"), HasSubstr("shrink to 11 or more")));
  EXPECT_EQ(cache.pool().num_blocks(), BlockCount(50));
  EXPECT_EQ(scheduler.BeginShrink(BlockCount(1)).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(scheduler.BeginShrink(BlockCount(11)).ok());
  EXPECT_EQ(cache.pool().num_blocks(), BlockCount(11));
  // What comes is measured by the new size.
  EXPECT_TRUE(scheduler.Submit(Asks(9, 20, 21)).ok());
  const absl::Status refused = scheduler.Submit(Asks(10, 20, 22));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the pool has 10"));
  ASSERT_TRUE(cache.Grow(BlockCount(12)).ok());
  EXPECT_TRUE(scheduler.Submit(Asks(10, 20, 22)).ok());
}

TEST(SchedulerResizeTest, AGroupNeedsBlocksForAllOfItsSequences) {
  KvCacheManager cache = CreateCache(50, false);
  Scheduler scheduler = *Scheduler::Create({}, cache);
  // 5 full blocks of the prompt, and for each of 3 samples 5 of its own.
  ASSERT_TRUE(scheduler.Submit(Asks(1, 20, 21, 3)).ok());
  EXPECT_FALSE(scheduler.BeginShrink(BlockCount(20)).ok());
  EXPECT_TRUE(scheduler.BeginShrink(BlockCount(21)).ok());
}

TEST(SchedulerResizeTest, NothingIsResizedWhileAPlanIsInFlight) {
  KvCacheManager cache = CreateCache(50, false);
  Scheduler scheduler = *Scheduler::Create({}, cache);
  ASSERT_TRUE(scheduler.Submit(Asks(1, 20, 2)).ok());
  ASSERT_TRUE(scheduler.Schedule().ok());
  constexpr absl::StatusCode kRefused = absl::StatusCode::kFailedPrecondition;
  EXPECT_EQ(scheduler.BeginShrink(BlockCount(30)).code(), kRefused);
  EXPECT_EQ(scheduler.Drain(BlockCount(1)).status().code(), kRefused);
  ASSERT_TRUE(scheduler.Update().ok());
  EXPECT_TRUE(scheduler.BeginShrink(BlockCount(30)).ok());
}

TEST(SchedulerResizeTest, ThePlanNamesFreshBlocksAndTheCopiesOfADrain) {
  KvCacheManager cache = CreateCache(12, false);
  Scheduler scheduler = *Scheduler::Create({}, cache);
  ASSERT_TRUE(scheduler.Submit(Asks(1, 16, 1)).ok());
  ASSERT_TRUE(scheduler.Submit(Asks(2, 14, 10)).ok());
  const auto first = scheduler.Schedule();
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(first->fresh_blocks, SizeIs(8));
  EXPECT_EQ(first->fresh_blocks[4], FreshBlock{BlockId(5)});
  ASSERT_TRUE(scheduler.Update().ok());  // the first has finished: 5 to 8 left
  ASSERT_TRUE(scheduler.BeginShrink(BlockCount(7)).ok());
  EXPECT_EQ(cache.pool().num_draining(), BlockCount(2));
  EXPECT_EQ(*scheduler.Drain(BlockCount(5)), BlockCount(2));
  EXPECT_EQ(cache.pool().num_draining(), BlockCount(0));
  const auto second = scheduler.Schedule();
  ASSERT_TRUE(second.ok());
  EXPECT_THAT(second->copies,
              ElementsAre(BlockCopy{0, BlockId(7), BlockId(4), 4},
                          BlockCopy{0, BlockId(8), BlockId(3), 2}));
  EXPECT_THAT(second->fresh_blocks,
              ElementsAre(FreshBlock{BlockId(4)}, FreshBlock{BlockId(3)}));
  EXPECT_THAT(second->slot_mapping[0], ElementsAre(3 * 4 + 2));
  ASSERT_TRUE(scheduler.Update().ok());
  EXPECT_THAT(scheduler.Schedule()->fresh_blocks, IsEmpty());
}

TEST(SchedulerResizeTest, OnceWarmListingFreshBlocksTakesNoMemory) {
  KvCacheManager cache = CreateCache(50, false);
  Scheduler scheduler = *Scheduler::Create({}, cache);
  std::size_t calls = 0;
  std::size_t fresh = 0;
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t id = 1; id <= 12; ++id) {
      ASSERT_TRUE(scheduler.Submit(Asks(id, 5, 20)).ok());
    }
    const std::size_t before = CountedAllocations().calls;
    while (scheduler.num_running() + scheduler.num_waiting() > 0) {
      const auto plan = scheduler.Schedule();
      ASSERT_TRUE(plan.ok());
      fresh += plan->fresh_blocks.size();
      ASSERT_TRUE(scheduler.Update().ok());
    }
    calls = CountedAllocations().calls - before;
  }
  EXPECT_EQ(calls, 0u);
  EXPECT_GE(fresh, 3u * 12 * 6);
}

class SchedulerResizePropertyTest
    : public testing::TestWithParam<std::uint64_t> {};

// Whatever happens to the pool, who was admitted finishes; and what each step
// writes lies in the pool, or in blocks that drain.
TEST_P(SchedulerResizePropertyTest, EveryRequestFinishes) {
  std::mt19937_64 random(GetParam());
  const auto below = [&](std::uint64_t n) {
    return static_cast<int>(random() % n);
  };
  const bool prefix_caching = GetParam() % 2 == 0;
  const bool swaps = GetParam() > 2;
  KvCacheManager cache = CreateCache(60, prefix_caching, swaps ? 30 : 0);
  Scheduler scheduler = *Scheduler::Create(
      {.preemption = swaps ? PreemptionMode::kSwap : PreemptionMode::kRecompute,
       .max_num_batched_tokens = TokenCount(64),
       .max_num_seqs = 12},
      cache);
  std::size_t num_swaps = 0;
  std::set<RequestId> live;
  std::uint64_t next_id = 1;
  std::int64_t shrunk = 0;
  std::int64_t refused = 0;
  int idle_steps = 0;
  for (int step = 0; step < 1500; ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    if (step < 1200 && live.size() < 30) {
      Request request = Asks(next_id, 1 + below(60), 1 + below(40),
                             below(5) == 0 ? 1 + below(3) : 1);
      for (std::int64_t i = 0; i < request.num_prompt_tokens.value(); ++i) {
        request.prompt_tokens.push_back(static_cast<TokenId>(i / 8));
      }
      if (scheduler.Submit(request).ok()) live.insert(RequestId(next_id));
      ++next_id;
    }
    if (below(10) == 0) {
      const BlockCount blocks(2 + below(70));
      if (blocks <= cache.pool().num_blocks()) {
        const absl::Status status = scheduler.BeginShrink(blocks);
        ++(status.ok() ? shrunk : refused);
      } else {
        ASSERT_TRUE(cache.Grow(blocks).ok());
      }
    }
    if (below(5) == 0) {
      ASSERT_TRUE(scheduler.Drain(BlockCount(below(10))).ok());
    }
    const auto plan = scheduler.Schedule(1 + below(3));
    ASSERT_TRUE(plan.ok()) << plan.status();
    num_swaps += plan->swap_in.size();
    idle_steps = plan->scheduled.empty() ? idle_steps + 1 : 0;
    ASSERT_TRUE(live.empty() || idle_steps < 2);
    std::vector<TokenId> sampled;
    for (const ScheduledSequence& entry : plan->scheduled) {
      for (int i = 0; i < entry.num_samples * plan->num_steps; ++i) {
        sampled.push_back(static_cast<TokenId>(below(3)));
      }
    }
    for (const std::int64_t slot : plan->slot_mapping[0]) {
      ASSERT_GE(slot, 4);
      ASSERT_LT(slot, cache.pool().extent().value() * 4);
    }
    const auto finished = scheduler.Update(sampled);
    ASSERT_TRUE(finished.ok()) << finished.status();
    for (const FinishedRequest& request : *finished) {
      if (request.ends_request) live.erase(request.id);
    }
    const absl::Status invariants = scheduler.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
  }
  EXPECT_THAT(live, IsEmpty());
  EXPECT_GT(shrunk, 20);
  EXPECT_GT(refused, 5);
  EXPECT_EQ(num_swaps > 0, swaps);
  EXPECT_EQ(cache.pool().num_draining(), BlockCount(0));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerResizePropertyTest,
                         testing::Values(1, 2, 3, 20240608));

}  // namespace
}  // namespace pagedkv
