// SPDX-License-Identifier: Apache-2.0
//
// Preemption by swap, told as stories. Random workloads by swap are those of
// the property and model tests.

#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Kind = ScheduledSequence::Kind;

struct SetUp {
  std::int64_t usable_blocks = 4;  // of 4 tokens
  std::int64_t num_swap_blocks = 8;
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
};

struct Rig {
  explicit Rig(const SetUp& set_up)
      : cache(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(set_up.usable_blocks + 1)},
             .groups = {{.block_size = BlockSize(4)}},
             .max_sequence_tokens = TokenCount(64),
             .num_swap_blocks = BlockCount(set_up.num_swap_blocks)})),
        scheduler(*Scheduler::Create({.policy = set_up.policy,
                                      .preemption = PreemptionMode::kSwap,
                                      .max_num_batched_tokens = TokenCount(64)},
                                     cache)) {}

  void Submit(int id, int prompt, int output, int samples = 1,
              int priority = 0) {
    const absl::Status status =
        scheduler.Submit({.id = RequestId(static_cast<std::uint64_t>(id)),
                          .num_prompt_tokens = TokenCount(prompt),
                          .max_output_tokens = TokenCount(output),
                          .num_samples = samples,
                          .priority = priority});
    ASSERT_TRUE(status.ok()) << status;
  }
  StepPlan Schedule() {
    const absl::StatusOr<StepPlan> plan = scheduler.Schedule();
    EXPECT_TRUE(plan.ok()) << plan.status();
    CheckInvariants();
    return *plan;
  }
  void Update() {
    EXPECT_TRUE(scheduler.Update().ok());
    CheckInvariants();
  }
  void Step() {
    Schedule();
    Update();
  }
  void CheckInvariants() const {
    const absl::Status sound = scheduler.CheckInvariants();
    EXPECT_TRUE(sound.ok()) << sound;
  }

  KvCacheManager cache;
  Scheduler scheduler;
};

BlockSwap Move(int block, int swap_block, int num_tokens) {
  return {.block = BlockId(block),
          .swap_block = BlockId(swap_block),
          .num_tokens = num_tokens};
}

TEST(SchedulerSwapTest, AVictimGoesOnWhereItStopped) {
  Rig rig({});
  rig.Submit(1, 8, 8);
  rig.Submit(2, 7, 2);
  rig.Step();  // 8 and 7 tokens: two blocks each
  const SequenceId second = *rig.scheduler.SequenceOf(RequestId(2));

  const StepPlan out = rig.Schedule();  // request 1 needs a third
  ASSERT_EQ(out.preempted.size(), 1u);
  EXPECT_EQ(out.preempted[0].request, RequestId(2));
  EXPECT_EQ(out.preempted[0].mode, PreemptionMode::kSwap);
  EXPECT_EQ(out.preempted[0].tokens_lost, TokenCount(0));
  // Of the second block only the slots that hold tokens.
  EXPECT_THAT(out.swap_out, ElementsAre(Move(3, 1, 4), Move(4, 2, 3)));
  EXPECT_THAT(out.swap_in, IsEmpty());
  EXPECT_EQ(rig.scheduler.SequenceOf(RequestId(2)), std::nullopt);
  rig.Update();
  while (rig.scheduler.num_running() > 0) {
    const StepPlan plan = rig.Schedule();
    EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
    EXPECT_THAT(plan.swap_out, IsEmpty());
    rig.Update();
  }

  const StepPlan in = rig.Schedule();
  ASSERT_EQ(in.scheduled.size(), 1u);
  EXPECT_EQ(in.scheduled[0].sequence, second);
  EXPECT_EQ(in.scheduled[0].kind, Kind::kResumed);
  EXPECT_EQ(in.scheduled[0].num_computed, 7);
  EXPECT_EQ(in.scheduled[0].num_tokens, 1);
  const std::span<const BlockId> table = rig.cache.block_table(second);
  EXPECT_THAT(in.swap_in, ElementsAre(Move(table[0].value(), 1, 4),
                                      Move(table[1].value(), 2, 3)));
  EXPECT_THAT(in.swap_out, IsEmpty());
  rig.Update();
  EXPECT_EQ(rig.scheduler.num_running(), 0);
  EXPECT_EQ(rig.cache.num_free_swap_blocks(), BlockCount(8));
}

TEST(SchedulerSwapTest, WithoutRoomInTheSwapSpaceAVictimRecomputes) {
  Rig rig({.num_swap_blocks = 1});
  rig.Submit(1, 8, 8);
  rig.Submit(2, 7, 2);
  rig.Step();
  const StepPlan plan = rig.Schedule();
  ASSERT_EQ(plan.preempted.size(), 1u);
  EXPECT_EQ(plan.preempted[0].mode, PreemptionMode::kRecompute);
  EXPECT_EQ(plan.preempted[0].tokens_lost, TokenCount(7));
  EXPECT_THAT(plan.swap_out, IsEmpty());
  EXPECT_EQ(rig.cache.num_sequences(), 1);
}

TEST(SchedulerSwapTest, AGroupMovesItsSharedBlocksOnce) {
  Rig rig({.usable_blocks = 7});
  rig.Submit(1, 8, 8);
  rig.Submit(2, 8, 8, /*samples=*/2);
  for (int i = 0; i < 5; ++i) rig.Step();  // 12 tokens of each sequence
  EXPECT_EQ(rig.cache.pool().num_free(), BlockCount(0));

  const StepPlan out = rig.Schedule();  // request 1 needs a fourth block
  ASSERT_EQ(out.preempted.size(), 1u);
  EXPECT_EQ(out.preempted[0].request, RequestId(2));
  // Two of the prompt, and one of each sample.
  EXPECT_EQ(out.swap_out.size(), 4u);
  rig.Update();
  while (rig.scheduler.num_running() > 0) rig.Step();

  const StepPlan in = rig.Schedule();
  EXPECT_EQ(in.swap_in.size(), 4u);
  ASSERT_EQ(in.scheduled.size(), 2u);
  for (const ScheduledSequence& entry : in.scheduled) {
    EXPECT_EQ(entry.kind, Kind::kResumed);
    EXPECT_EQ(entry.num_computed, 12);
    EXPECT_EQ(entry.num_tokens, 1);
  }
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(6));
}

TEST(SchedulerSwapTest, AnAbortedRequestLeavesTheSwapSpace) {
  Rig rig({});
  rig.Submit(1, 8, 8);
  rig.Submit(2, 7, 2);
  rig.Step();
  rig.Step();
  EXPECT_EQ(rig.cache.num_free_swap_blocks(), BlockCount(6));
  EXPECT_TRUE(rig.scheduler.Abort(RequestId(2)).ok());
  rig.CheckInvariants();
  EXPECT_EQ(rig.cache.num_free_swap_blocks(), BlockCount(8));
  EXPECT_EQ(rig.cache.num_sequences(), 1);
  const StepPlan plan = rig.Schedule();
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kNone);
  EXPECT_THAT(plan.ended, ElementsAre(RequestId(2)));
}

TEST(SchedulerSwapTest, WhoIsSwappedOutComesBeforeTheMoreImportant) {
  Rig rig({.policy = SchedulingPolicy::kPriority});
  rig.Submit(1, 8, 8, /*samples=*/1, /*priority=*/0);
  rig.Submit(2, 7, 2, /*samples=*/1, /*priority=*/9);
  rig.Step();
  rig.Step();
  rig.Submit(3, 4, 1, /*samples=*/1, /*priority=*/1);
  EXPECT_THAT(rig.scheduler.Waiting(), ElementsAre(RequestId(2), RequestId(3)));
  while (rig.scheduler.SequenceOf(RequestId(1)).has_value()) rig.Step();
  const StepPlan plan = rig.Schedule();
  ASSERT_EQ(plan.scheduled.size(), 2u);
  EXPECT_EQ(plan.scheduled[0].request, RequestId(2));
  EXPECT_EQ(plan.scheduled[1].request, RequestId(3));
}

TEST(SchedulerSwapTest, RefusesToSwapWithoutASwapSpace) {
  auto cache = *KvCacheManager::Create({.pool = {.num_blocks = BlockCount(5)},
                                        .max_sequence_tokens = TokenCount(64)});
  const absl::Status status =
      Scheduler::Create({.preemption = PreemptionMode::kSwap}, cache).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("num_swap_blocks"));
}

}  // namespace
}  // namespace pagedkv
