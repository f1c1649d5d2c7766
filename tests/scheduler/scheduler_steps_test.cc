// SPDX-License-Identifier: Apache-2.0
//
// Plans of several steps. Single stories first. Then random workloads that two
// schedulers run side by side, one step by step, the other several steps at a
// time where it can: what they plan, block, preempt and finish must be equal,
// and a plan is no shorter than it must be.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "tests/support/count_allocations.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Kind = ScheduledSequence::Kind;

struct SetUp {
  std::int64_t num_blocks = 101;
  std::vector<KvCacheGroupOptions> groups = {Full(4)};
  bool prefix_caching = false;
  double watermark = 0;
  int num_swap_blocks = 0;
  SchedulerOptions scheduler = {.max_num_batched_tokens = TokenCount(64)};
};

struct Rig {
  explicit Rig(const SetUp& set_up)
      : cache(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(set_up.num_blocks),
                      .prefix_caching = set_up.prefix_caching,
                      .watermark = set_up.watermark},
             .groups = set_up.groups,
             .max_sequence_tokens = TokenCount(64),
             .max_in_flight_tokens = set_up.scheduler.max_num_batched_tokens,
             .num_swap_blocks = BlockCount(set_up.num_swap_blocks)})),
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
  StepPlan Schedule(std::int32_t max_steps = 1) {
    const absl::StatusOr<StepPlan> plan = scheduler.Schedule(max_steps);
    EXPECT_TRUE(plan.ok()) << plan.status();
    CheckInvariants();
    return *plan;
  }
  std::vector<FinishedRequest> Update(
      const std::vector<TokenId>& sampled = {}) {
    const auto finished = scheduler.Update(sampled);
    EXPECT_TRUE(finished.ok()) << finished.status();
    CheckInvariants();
    return {finished->begin(), finished->end()};
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

TEST(SchedulerStepsTest, SequencesThatDecodeGoOnUntilTheFirstIsLongest) {
  Rig rig({});
  rig.Submit(1, 6, 10);
  rig.Submit(2, 3, 6);
  EXPECT_EQ(rig.Schedule(8).num_steps, 1);  // prompts
  rig.Update();
  const StepPlan plan = rig.Schedule(8);
  EXPECT_EQ(plan.num_steps, 5);
  EXPECT_EQ(plan.num_tokens, TokenCount(2));
  ASSERT_EQ(plan.scheduled.size(), 2u);
  EXPECT_EQ(plan.scheduled[0].num_computed, 6);
  EXPECT_EQ(plan.scheduled[0].num_tokens, 1);
  EXPECT_EQ(plan.scheduled[1].num_computed, 3);
  // Step by step: blocks 1, 2 and 4 of the first, 3 and 5 of the second.
  EXPECT_THAT(plan.slot_mapping[0], ElementsAre(2 * 4 + 2, 3 * 4 + 3,  //
                                                2 * 4 + 3, 5 * 4 + 0,  //
                                                4 * 4 + 0, 5 * 4 + 1,  //
                                                4 * 4 + 1, 5 * 4 + 2,  //
                                                4 * 4 + 2, 5 * 4 + 3));
  const std::vector<FinishedRequest> finished = rig.Update();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].id, RequestId(2));
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(6));
  EXPECT_EQ(rig.Schedule(8).num_steps, 4);
}

TEST(SchedulerStepsTest, MoreStepsThanThePoolHasBlocksForAreNotPlanned) {
  Rig rig({.num_blocks = 6});
  rig.Submit(1, 4, 16);
  rig.Submit(2, 6, 10);
  rig.Step();
  // 3 blocks are used. The next steps take one at once, and the fifth, that
  // of the second request's ninth token and the first's ninth, two.
  StepPlan plan = rig.Schedule(20);
  EXPECT_EQ(plan.num_steps, 4);
  EXPECT_EQ(rig.cache.pool().num_free(), BlockCount(0));
  rig.Update();
  plan = rig.Schedule(20);
  EXPECT_EQ(plan.num_steps, 1);
  EXPECT_EQ(plan.preempted.size(), 1u);
}

TEST(SchedulerStepsTest, AWaitingRequestIsNotKeptFromBeingAdmitted) {
  Rig rig({.num_blocks = 11,
           .watermark = 0.3,
           .scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .max_num_seqs = 2}});
  rig.Submit(1, 4, 30);
  rig.Step();
  // 8 of 10 blocks are free after the next step: the watermark's 3 keep it out
  // while it needs 6 of them, the lack of blocks as soon as 5 are free.
  rig.Submit(2, 24, 4);
  StepPlan plan = rig.Schedule(30);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kWatermark);
  EXPECT_EQ(plan.num_steps, 12);
  rig.Update();
  EXPECT_EQ(rig.cache.pool().num_free(), BlockCount(6));
  plan = rig.Schedule(30);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
  EXPECT_EQ(plan.num_steps, 17);
  EXPECT_EQ(rig.Update().size(), 1u);

  rig.Submit(3, 4, 9);
  rig.Submit(4, 4, 9);
  rig.Step();
  plan = rig.Schedule(30);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kSequences);
  EXPECT_EQ(plan.num_steps, 3);  // until 2 finishes
}

TEST(SchedulerStepsTest, AStopTokenEndsASequenceWithinThePlan) {
  Rig rig({.prefix_caching = true});
  for (const int id : {1, 2}) {
    Request request{.id = RequestId(static_cast<std::uint64_t>(id)),
                    .num_prompt_tokens = TokenCount(3),
                    .prompt_tokens = {id, id, id},
                    .max_output_tokens = TokenCount(20)};
    request.stop_tokens = {7};
    rig.Submit(request);
  }
  rig.Schedule();
  rig.Update({1, 1});
  EXPECT_EQ(rig.Schedule(8).num_steps, 8);
  EXPECT_EQ(rig.scheduler.Update(std::vector<TokenId>{1, 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::vector<FinishedRequest> finished =
      rig.Update({2, 3, 4, 5, 7, 6, 6, 6,  //
                  1, 2, 3, 4, 5, 6, 8, 9});
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].id, RequestId(1));
  EXPECT_EQ(finished[0].reason, FinishReason::kStop);
  EXPECT_EQ(finished[0].num_output_tokens, TokenCount(6));
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(3));

  // What the steps filled is shared from then on, up to the stop token and no
  // further: it was not computed.
  PrefixMatch match;
  rig.cache.Match(std::vector<TokenId>{1, 1, 1, 1, 2, 3, 4, 5, 7, 6, 6, 6, 6},
                  ContentKeys{}, match);
  EXPECT_EQ(match.num_tokens, TokenCount(8));
  rig.cache.Match(std::vector<TokenId>{2, 2, 2, 1, 1, 2, 3, 4, 5, 6, 8, 9, 9},
                  ContentKeys{}, match);
  EXPECT_EQ(match.num_tokens, TokenCount(8));
  EXPECT_EQ(rig.Schedule().scheduled[0].num_computed, 11);
}

TEST(SchedulerStepsTest, ARequestThatMayFindBlocksHasEveryStepItsChance) {
  Rig rig({.num_blocks = 6, .prefix_caching = true});
  rig.Submit(1, 4, 12);
  rig.Step();
  Request waiting{.id = RequestId(2),
                  .num_prompt_tokens = TokenCount(17),
                  .prompt_tokens = std::vector<TokenId>(17, 1),
                  .max_output_tokens = TokenCount(2)};
  rig.Submit(waiting);
  const StepPlan plan = rig.Schedule(8);
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kBlocks);
  EXPECT_EQ(plan.num_steps, 1);
  rig.Update({1});
  ASSERT_TRUE(rig.scheduler.Abort(RequestId(2)).ok());
  EXPECT_EQ(rig.Schedule(8).num_steps, 8);
}

TEST(SchedulerStepsTest, AWindowThatMovesOnGivesItsBlockBackInTime) {
  // Tokens 1 to 4 leave a window of 5 when the 9th is computed.
  Rig rig({.groups = {Sliding(4, 5)}});
  rig.Submit(1, 4, 30);
  rig.Step();
  EXPECT_EQ(rig.Schedule(30).num_steps, 4);
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(2));
  rig.Update();
  EXPECT_EQ(rig.Schedule(30).num_steps, 4);
  EXPECT_EQ(rig.cache.pool().num_used(), BlockCount(2));
}

TEST(SchedulerStepsTest, ABeamSearchIsAskedAfterEveryStep) {
  Rig rig({});
  rig.Submit({.id = RequestId(1),
              .num_prompt_tokens = TokenCount(4),
              .max_output_tokens = TokenCount(9),
              .beam_width = 2});
  const std::vector<BeamSurvivor> two = {{0, 1}, {0, 2}};
  rig.Schedule(4);
  ASSERT_TRUE(
      rig.scheduler.Update({}, std::vector<BeamUpdate>{{RequestId(1), two}})
          .ok());
  EXPECT_EQ(rig.Schedule(4).num_steps, 1);
}

TEST(SchedulerStepsTest, RefusesNoStepsAtAll) {
  Rig rig({});
  const absl::Status status = rig.scheduler.Schedule(0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("max_steps is 0"));
  EXPECT_EQ(rig.Schedule(5).num_steps, 1);  // nothing to do
}

TEST(SchedulerStepsTest, TheSlotMappingCanBeLeftOut) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .fill_slot_mapping = false}});
  rig.Submit(1, 6, 10);
  EXPECT_THAT(rig.Schedule().slot_mapping[0], IsEmpty());
  rig.Update();
  const StepPlan plan = rig.Schedule(4);
  EXPECT_EQ(plan.num_steps, 4);
  EXPECT_THAT(plan.slot_mapping[0], IsEmpty());
}

TEST(SchedulerStepsTest, OnceWarmPlansAllocateNoMemory) {
  Rig rig({});
  std::size_t calls = 0;
  for (int round = 0; round < 3; ++round) {
    for (int id = 0; id < 12; ++id) rig.Submit(id, 5 + id, 20);
    const std::size_t before = CountedAllocations().calls;
    while (rig.scheduler.num_running() + rig.scheduler.num_waiting() > 0) {
      for (const int max_steps : {1, 6}) {
        ASSERT_TRUE(rig.scheduler.Schedule(max_steps).ok());
        ASSERT_TRUE(rig.scheduler.Update().ok());
      }
    }
    calls = CountedAllocations().calls - before;
  }
  EXPECT_EQ(calls, 0u);
}

// Random workloads.

struct Workload {
  std::string name;
  SetUp set_up;
  int max_prompt = 12;
  int max_output = 24;
  bool knows_tokens = false;
  // A plan ends early only where the next step would be another one.
  bool is_exact = true;
  // What keeps requests out during plans of several steps.
  std::vector<AdmissionBlock> blocks = {AdmissionBlock::kNone};
  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

class SchedulerStepsPropertyTest : public testing::TestWithParam<Workload> {
 protected:
  static constexpr std::uint64_t kSeed = 4711;

  SchedulerStepsPropertyTest()
      : workload_(GetParam()), one_(workload_.set_up), many_(workload_.set_up) {
    std::printf("seed %d\n", static_cast<int>(kSeed));
  }
  int Below(int n) {
    return static_cast<int>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(int n) { return Below(n) == 0; }

  void Submit() {
    Request request{
        .id = RequestId(next_id_++),
        .num_prompt_tokens = TokenCount(1 + Below(workload_.max_prompt)),
        .max_output_tokens = TokenCount(1 + Below(workload_.max_output))};
    if (workload_.knows_tokens && !OneIn(4)) {
      const TokenId first = Below(3);
      for (TokenId i = 0; i < request.num_prompt_tokens.value(); ++i) {
        request.prompt_tokens.push_back(first + i / 7);
      }
    }
    if (OneIn(3)) request.stop_tokens = {77};  // which is never sampled
    if (OneIn(4)) request.num_samples = 1 + Below(3);
    request.priority = Below(3);
    const absl::Status status = one_.scheduler.Submit(request);
    ASSERT_EQ(many_.scheduler.Submit(request).code(), status.code());
    if (status.ok()) live_.push_back(request.id);
  }
  void Abort() {
    const auto victim = live_.begin() + Below(static_cast<int>(live_.size()));
    ASSERT_TRUE(one_.scheduler.Abort(*victim).ok());
    ASSERT_TRUE(many_.scheduler.Abort(*victim).ok());
    live_.erase(victim);
  }

  static auto Key(const ScheduledSequence& entry) {
    return std::tuple(entry.request, entry.sequence_index, entry.num_tokens,
                      entry.kind, entry.samples, entry.num_samples);
  }
  // Every running sequence decodes, nothing else happens.
  [[nodiscard]] bool IsPlain(const StepPlan& plan) const {
    return plan.preempted.empty() && !plan.scheduled.empty() &&
           std::ssize(plan.scheduled) ==
               many_.scheduler.num_running_sequences() &&
           std::all_of(plan.scheduled.begin(), plan.scheduled.end(),
                       [](const ScheduledSequence& entry) {
                         return entry.kind == Kind::kRunning &&
                                entry.num_tokens == 1 && entry.num_samples == 1;
                       });
  }
  std::int64_t Covering(std::int32_t tokens) const {
    std::int64_t blocks = 0;
    for (const KvCacheGroupOptions& group : workload_.set_up.groups) {
      blocks += group.block_size.CoveringBlocks(TokenCount(tokens)).value();
    }
    return blocks;
  }

  // The step `step` of the plan, by itself.
  void CompareStep(const StepPlan& plan, std::int32_t step,
                   std::vector<std::vector<TokenId>>& samples,
                   std::vector<FinishedRequest>& finished) {
    const StepPlan single = one_.Schedule();
    ASSERT_EQ(single.admission_block, plan.admission_block);
    ASSERT_EQ(single.num_tokens, plan.num_tokens);
    ASSERT_EQ(single.scheduled.size(), plan.scheduled.size());
    for (std::size_t i = 0; i < plan.scheduled.size(); ++i) {
      ASSERT_EQ(Key(single.scheduled[i]), Key(plan.scheduled[i]));
      ASSERT_EQ(single.scheduled[i].num_computed,
                plan.scheduled[i].num_computed + step);
    }
    const std::size_t first = step == 0 ? 1 : 0;
    ASSERT_EQ(single.preempted.size(), first * plan.preempted.size());
    for (std::size_t i = 0; i < single.preempted.size(); ++i) {
      ASSERT_EQ(single.preempted[i].request, plan.preempted[i].request);
      ASSERT_EQ(single.preempted[i].tokens_lost, plan.preempted[i].tokens_lost);
      ASSERT_EQ(single.preempted[i].mode, plan.preempted[i].mode);
      num_swapped_ += plan.preempted[i].mode == PreemptionMode::kSwap ? 1 : 0;
      ASSERT_EQ(single.preempted[i].blocks_free, plan.preempted[i].blocks_free);
    }
    ASSERT_EQ(single.copies.size(), first * plan.copies.size());
    ASSERT_EQ(single.swap_out.size(), first * plan.swap_out.size());
    ASSERT_EQ(single.swap_in.size(), first * plan.swap_in.size());
    ASSERT_EQ(single.ended.size(), first * plan.ended.size());
    // What is free after it follows from the lengths.
    if (workload_.is_exact) {
      std::int64_t to_come = 0;
      for (const ScheduledSequence& entry : plan.scheduled) {
        if (plan.num_steps == 1) break;
        to_come += Covering(entry.num_computed + plan.num_steps) -
                   Covering(entry.num_computed + step + 1);
      }
      ASSERT_EQ(one_.cache.pool().num_free(),
                many_.cache.pool().num_free() + BlockCount(to_come));
    }
    std::vector<TokenId> sampled;
    for (std::size_t i = 0; i < single.scheduled.size(); ++i) {
      for (std::int32_t n = single.scheduled[i].num_samples; n > 0; --n) {
        sampled.push_back(Below(2));
        samples[i].push_back(sampled.back());
      }
    }
    finished = one_.Update(sampled);
    ASSERT_TRUE(finished.empty() || step + 1 == plan.num_steps);
  }

  void RunPlan(std::int32_t max_steps) {
    const StepPlan plan = many_.Schedule(max_steps);
    ASSERT_GE(plan.num_steps, 1);
    ASSERT_LE(plan.num_steps, max_steps);
    const bool is_plain = IsPlain(plan);
    ASSERT_TRUE(plan.num_steps == 1 || is_plain);
    if (must_differ_) {
      ASSERT_TRUE(!is_plain || plan.admission_block != last_block_)
          << "the last plan could have gone on";
    }
    last_block_ = plan.admission_block;
    if (plan.num_steps > 1) ++num_plans_[last_block_];
    std::vector<std::vector<TokenId>> samples(plan.scheduled.size());
    std::vector<FinishedRequest> expected;
    for (std::int32_t step = 0; step < plan.num_steps; ++step) {
      CompareStep(plan, step, samples, expected);
      if (HasFatalFailure()) return;
    }
    std::vector<TokenId> sampled;
    for (const std::vector<TokenId>& each : samples) {
      sampled.insert(sampled.end(), each.begin(), each.end());
    }
    const bool has_ended = CompareFinished(sampled, expected);
    // Who waits for blocks may find some in the prefix cache at any time.
    const bool has_chances = workload_.knows_tokens &&
                             last_block_ != AdmissionBlock::kNone &&
                             last_block_ != AdmissionBlock::kSequences;
    must_differ_ = workload_.is_exact && is_plain && !has_ended &&
                   !has_chances && plan.num_steps < max_steps;
  }

  bool CompareFinished(const std::vector<TokenId>& sampled,
                       const std::vector<FinishedRequest>& expected) {
    const std::vector<FinishedRequest> finished = many_.Update(sampled);
    EXPECT_EQ(finished.size(), expected.size());
    for (std::size_t i = 0; i < std::min(finished.size(), expected.size());
         ++i) {
      EXPECT_EQ(finished[i].id, expected[i].id);
      EXPECT_EQ(finished[i].sequence_index, expected[i].sequence_index);
      EXPECT_EQ(finished[i].num_output_tokens, expected[i].num_output_tokens);
      if (finished[i].ends_request) std::erase(live_, finished[i].id);
    }
    EXPECT_EQ(many_.cache.pool().num_free(), one_.cache.pool().num_free());
    EXPECT_EQ(many_.cache.num_cached_keys(), one_.cache.num_cached_keys());
    EXPECT_EQ(many_.scheduler.Running(), one_.scheduler.Running());
    EXPECT_EQ(many_.scheduler.Waiting(), one_.scheduler.Waiting());
    return !finished.empty();
  }

  Workload workload_;
  Rig one_;
  Rig many_;
  std::mt19937_64 random_{kSeed};
  std::uint64_t next_id_ = 1;
  std::vector<RequestId> live_;
  AdmissionBlock last_block_ = AdmissionBlock::kNone;
  bool must_differ_ = false;
  std::int64_t num_swapped_ = 0;
  std::map<AdmissionBlock, int> num_plans_;  // of several steps
};

TEST_P(SchedulerStepsPropertyTest, EqualsStepByStep) {
  int most_live = 4;
  for (int i = 0; i < 4000 || !live_.empty(); ++i) {
    SCOPED_TRACE(testing::Message() << "plan " << i);
    ASSERT_LT(i, 20'000) << "some request never finishes";
    if (i % 100 == 0) most_live = 1 + Below(12);
    // Who comes and goes changes what is next.
    while (i < 4000 && !must_differ_ && std::ssize(live_) < most_live &&
           OneIn(3) && !HasFatalFailure()) {
      Submit();
    }
    if (!must_differ_ && !live_.empty() && OneIn(40)) Abort();
    if (!HasFatalFailure()) RunPlan(OneIn(3) ? 1 : 1 + Below(20));
    if (HasFailure()) return;
  }
  for (const AdmissionBlock block : workload_.blocks) {
    EXPECT_GT(num_plans_[block], 0) << static_cast<int>(block);
  }
  EXPECT_EQ(num_swapped_ > 0, workload_.set_up.num_swap_blocks > 0);
}

std::vector<Workload> Workloads() {
  constexpr auto kNone = AdmissionBlock::kNone;
  constexpr auto kBlocks = AdmissionBlock::kBlocks;
  constexpr auto kWatermark = AdmissionBlock::kWatermark;
  constexpr auto kSequences = AdmissionBlock::kSequences;
  constexpr auto kTokenBudget = AdmissionBlock::kTokenBudget;
  const SchedulerOptions roomy = {.max_num_batched_tokens = TokenCount(64),
                                  .max_num_seqs = 16};
  return {
      {.name = "Roomy", .set_up = {.num_blocks = 300, .scheduler = roomy}},
      {.name = "TinyPool",
       .set_up = {.num_blocks = 15, .scheduler = roomy},
       .blocks = {kNone, kBlocks}},
      {.name = "Watermark",
       .set_up = {.num_blocks = 26, .watermark = 0.3, .scheduler = roomy},
       .max_prompt = 30,
       .blocks = {kNone, kBlocks, kWatermark}},
      {.name = "FewSequences",
       .set_up = {.num_blocks = 60,
                  .scheduler = {.max_num_batched_tokens = TokenCount(64),
                                .max_num_seqs = 4}},
       .blocks = {kNone, kSequences}},
      {.name = "SmallBudget",
       .set_up = {.num_blocks = 60,
                  .scheduler = {.max_num_batched_tokens = TokenCount(4),
                                .max_num_seqs = 8}},
       .blocks = {kNone, kTokenBudget}},
      {.name = "NoChunksThreshold",
       .set_up = {.num_blocks = 40,
                  .scheduler = {.max_num_batched_tokens = TokenCount(64),
                                .max_num_seqs = 8,
                                .chunked_prefill = false,
                                .long_prefill_token_threshold =
                                    TokenCount(60)}},
       .max_prompt = 60,
       .blocks = {kNone, kBlocks}},
      {.name = "PriorityTwoGroups",
       .set_up = {.num_blocks = 40,
                  .groups = {Full(4), Full(3)},
                  .watermark = 0.1,
                  .scheduler = {.policy = SchedulingPolicy::kPriority,
                                .max_num_batched_tokens = TokenCount(32),
                                .max_num_seqs = 8,
                                .reserve_full_prompt = false}},
       .blocks = {kNone, kBlocks}},
      {.name = "Cached",
       .set_up = {.num_blocks = 40,
                  .groups = {Full(2)},
                  .prefix_caching = true,
                  .scheduler = roomy},
       .knows_tokens = true},
      {.name = "CachedFewSequences",
       .set_up = {.num_blocks = 200,
                  .prefix_caching = true,
                  .scheduler = {.max_num_batched_tokens = TokenCount(64),
                                .max_num_seqs = 4}},
       .knows_tokens = true,
       .blocks = {kNone, kSequences}},
      {.name = "Sliding",
       .set_up = {.num_blocks = 24,
                  .groups = {Sliding(2, 6), Full(8)},
                  .scheduler = roomy},
       .is_exact = false},
      {.name = "Chunked",
       .set_up = {.num_blocks = 24,
                  .groups = {Chunked(4, 8)},
                  .scheduler = roomy},
       .is_exact = false},
      {.name = "State",
       .set_up = {.num_blocks = 30,
                  .groups = {State(4), Full(4)},
                  .scheduler = roomy},
       .is_exact = false},
  };
}

std::vector<Workload> SwapWorkloads() {
  std::vector<Workload> workloads = Workloads();
  std::erase_if(workloads, [](const Workload& workload) {
    return workload.set_up.num_blocks > 40;  // roomy
  });
  for (Workload& workload : workloads) {
    workload.set_up.num_swap_blocks = 25;
    workload.set_up.scheduler.preemption = PreemptionMode::kSwap;
  }
  return workloads;
}

std::string NameOf(const testing::TestParamInfo<Workload>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Random, SchedulerStepsPropertyTest,
                         testing::ValuesIn(Workloads()), NameOf);
INSTANTIATE_TEST_SUITE_P(Swap, SchedulerStepsPropertyTest,
                         testing::ValuesIn(SwapWorkloads()), NameOf);

}  // namespace
}  // namespace pagedkv
