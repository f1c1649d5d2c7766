// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/scheduler.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Kind = ScheduledSequence::Kind;

struct SetUp {
  std::int64_t usable_blocks = 100;  // beside the null block
  double watermark = 0.0;
  std::int64_t max_sequence_tokens = 64;
  std::vector<KvCacheGroupOptions> groups = {{.block_size = BlockSize(4)}};
  SchedulerOptions scheduler = {.max_num_batched_tokens = TokenCount(64)};
};

// A scheduler over its own cache, and the engine's part of each step.
class Rig {
 public:
  explicit Rig(const SetUp& set_up)
      : cache(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(set_up.usable_blocks + 1),
                      .watermark = set_up.watermark},
             .groups = set_up.groups,
             .max_sequence_tokens = TokenCount(set_up.max_sequence_tokens)})),
        scheduler(*Scheduler::Create(set_up.scheduler, cache)) {}

  void Submit(const Request& request) {
    const absl::Status status = scheduler.Submit(request);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Submit(int id, int prompt, int output) {
    Submit({.id = RequestId(static_cast<std::uint64_t>(id)),
            .num_prompt_tokens = TokenCount(prompt),
            .max_output_tokens = TokenCount(output)});
  }
  void SubmitWithPriority(int id, int prompt, int output, int priority,
                          int arrival) {
    Submit({.id = RequestId(static_cast<std::uint64_t>(id)),
            .num_prompt_tokens = TokenCount(prompt),
            .max_output_tokens = TokenCount(output),
            .priority = priority,
            .arrival = arrival});
  }
  void Abort(int id) {
    const absl::Status status =
        scheduler.Abort(RequestId(static_cast<std::uint64_t>(id)));
    ASSERT_TRUE(status.ok()) << status;
  }

  StepPlan Schedule() {
    absl::StatusOr<StepPlan> plan = scheduler.Schedule();
    EXPECT_TRUE(plan.ok()) << plan.status();
    const absl::Status sound = scheduler.CheckInvariants();
    EXPECT_TRUE(sound.ok()) << sound;
    return *plan;
  }
  std::vector<FinishedRequest> Update(std::vector<TokenId> sampled = {}) {
    const auto finished = scheduler.Update(sampled);
    EXPECT_TRUE(finished.ok()) << finished.status();
    const absl::Status sound = scheduler.CheckInvariants();
    EXPECT_TRUE(sound.ok()) << sound;
    return {finished->begin(), finished->end()};
  }
  // A whole step; returns what was scheduled as (request, tokens).
  std::vector<std::pair<int, int>> Step() {
    const StepPlan plan = Schedule();
    const std::vector<std::pair<int, int>> scheduled = Scheduled(plan);
    Update();
    return scheduled;
  }

  static std::vector<std::pair<int, int>> Scheduled(const StepPlan& plan) {
    std::vector<std::pair<int, int>> scheduled;
    for (const ScheduledSequence& entry : plan.scheduled) {
      scheduled.emplace_back(static_cast<int>(entry.request.value()),
                             entry.num_tokens);
    }
    return scheduled;
  }
  static std::vector<int> Ids(std::span<const RequestId> requests) {
    std::vector<int> ids;
    for (const RequestId id : requests) {
      ids.push_back(static_cast<int>(id.value()));
    }
    return ids;
  }
  [[nodiscard]] std::vector<int> Running() const {
    return Ids(scheduler.Running());
  }
  [[nodiscard]] std::vector<int> Waiting() const {
    return Ids(scheduler.Waiting());
  }

  KvCacheManager cache;
  Scheduler scheduler;
};

std::vector<int> Preempted(const StepPlan& plan) {
  std::vector<int> ids;
  for (const Preemption& preemption : plan.preempted) {
    ids.push_back(static_cast<int>(preemption.request.value()));
  }
  return ids;
}

TEST(SchedulerTest, RefusesOptionsOutOfRangeByName) {
  auto cache = *KvCacheManager::Create({.pool = {.num_blocks = BlockCount(8)},
                                        .max_sequence_tokens = TokenCount(64)});
  const auto refusal = [&](const SchedulerOptions& options) {
    const absl::Status status = Scheduler::Create(options, cache).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal({.max_num_batched_tokens = TokenCount(0)}),
              HasSubstr("max_num_batched_tokens"));
  EXPECT_THAT(refusal({.max_num_seqs = 0}), HasSubstr("max_num_seqs"));
  EXPECT_THAT(refusal({.long_prefill_token_threshold = TokenCount(-1)}),
              HasSubstr("long_prefill_token_threshold"));
  EXPECT_THAT(refusal({.max_num_batched_tokens = TokenCount(63),
                       .chunked_prefill = false}),
              AllOf(HasSubstr("max_num_batched_tokens"), HasSubstr("63"),
                    HasSubstr("64")));
}

TEST(SchedulerTest, RunningSequencesGoFirst) {
  Rig rig({});
  rig.Submit(1, 5, 4);
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 5)));
  rig.Submit(2, 7, 4);
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 1), Pair(2, 7)));
  EXPECT_EQ(plan.num_tokens, TokenCount(8));
  EXPECT_EQ(plan.scheduled[0].kind, Kind::kRunning);
  EXPECT_EQ(plan.scheduled[0].num_computed, 5);
  EXPECT_EQ(plan.scheduled[1].kind, Kind::kNew);
  EXPECT_EQ(plan.scheduled[1].num_computed, 0);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kNone);
}

TEST(SchedulerTest, APromptIsComputedInChunksAsTheBudgetAllows) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(8)}});
  rig.Submit(1, 20, 3);
  rig.Submit(2, 6, 3);
  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 8)));
  EXPECT_FALSE(plan.scheduled[0].samples);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kTokenBudget);
  rig.Update();
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 8)));
  plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 4), Pair(2, 4)));
  EXPECT_TRUE(plan.scheduled[0].samples);
  EXPECT_FALSE(plan.scheduled[1].samples);
  rig.Update();
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 1), Pair(2, 2)));
}

TEST(SchedulerTest, WithoutChunksAPromptWaitsForRoomAndNobodyOvertakesIt) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .chunked_prefill = false}});
  rig.Submit(1, 40, 3);
  rig.Submit(2, 30, 3);
  rig.Submit(3, 2, 3);
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 40)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kTokenBudget);
  rig.Update();
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 1), Pair(2, 30), Pair(3, 2)));
}

TEST(SchedulerTest, ALongPrefillTakesNoMoreThanItsThreshold) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(16),
                         .long_prefill_token_threshold = TokenCount(6)}});
  rig.Submit(1, 14, 3);
  rig.Submit(2, 8, 3);
  rig.Submit(3, 8, 3);
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 6), Pair(2, 6), Pair(3, 4)));
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 6), Pair(2, 2), Pair(3, 4)));
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 2), Pair(2, 1), Pair(3, 1)));
}

TEST(SchedulerTest, NoMoreSequencesRunThanAllowed) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .max_num_seqs = 2}});
  rig.Submit(1, 4, 1);
  rig.Submit(2, 4, 2);
  rig.Submit(3, 4, 2);
  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 4), Pair(2, 4)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kSequences);
  EXPECT_THAT(rig.Waiting(), ElementsAre(3));
  rig.Update();  // 1 finishes
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(2, 1), Pair(3, 4)));
}

TEST(SchedulerTest, TheHeadOfTheQueueIsNotOvertakenBySmallerRequests) {
  Rig rig({.usable_blocks = 4});
  rig.Submit(1, 8, 3);
  rig.Submit(2, 12, 1);
  rig.Submit(3, 1, 1);
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 8)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
  EXPECT_THAT(rig.Waiting(), ElementsAre(2, 3));
}

TEST(SchedulerTest, TheLastAdmittedIsPreemptedAndResumesBeforeAllOthers) {
  Rig rig({.usable_blocks = 4});
  rig.Submit(1, 8, 5);
  rig.Submit(2, 8, 5);
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 8), Pair(2, 8)));
  rig.Submit(3, 1, 1);

  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 1)));
  ASSERT_EQ(plan.preempted.size(), 1u);
  EXPECT_EQ(plan.preempted[0].request, RequestId(2));
  EXPECT_EQ(plan.preempted[0].on_behalf_of, RequestId(1));
  EXPECT_EQ(plan.preempted[0].blocks_needed, BlockCount(1));
  EXPECT_EQ(plan.preempted[0].blocks_free, BlockCount(0));
  EXPECT_EQ(plan.preempted[0].tokens_lost, TokenCount(8));
  // Request 3 would fit, but nothing is admitted in a step that preempted.
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kPreempted);
  EXPECT_THAT(rig.Waiting(), ElementsAre(2, 3));
  rig.Update();

  plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 1)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
  rig.Update();
  rig.Step();
  rig.Step();  // 1 finishes

  plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(2, 9), Pair(3, 1)));
  EXPECT_EQ(plan.scheduled[0].kind, Kind::kResumed);
  EXPECT_EQ(plan.scheduled[0].num_computed, 0);
  EXPECT_TRUE(plan.scheduled[0].samples);
  EXPECT_EQ(plan.scheduled[1].kind, Kind::kNew);
}

TEST(SchedulerTest, TheLastRunningPreemptsItself) {
  Rig rig({.usable_blocks = 5});
  rig.Submit(1, 8, 5);
  rig.Submit(2, 8, 5);
  rig.Step();
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 1)));
  EXPECT_THAT(Preempted(plan), ElementsAre(2));
  EXPECT_EQ(plan.preempted[0].on_behalf_of, RequestId(2));
}

TEST(SchedulerTest, SeveralPreemptedResumeInTheirOldOrder) {
  // Request 1 grows into a long prompt's blocks: two others must go.
  Rig rig({.usable_blocks = 6,
           .scheduler = {.max_num_batched_tokens = TokenCount(16),
                         .long_prefill_token_threshold = TokenCount(8),
                         .reserve_full_prompt = false}});
  rig.Submit(1, 20, 2);
  rig.Submit(2, 4, 8);
  rig.Submit(3, 4, 8);
  rig.Submit(4, 4, 8);
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 8), Pair(2, 4), Pair(3, 4)));
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Preempted(plan), ElementsAre(3));
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 8), Pair(2, 1)));
  rig.Update();
  const StepPlan next = rig.Schedule();
  EXPECT_THAT(Preempted(next), ElementsAre(2));
  EXPECT_THAT(rig.Waiting(), ElementsAre(2, 3, 4));
}

TEST(SchedulerTest, ByPriorityTheMostImportantIsAdmittedFirst) {
  Rig rig({.scheduler = {.policy = SchedulingPolicy::kPriority,
                         .max_num_batched_tokens = TokenCount(64)}});
  rig.SubmitWithPriority(1, 2, 2, /*priority=*/5, /*arrival=*/0);
  rig.SubmitWithPriority(2, 2, 2, /*priority=*/1, /*arrival=*/9);
  rig.SubmitWithPriority(4, 2, 2, /*priority=*/1, /*arrival=*/3);
  rig.SubmitWithPriority(3, 2, 2, /*priority=*/1, /*arrival=*/3);
  EXPECT_THAT(rig.Waiting(), ElementsAre(3, 4, 2, 1));
  rig.Step();
  EXPECT_THAT(rig.Running(), ElementsAre(3, 4, 2, 1));
}

TEST(SchedulerTest, ByPriorityTheLeastImportantGoesEvenIfItWasScheduled) {
  Rig rig({.usable_blocks = 7,
           .scheduler = {.policy = SchedulingPolicy::kPriority,
                         .max_num_batched_tokens = TokenCount(64)}});
  rig.SubmitWithPriority(1, 8, 6, /*priority=*/5, /*arrival=*/0);
  rig.Step();
  rig.SubmitWithPriority(2, 8, 6, /*priority=*/1, /*arrival=*/2);
  rig.SubmitWithPriority(3, 8, 6, /*priority=*/0, /*arrival=*/1);
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(1, 1), Pair(3, 8), Pair(2, 8)));
  // Request 1 needs no block, and has its token when request 3 needs one.
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(3, 1), Pair(2, 1)));
  EXPECT_EQ(plan.num_tokens, TokenCount(2));
  ASSERT_THAT(Preempted(plan), ElementsAre(1));
  EXPECT_EQ(plan.preempted[0].on_behalf_of, RequestId(3));
  EXPECT_EQ(plan.preempted[0].tokens_lost, TokenCount(9));
  EXPECT_THAT(rig.Waiting(), ElementsAre(1));
  rig.Update();
  EXPECT_THAT(rig.Running(), ElementsAre(3, 2));
}

TEST(SchedulerTest, AmongEquallyImportantTheFirstAdmittedIsPreempted) {
  Rig rig({.usable_blocks = 6,
           .scheduler = {.policy = SchedulingPolicy::kPriority,
                         .max_num_batched_tokens = TokenCount(64)}});
  rig.SubmitWithPriority(1, 8, 6, /*priority=*/0, /*arrival=*/0);
  rig.SubmitWithPriority(2, 8, 6, /*priority=*/3, /*arrival=*/7);
  rig.SubmitWithPriority(3, 8, 6, /*priority=*/3, /*arrival=*/7);
  rig.Step();
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Preempted(plan), ElementsAre(2));
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 1), Pair(3, 1)));
}

TEST(SchedulerTest, TheWatermarkHoldsWhileSomethingRuns) {
  Rig rig({.usable_blocks = 8, .watermark = 0.25});  // 2 of 9 blocks
  rig.Submit(1, 12, 1);
  rig.Submit(2, 30, 1);
  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 12)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
  rig.Update();  // 1 finishes
  // Nothing runs: the watermark would keep request 2 out for ever.
  EXPECT_THAT(rig.Step(), ElementsAre(Pair(2, 30)));

  rig.Submit(3, 12, 2);
  rig.Submit(4, 16, 1);
  plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(3, 12)));
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kWatermark);
  rig.Update();
  EXPECT_THAT(rig.Waiting(), ElementsAre(4));
}

TEST(SchedulerTest, TheWholePromptIsReservedForUnlessSwitchedOff) {
  for (const bool reserve : {true, false}) {
    Rig rig({.usable_blocks = 4,
             .scheduler = {.max_num_batched_tokens = TokenCount(8),
                           .reserve_full_prompt = reserve}});
    rig.Submit(1, 4, 3);
    rig.Submit(2, 16, 1);
    const StepPlan plan = rig.Schedule();
    if (reserve) {
      EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 4)));
      EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
    } else {
      EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 4), Pair(2, 4)));
    }
  }
}

TEST(SchedulerTest, ARequestThatFillsThePoolExactlyFinishesAlone) {
  Rig rig({.usable_blocks = 4});
  rig.Submit(1, 10, 7);  // the 17th token is sampled, never computed
  std::vector<FinishedRequest> finished;
  for (int step = 0; step < 7; ++step) {
    EXPECT_THAT(finished, IsEmpty());
    EXPECT_THAT(rig.Schedule().preempted, IsEmpty());
    finished = rig.Update();
  }
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(7));
  EXPECT_EQ(finished[0].reason, FinishReason::kLength);
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(0));
}

TEST(SchedulerTest, RefusesARequestThatCouldNeverFinishWithTheNumbers) {
  Rig rig({.usable_blocks = 4});
  const absl::Status status =
      rig.scheduler.Submit({.id = RequestId(9),
                            .num_prompt_tokens = TokenCount(10),
                            .max_output_tokens = TokenCount(8)});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("9"), HasSubstr("10"), HasSubstr("8"),
                    HasSubstr("5 blocks"), HasSubstr("has 4")));
  EXPECT_EQ(rig.scheduler.num_waiting(), 0);
}

TEST(SchedulerTest, RefusesLengthsOutOfRangeAndIdsThatAreLive) {
  Rig rig({});
  const auto submit = [&](int prompt, int output, int least) {
    return rig.scheduler
        .Submit({.id = RequestId(1),
                 .num_prompt_tokens = TokenCount(prompt),
                 .max_output_tokens = TokenCount(output),
                 .min_output_tokens = TokenCount(least)})
        .code();
  };
  EXPECT_EQ(submit(0, 1, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(-1, 1, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(64, 1, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(1, 0, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(1, 3, 4), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(1, 3, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(submit(63, 1, 1), absl::StatusCode::kOk);
  EXPECT_EQ(submit(1, 1, 0), absl::StatusCode::kAlreadyExists);
  rig.Step();
  EXPECT_EQ(submit(1, 1, 0), absl::StatusCode::kOk);
  EXPECT_THAT(rig.Waiting(), ElementsAre(1));
}

TEST(SchedulerTest, AWaitingRequestCanBeAborted) {
  Rig rig({});
  rig.Submit(1, 4, 2);
  rig.Submit(2, 4, 2);
  rig.Submit(3, 4, 2);
  rig.Abort(2);
  EXPECT_THAT(rig.Waiting(), ElementsAre(1, 3));
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(1, 4), Pair(3, 4)));
  EXPECT_THAT(Rig::Ids(plan.ended), ElementsAre(2));
  EXPECT_EQ(rig.scheduler.Abort(RequestId(2)).code(),
            absl::StatusCode::kNotFound);
}

TEST(SchedulerTest, ARunningRequestCanBeAbortedAndItsBlocksAreFreeAtOnce) {
  Rig rig({});
  rig.Submit(1, 8, 2);
  rig.Submit(2, 4, 2);
  rig.Step();
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(3));
  rig.Abort(1);
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(1));
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(2, 1)));
  EXPECT_THAT(Rig::Ids(plan.ended), ElementsAre(1));
}

TEST(SchedulerTest, ARequestCanBeAbortedWhileItsStepIsInFlight) {
  Rig rig({});
  rig.Submit({.id = RequestId(1),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(9),
              .stop_tokens = {42}});
  rig.Submit({.id = RequestId(2),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(9),
              .stop_tokens = {42}});
  rig.Schedule();
  rig.Abort(1);
  // The same id may come again at once; it is another request.
  rig.Submit(1, 6, 3);
  // The aborted one's token still has its place, and stops nothing.
  EXPECT_THAT(rig.Update({42, 7}), IsEmpty());
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Ids(plan.ended), ElementsAre(1));
  EXPECT_THAT(Rig::Scheduled(plan), ElementsAre(Pair(2, 1), Pair(1, 6)));
  EXPECT_EQ(plan.scheduled[1].kind, Kind::kNew);
}

TEST(SchedulerTest, APreemptedRequestCanBeAborted) {
  Rig rig({.usable_blocks = 4});
  rig.Submit(1, 8, 5);
  rig.Submit(2, 8, 5);
  rig.Step();
  ASSERT_THAT(Preempted(rig.Schedule()), ElementsAre(2));
  rig.Abort(2);
  rig.Update();
  EXPECT_THAT(Rig::Ids(rig.Schedule().ended), ElementsAre(2));
  EXPECT_EQ(rig.scheduler.num_waiting(), 0);
}

TEST(SchedulerTest, AStopTokenEndsARequestFromItsLeastLengthOn) {
  Rig rig({});
  rig.Submit({.id = RequestId(1),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(9),
              .min_output_tokens = TokenCount(3),
              .stop_tokens = {42, 43}});
  for (const TokenId token : {42, 43}) {
    rig.Schedule();
    EXPECT_THAT(rig.Update({token}), IsEmpty());
  }
  rig.Schedule();
  const std::vector<FinishedRequest> finished = rig.Update({43});
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].id, RequestId(1));
  EXPECT_EQ(finished[0].reason, FinishReason::kStop);
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(3));
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(0));
  EXPECT_THAT(Rig::Ids(rig.Schedule().ended), ElementsAre(1));
}

TEST(SchedulerTest, OtherTokensGoOnUpToTheGreatestLength) {
  Rig rig({});
  rig.Submit({.id = RequestId(1),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(2),
              .stop_tokens = {42}});
  rig.Schedule();
  EXPECT_THAT(rig.Update({1}), IsEmpty());
  rig.Schedule();
  const std::vector<FinishedRequest> finished = rig.Update({2});
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].reason, FinishReason::kLength);
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(2));
}

TEST(SchedulerTest, NoRequestGrowsBeyondTheLongestSequence) {
  Rig rig({.max_sequence_tokens = 8});
  rig.Submit(1, 6, 100);
  rig.Step();
  rig.Schedule();
  const std::vector<FinishedRequest> finished = rig.Update();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].reason, FinishReason::kLength);
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(2));
}

TEST(SchedulerTest, PlansAndReportsAlternate) {
  Rig rig({});
  EXPECT_EQ(rig.scheduler.Update().status().code(),
            absl::StatusCode::kFailedPrecondition);
  rig.Submit(1, 4, 2);
  rig.Schedule();
  EXPECT_EQ(rig.scheduler.Schedule().status().code(),
            absl::StatusCode::kFailedPrecondition);
  rig.Update();
  EXPECT_EQ(rig.scheduler.Update().status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(SchedulerTest, AReportWithTheWrongNumberOfTokensChangesNothing) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(6)}});
  rig.Submit({.id = RequestId(1),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(2),
              .stop_tokens = {42}});
  rig.Submit(2, 4, 2);  // its first chunk samples nothing
  rig.Schedule();
  for (const std::vector<TokenId>& sampled :
       {std::vector<TokenId>{}, std::vector<TokenId>{1, 2}}) {
    EXPECT_EQ(rig.scheduler.Update(sampled).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(rig.Update({42}), testing::SizeIs(1));
}

TEST(SchedulerTest, SlotMappingAndTableDeltasCoverEveryGroup) {
  Rig rig(
      {.groups = {{.block_size = BlockSize(4)}, {.block_size = BlockSize(2)}}});
  rig.Submit(1, 5, 2);
  StepPlan plan = rig.Schedule();  // blocks 1 2 | 3 4 5
  ASSERT_EQ(plan.slot_mapping.size(), 2u);
  EXPECT_THAT(plan.slot_mapping[0], ElementsAre(4, 5, 6, 7, 8));
  EXPECT_THAT(plan.slot_mapping[1], ElementsAre(6, 7, 8, 9, 10));
  ASSERT_EQ(plan.table_deltas.size(), 2u);
  EXPECT_THAT(plan.table_deltas[0], ElementsAre(DirtyRange{0, 0, 2}));
  EXPECT_THAT(plan.table_deltas[1], ElementsAre(DirtyRange{0, 0, 3}));
  rig.Update();
  plan = rig.Schedule();
  EXPECT_THAT(plan.slot_mapping[0], ElementsAre(9));
  EXPECT_THAT(plan.slot_mapping[1], ElementsAre(11));
  EXPECT_THAT(plan.table_deltas[0], IsEmpty());
}

// Whoever has uploaded a plan's deltas must be told of what changed since: a
// row that an abort emptied, the copies of a sequence forked by the client.
TEST(SchedulerTest, WhatChangesWhileAPlanIsInFlightComesWithTheNext) {
  Rig rig({});
  const SequenceId own = *rig.cache.AddSequence();
  ASSERT_TRUE(*rig.cache.TryAppend(own, TokenCount(3)));
  rig.Submit(1, 8, 2);
  StepPlan plan = rig.Schedule();
  ASSERT_EQ(plan.scheduled.size(), 1u);
  const std::int32_t row = KvCacheManager::row(plan.scheduled[0].sequence);
  const SequenceId fork = *rig.cache.Fork(own);
  ASSERT_TRUE(*rig.cache.TryAppend(fork, TokenCount(1)));
  rig.Abort(1);
  rig.Update();
  plan = rig.Schedule();
  EXPECT_THAT(
      plan.table_deltas[0],
      testing::UnorderedElementsAre(
          DirtyRange{row, 0, 2}, DirtyRange{KvCacheManager::row(fork), 0, 1}));
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].source, rig.cache.block_table(own)[0]);
  EXPECT_EQ(plan.copies[0].destination, rig.cache.block_table(fork)[0]);
  rig.Update();
  plan = rig.Schedule();
  EXPECT_THAT(plan.table_deltas[0], IsEmpty());
  EXPECT_THAT(plan.copies, IsEmpty());
}

}  // namespace
}  // namespace pagedkv
