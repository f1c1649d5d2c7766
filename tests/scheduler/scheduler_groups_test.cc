// SPDX-License-Identifier: Apache-2.0
//
// Requests with several sequences, told as stories: the walk-throughs of the
// PagedAttention paper (SOSP'23, figures 8 and 9), and what happens to a group
// when it is admitted, preempted, refused or aborted.

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"

namespace pagedkv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Kind = ScheduledSequence::Kind;

struct SetUp {
  std::int64_t usable_blocks = 100;  // beside the null block
  bool prefix_caching = false;
  std::int32_t max_sequences = 64;
  SchedulerOptions scheduler = {.max_num_batched_tokens = TokenCount(64)};
};

// (request, index, computed before, tokens)
using Entry = std::tuple<int, int, int, int>;
// (request, index, output tokens, whether it ends the request)
using Finish = std::tuple<int, int, int, bool>;

class Rig {
 public:
  explicit Rig(const SetUp& set_up)
      : cache(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(set_up.usable_blocks + 1),
                      .prefix_caching = set_up.prefix_caching},
             .groups = {{.block_size = BlockSize(4)}},
             .max_sequence_tokens = TokenCount(64),
             .max_sequences = set_up.max_sequences})),
        scheduler(*Scheduler::Create(set_up.scheduler, cache)) {}

  static Request Samples(int id, int prompt, int output, int num_samples) {
    return {.id = RequestId(static_cast<std::uint64_t>(id)),
            .num_prompt_tokens = TokenCount(prompt),
            .max_output_tokens = TokenCount(output),
            .num_samples = num_samples};
  }
  static Request Beams(int id, int prompt, int output, int width) {
    return {.id = RequestId(static_cast<std::uint64_t>(id)),
            .num_prompt_tokens = TokenCount(prompt),
            .max_output_tokens = TokenCount(output),
            .beam_width = width};
  }
  void Submit(const Request& request) {
    const absl::Status status = scheduler.Submit(request);
    ASSERT_TRUE(status.ok()) << status;
  }
  std::string Refusal(const Request& request, absl::StatusCode code) {
    const absl::Status status = scheduler.Submit(request);
    EXPECT_EQ(status.code(), code);
    return std::string(status.message());
  }

  StepPlan Schedule() {
    const absl::StatusOr<StepPlan> plan = scheduler.Schedule();
    EXPECT_TRUE(plan.ok()) << plan.status();
    CheckInvariants();
    return *plan;
  }
  std::vector<Finish> Update(const std::vector<TokenId>& sampled = {},
                             const std::vector<BeamUpdate>& beams = {}) {
    const auto finished = scheduler.Update(sampled, beams);
    EXPECT_TRUE(finished.ok()) << finished.status();
    CheckInvariants();
    std::vector<Finish> result;
    for (const FinishedRequest& each : *finished) {
      result.emplace_back(
          static_cast<int>(each.id.value()), each.sequence_index,
          static_cast<int>(each.num_output_tokens.value()), each.ends_request);
    }
    return result;
  }
  std::vector<Entry> Step(const std::vector<BeamSurvivor>& survivors = {}) {
    const StepPlan plan = Schedule();
    const std::vector<Entry> entries = Entries(plan);
    std::vector<BeamUpdate> beams;
    for (const ScheduledSequence& entry : plan.scheduled) {
      if (entry.samples && entry.num_samples == 0 && beams.empty()) {
        beams.push_back({entry.request, survivors});
      }
    }
    Update({}, beams);
    return entries;
  }
  static std::vector<Entry> Entries(const StepPlan& plan) {
    std::vector<Entry> entries;
    for (const ScheduledSequence& entry : plan.scheduled) {
      entries.emplace_back(static_cast<int>(entry.request.value()),
                           entry.sequence_index, entry.num_computed,
                           entry.num_tokens);
    }
    return entries;
  }
  void CheckInvariants() const {
    const absl::Status sound = scheduler.CheckInvariants();
    EXPECT_TRUE(sound.ok()) << sound;
  }

  [[nodiscard]] std::vector<int> Table(int request, int index) const {
    const std::optional<SequenceId> sequence = scheduler.SequenceOf(
        RequestId(static_cast<std::uint64_t>(request)), index);
    std::vector<int> blocks;
    EXPECT_TRUE(sequence.has_value());
    if (!sequence.has_value()) return blocks;
    for (const BlockId block : cache.block_table(*sequence)) {
      blocks.push_back(block.value());
    }
    return blocks;
  }
  [[nodiscard]] int RefCount(int block) const {
    return cache.pool().ref_count(BlockId(block));
  }
  [[nodiscard]] std::int64_t num_used() const {
    return cache.pool().num_used().value();
  }

  KvCacheManager cache;
  Scheduler scheduler;
};

// Fig. 8: "Four score and seven years ago our", sampled twice.
TEST(SchedulerGroupsTest, SamplesShareThePromptUntilOneWritesIntoItsLastBlock) {
  Rig rig({});
  rig.Submit(Rig::Samples(1, 7, 4, 2));
  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan), ElementsAre(Entry(1, 0, 0, 7)));
  EXPECT_TRUE(plan.scheduled[0].samples);
  EXPECT_EQ(plan.scheduled[0].num_samples, 2);
  EXPECT_THAT(rig.Update(), IsEmpty());
  EXPECT_THAT(rig.Table(1, 0), ElementsAre(1, 2));
  EXPECT_THAT(rig.Table(1, 1), ElementsAre(1, 2));
  EXPECT_EQ(rig.RefCount(1), 2);
  EXPECT_EQ(rig.RefCount(2), 2);

  // The first to write gets a copy, which takes the count from 2 to 1; so the
  // other writes in place.
  plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan),
              ElementsAre(Entry(1, 0, 7, 1), Entry(1, 1, 7, 1)));
  EXPECT_EQ(plan.scheduled[0].kind, Kind::kRunning);
  EXPECT_EQ(plan.scheduled[1].num_samples, 1);
  ASSERT_EQ(plan.copies.size(), 1u);
  EXPECT_EQ(plan.copies[0].source, BlockId(2));
  EXPECT_EQ(plan.copies[0].destination, BlockId(3));
  EXPECT_EQ(plan.copies[0].num_tokens, 3);
  EXPECT_THAT(plan.slot_mapping[0], ElementsAre(3 * 4 + 3, 2 * 4 + 3));
  EXPECT_THAT(rig.Table(1, 0), ElementsAre(1, 3));
  EXPECT_THAT(rig.Table(1, 1), ElementsAre(1, 2));
  EXPECT_EQ(rig.RefCount(1), 2);
  EXPECT_EQ(rig.RefCount(2), 1);
  EXPECT_THAT(rig.Update(), IsEmpty());

  plan = rig.Schedule();
  EXPECT_TRUE(plan.copies.empty());
  EXPECT_EQ(rig.num_used(), 5);
  EXPECT_THAT(rig.Update(), IsEmpty());
  rig.Schedule();
  EXPECT_THAT(rig.Update(),
              ElementsAre(Finish(1, 0, 4, false), Finish(1, 1, 4, true)));
  EXPECT_EQ(rig.num_used(), 0);
  EXPECT_EQ(rig.cache.num_sequences(), 0);
}

// Fig. 9: four beams. All share block 0 of the paper, candidates 0 to 2 also
// blocks 1 and 3; the next four come from candidates 1 and 2. Our ids are the
// paper's plus one.
TEST(SchedulerGroupsTest, BeamsFreeTheBlocksThatNoSurvivorHolds) {
  Rig rig({});
  rig.Submit(Rig::Beams(1, 4, 30, 4));
  const StepPlan first = rig.Schedule();
  EXPECT_TRUE(first.scheduled[0].samples);
  EXPECT_EQ(first.scheduled[0].num_samples, 0);
  const std::vector<BeamSurvivor> two = {{0, 10}, {0, 11}};
  rig.Update({}, {{RequestId(1), two}});
  for (int i = 0; i < 7; ++i) rig.Step({{0, 1}, {1, 2}});
  rig.Step({{0, 1}, {0, 2}, {0, 3}, {1, 4}});
  for (int i = 0; i < 3; ++i) rig.Step({{0, 1}, {1, 1}, {2, 1}, {3, 1}});
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(rig.Table(1, 0), ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(rig.Table(1, 1), ElementsAre(1, 2, 4, 7));
  EXPECT_THAT(rig.Table(1, 2), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(rig.Table(1, 3), ElementsAre(1, 3, 5, 9));
  EXPECT_EQ(rig.RefCount(1), 4);
  EXPECT_EQ(rig.RefCount(2), 3);
  EXPECT_EQ(plan.copies.size(), 0u);

  const std::vector<BeamSurvivor> next = {{1, 5}, {1, 6}, {2, 5}, {2, 6}};
  rig.Update({}, {{RequestId(1), next}});
  for (const int freed : {3, 5, 6, 9}) EXPECT_EQ(rig.RefCount(freed), 0);
  EXPECT_EQ(rig.num_used(), 5);

  EXPECT_TRUE(rig.Schedule().copies.empty());
  EXPECT_THAT(rig.Table(1, 0), ElementsAre(1, 2, 4, 7, 10));
  EXPECT_THAT(rig.Table(1, 1), ElementsAre(1, 2, 4, 7, 11));
  EXPECT_THAT(rig.Table(1, 2), ElementsAre(1, 2, 4, 8, 12));
  EXPECT_THAT(rig.Table(1, 3), ElementsAre(1, 2, 4, 8, 13));
  EXPECT_EQ(rig.RefCount(4), 4);
  EXPECT_EQ(rig.RefCount(7), 2);

  // Within a block, forks are copies again.
  rig.Update({}, {{RequestId(1), next}});
  const StepPlan copying = rig.Schedule();
  ASSERT_EQ(copying.copies.size(), 2u);
  EXPECT_EQ(copying.copies[0].source, BlockId(11));
  EXPECT_EQ(copying.copies[1].source, BlockId(12));
  EXPECT_EQ(copying.copies[1].num_tokens, 1);
}

TEST(SchedulerGroupsTest, ABeamSearchEndsWhereItHasNoSurvivorsOrIsLongest) {
  Rig rig({});
  rig.Submit(Rig::Beams(1, 5, 3, 2));
  rig.Submit(Rig::Beams(2, 5, 2, 3));
  const std::vector<BeamSurvivor> two = {{0, 10}, {0, 11}};
  rig.Schedule();
  EXPECT_THAT(rig.Update({}, {{RequestId(1), two}, {RequestId(2), two}}),
              IsEmpty());
  EXPECT_THAT(Rig::Entries(rig.Schedule()),
              ElementsAre(Entry(1, 0, 5, 1), Entry(1, 1, 5, 1),
                          Entry(2, 0, 5, 1), Entry(2, 1, 5, 1)));
  EXPECT_EQ(rig.scheduler.num_running_sequences(), 5);
  EXPECT_THAT(rig.Update({}, {{RequestId(1), {}}, {RequestId(2), two}}),
              ElementsAre(Finish(1, 0, 2, true), Finish(2, 0, 2, true)));
  EXPECT_EQ(rig.cache.num_sequences(), 0);
}

TEST(SchedulerGroupsTest, EachSampleEndsByItsOwnStopTokenOrByLength) {
  Rig rig({});
  Request request = Rig::Samples(1, 4, 3, 3);
  request.stop_tokens = {7};
  rig.Submit(request);
  rig.Schedule();
  EXPECT_THAT(rig.Update({1, 7, 2}), ElementsAre(Finish(1, 1, 1, false)));
  EXPECT_EQ(rig.scheduler.num_running_sequences(), 2);
  EXPECT_EQ(rig.scheduler.SequenceOf(RequestId(1), 1), std::nullopt);
  EXPECT_THAT(Rig::Entries(rig.Schedule()),
              ElementsAre(Entry(1, 0, 4, 1), Entry(1, 2, 4, 1)));
  EXPECT_THAT(rig.Update({7, 3}), ElementsAre(Finish(1, 0, 2, false)));
  EXPECT_THAT(Rig::Entries(rig.Schedule()), ElementsAre(Entry(1, 2, 5, 1)));
  EXPECT_EQ(rig.scheduler.num_running(), 1);
  EXPECT_THAT(rig.Update({3}), ElementsAre(Finish(1, 2, 3, true)));
  EXPECT_THAT(rig.Schedule().ended, ElementsAre(RequestId(1)));
}

TEST(SchedulerGroupsTest, AGroupCountsForAllOfItsSequencesWhenItIsAdmitted) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .max_num_seqs = 4}});
  rig.Submit(Rig::Samples(1, 4, 4, 1));
  rig.Submit(Rig::Samples(2, 4, 2, 3));
  rig.Submit(Rig::Samples(3, 4, 2, 1));
  EXPECT_EQ(rig.Schedule().admission_block, AdmissionBlock::kSequences);
  EXPECT_EQ(rig.scheduler.num_running(), 2);
  EXPECT_EQ(rig.scheduler.num_running_sequences(), 4);
  rig.Update();
  rig.Schedule();
  rig.Update();  // the three samples end
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 5, 1), Entry(3, 0, 0, 4)));

  rig.Submit(Rig::Samples(4, 4, 2, 3));
  const StepPlan plan = rig.Schedule();  // 1 and 3 run
  EXPECT_EQ(plan.admission_block, AdmissionBlock::kSequences);
}

TEST(SchedulerGroupsTest, AGroupHoldsTheRowsThatItWillNeed) {
  Rig rig({.max_sequences = 4});
  rig.Submit(Rig::Samples(1, 4, 2, 3));
  rig.Submit(Rig::Samples(2, 4, 2, 2));
  EXPECT_EQ(rig.Schedule().admission_block, AdmissionBlock::kSequences);
  EXPECT_EQ(rig.cache.num_sequences(), 3);
  ASSERT_TRUE(rig.cache.AddSequence().ok());  // the client's own
  rig.Update();
  EXPECT_THAT(
      Rig::Entries(rig.Schedule()),
      ElementsAre(Entry(1, 0, 4, 1), Entry(1, 1, 4, 1), Entry(1, 2, 4, 1)));
}

TEST(SchedulerGroupsTest, WhoCouldNeverFinishIsRefusedByTheGroupsWorstCase) {
  // 6 + 5 tokens, the last never computed: 3 blocks each, 1 of them shared.
  for (const std::int64_t blocks : {6, 7}) {
    Rig rig({.usable_blocks = blocks});
    if (blocks == 6) {
      EXPECT_THAT(rig.Refusal(Rig::Samples(1, 6, 5, 3),
                              absl::StatusCode::kFailedPrecondition),
                  AllOf(HasSubstr("request 1"), HasSubstr("7 blocks"),
                        HasSubstr("3 sequences"), HasSubstr("has 6")));
      continue;
    }
    rig.Submit(Rig::Samples(1, 6, 5, 3));
    for (int i = 0; i < 4; ++i) rig.Step();
    EXPECT_TRUE(rig.Schedule().preempted.empty());
    EXPECT_EQ(rig.num_used(), 7);
    EXPECT_THAT(rig.Update(),
                ElementsAre(Finish(1, 0, 5, false), Finish(1, 1, 5, false),
                            Finish(1, 2, 5, true)));
  }
}

TEST(SchedulerGroupsTest, RefusesNumbersOfSequencesThatCannotBe) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(64),
                         .max_num_seqs = 4}});
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(rig.Refusal(Rig::Samples(1, 4, 4, 5), kInvalid),
              AllOf(HasSubstr("5 samples"), HasSubstr("to 4")));
  EXPECT_THAT(rig.Refusal(Rig::Samples(1, 4, 4, 0), kInvalid),
              HasSubstr("0 samples"));
  EXPECT_THAT(rig.Refusal(Rig::Beams(1, 4, 4, -1), kInvalid),
              HasSubstr("width -1"));
  Request both = Rig::Samples(1, 4, 4, 2);
  both.beam_width = 2;
  EXPECT_THAT(rig.Refusal(both, kInvalid), HasSubstr("num_samples"));
  Request stopping = Rig::Beams(1, 4, 4, 2);
  stopping.stop_tokens = {1};
  EXPECT_THAT(rig.Refusal(stopping, kInvalid), HasSubstr("stop_tokens"));
  EXPECT_EQ(rig.scheduler.num_waiting(), 0);
}

TEST(SchedulerGroupsTest, SurvivorsThatCannotBeChangeNothing) {
  Rig rig({});
  rig.Submit(Rig::Beams(1, 4, 4, 2));
  rig.Schedule();
  const auto refusal = [&](const std::vector<BeamUpdate>& beams) {
    const absl::Status status = rig.scheduler.Update({}, beams).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    rig.CheckInvariants();
    return std::string(status.message());
  };
  const std::vector<BeamSurvivor> fine = {{0, 1}, {0, 2}};
  const std::vector<BeamSurvivor> too_many = {{0, 1}, {0, 2}, {0, 3}};
  const std::vector<BeamSurvivor> nobodys = {{1, 1}};
  EXPECT_THAT(refusal({}), AllOf(HasSubstr("request 1"), HasSubstr("nothing")));
  EXPECT_THAT(refusal({{RequestId(2), fine}}), HasSubstr("request 2"));
  EXPECT_THAT(refusal({{RequestId(1), too_many}}),
              AllOf(HasSubstr("3 survivors"), HasSubstr("2")));
  EXPECT_THAT(refusal({{RequestId(1), nobodys}}), HasSubstr("parent 1"));
  EXPECT_THAT(refusal({{RequestId(1), fine}, {RequestId(1), fine}}),
              HasSubstr("2 entries"));
  EXPECT_EQ(rig.scheduler.Update(std::vector<TokenId>{1}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  rig.Update({}, {{RequestId(1), fine}});
  EXPECT_THAT(Rig::Entries(rig.Schedule()),
              ElementsAre(Entry(1, 0, 4, 1), Entry(1, 1, 4, 1)));
}

TEST(SchedulerGroupsTest, AGroupIsPreemptedAndResumedAsOne) {
  Rig rig({.usable_blocks = 7});
  rig.Submit(Rig::Samples(1, 8, 8, 1));
  rig.Submit(Rig::Samples(2, 6, 7, 2));
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 0, 8), Entry(2, 0, 0, 6)));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(rig.Step(),
                ElementsAre(Entry(1, 0, 8 + i, 1), Entry(2, 0, 6 + i, 1),
                            Entry(2, 1, 6 + i, 1)));
  }
  // 1 has 3 blocks; the samples one together and one each. Of the two that they
  // lack one is free: the first sample gets it, the second has to give way, and
  // with it the first.
  StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan), ElementsAre(Entry(1, 0, 10, 1)));
  ASSERT_EQ(plan.preempted.size(), 1u);
  EXPECT_EQ(plan.preempted[0].request, RequestId(2));
  EXPECT_EQ(plan.preempted[0].on_behalf_of, RequestId(2));
  EXPECT_EQ(plan.preempted[0].blocks_needed, BlockCount(1));
  EXPECT_EQ(plan.preempted[0].blocks_free, BlockCount(0));
  EXPECT_EQ(plan.preempted[0].tokens_lost, TokenCount(6 + 2 + 2));
  EXPECT_EQ(plan.num_tokens, TokenCount(1));
  EXPECT_EQ(rig.num_used(), 3);
  EXPECT_EQ(rig.scheduler.num_running_sequences(), 1);
  EXPECT_EQ(rig.cache.num_sequences(), 1);
  rig.Update();

  // 4 blocks are free; what the samples had takes 5.
  EXPECT_EQ(rig.Schedule().admission_block, AdmissionBlock::kBlocks);
  rig.Update();
  while (rig.scheduler.num_running() > 0) rig.Step();

  // The prompt once, then the output of each.
  plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan), ElementsAre(Entry(2, 0, 0, 6)));
  EXPECT_EQ(plan.scheduled[0].kind, Kind::kResumed);
  EXPECT_FALSE(plan.scheduled[0].samples);
  EXPECT_EQ(rig.scheduler.SequenceOf(RequestId(2), 1), std::nullopt);
  rig.Update();
  plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan),
              ElementsAre(Entry(2, 0, 6, 3), Entry(2, 1, 6, 3)));
  EXPECT_TRUE(plan.scheduled[1].samples);
  EXPECT_EQ(plan.copies.size(), 1u);
  rig.Update();
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(2, 0, 9, 1), Entry(2, 1, 9, 1)));
}

TEST(SchedulerGroupsTest, ResumedSequencesCatchUpAsTheBudgetAllows) {
  Rig rig({.usable_blocks = 9,
           .scheduler = {.max_num_batched_tokens = TokenCount(4)}});
  rig.Submit(Rig::Samples(1, 8, 14, 1));
  rig.Step();
  rig.Step();
  rig.Submit(Rig::Samples(2, 4, 12, 2));
  while (rig.Schedule().preempted.empty()) rig.Update();
  rig.Update();
  while (rig.scheduler.num_running() > 1) rig.Step();
  while (rig.scheduler.SequenceOf(RequestId(1)).has_value()) rig.Step();
  // Sequence by sequence up to the last known token; that they compute
  // together, for they sample together.
  std::vector<Entry> seen;
  for (int i = 0; i < 6; ++i) {
    const std::vector<Entry> entries = rig.Step();
    seen.insert(seen.end(), entries.begin(), entries.end());
  }
  int last_caught_up[2] = {4, 4};
  bool sampled = false;
  for (const auto& [request, index, computed, tokens] : seen) {
    if (computed < 4) continue;
    EXPECT_EQ(computed, last_caught_up[index]);
    last_caught_up[index] += tokens;
    sampled |= last_caught_up[0] == last_caught_up[1] && tokens == 1;
  }
  EXPECT_TRUE(sampled);
  EXPECT_EQ(last_caught_up[0], last_caught_up[1]);
}

TEST(SchedulerGroupsTest, AResumedGroupFindsWhatTheCacheHasOfEachSequence) {
  Rig rig({.usable_blocks = 12, .prefix_caching = true});
  Request other = Rig::Samples(1, 4, 30, 1);
  other.prompt_tokens = {9, 9, 9, 9};
  Request request = Rig::Samples(2, 6, 16, 2);
  request.prompt_tokens = {1, 2, 3, 4, 5, 6};
  rig.Submit(other);
  rig.Submit(request);
  rig.Schedule();
  rig.Update({0, 101, 102});
  std::vector<Entry> entries;
  int lost = 0;
  for (TokenId token = 0; lost == 0; ++token) {
    const StepPlan plan = rig.Schedule();
    if (!plan.preempted.empty()) {
      lost = static_cast<int>(plan.preempted[0].tokens_lost.value());
      rig.Update({0});
    } else {
      rig.Update({0, 200 + token, 300 + token});
    }
  }
  ASSERT_GT(lost, 6 + 2 * 6);
  ASSERT_TRUE(rig.scheduler.Abort(RequestId(1)).ok());
  EXPECT_THAT(Rig::Entries(rig.Schedule()), ElementsAre(Entry(2, 0, 4, 2)));
  rig.Update({});
  // Each has its full blocks, which the prompt alone would not give.
  entries = Rig::Entries(rig.Schedule());
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_GE(std::get<2>(entries[0]), 12);
  EXPECT_GE(std::get<2>(entries[1]), 12);
  EXPECT_LE(std::get<3>(entries[0]), 4);
  EXPECT_EQ(std::get<2>(entries[0]), std::get<2>(entries[1]));
}

TEST(SchedulerGroupsTest, AGroupIsAbortedWithAllOfItsSequences) {
  Rig rig({});
  rig.Submit(Rig::Samples(1, 5, 9, 3));
  rig.Submit(Rig::Beams(2, 5, 9, 2));
  rig.Submit(Rig::Samples(3, 5, 9, 1));
  const std::vector<BeamSurvivor> two = {{0, 1}, {0, 2}};
  rig.Schedule();
  rig.Update({}, {{RequestId(2), two}});
  rig.Schedule();
  // In flight: any tokens and survivors do for them.
  ASSERT_TRUE(rig.scheduler.Abort(RequestId(1)).ok());
  ASSERT_TRUE(rig.scheduler.Abort(RequestId(2)).ok());
  rig.CheckInvariants();
  EXPECT_EQ(rig.scheduler.num_running_sequences(), 1);
  EXPECT_EQ(rig.cache.num_sequences(), 1);
  rig.Update({1, 2, 3, 4}, {{RequestId(2), two}});
  const StepPlan plan = rig.Schedule();
  EXPECT_THAT(Rig::Entries(plan), ElementsAre(Entry(3, 0, 6, 1)));
  EXPECT_THAT(plan.ended, ElementsAre(RequestId(1), RequestId(2)));
}

TEST(SchedulerGroupsTest, WhoseSequencesDoNotAllFitIntoAStepSitsItOut) {
  Rig rig({.scheduler = {.max_num_batched_tokens = TokenCount(4)}});
  rig.Submit(Rig::Samples(1, 2, 9, 1));
  rig.Submit(Rig::Samples(2, 1, 9, 2));
  rig.Submit(Rig::Samples(3, 1, 2, 2));
  rig.Submit(Rig::Samples(4, 4, 9, 1));
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 0, 2), Entry(2, 0, 0, 1),
                                      Entry(3, 0, 0, 1)));
  // 3 needs two tokens and has one, which 4 takes.
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 2, 1), Entry(2, 0, 1, 1),
                                      Entry(2, 1, 1, 1), Entry(4, 0, 0, 1)));
}

}  // namespace
}  // namespace pagedkv
