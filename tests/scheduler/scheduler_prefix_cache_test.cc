// SPDX-License-Identifier: Apache-2.0
//
// The scheduler over a manager with the prefix cache on. First single stories,
// then random workloads, in which a fake device does what each plan says, and
// each sequence must find its own tokens before each token that it computes.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Kind = ScheduledSequence::Kind;

std::vector<TokenId> Tokens(std::size_t count, TokenId first = 0) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

struct SetUp {
  std::int64_t num_blocks = 101;
  std::vector<KvCacheGroupOptions> groups = {Full(4)};
  PrefixCacheOptions cache = {};
  SchedulerOptions scheduler = {.max_num_batched_tokens = TokenCount(64)};
};

class Rig {
 public:
  explicit Rig(const SetUp& set_up)
      : cache(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(set_up.num_blocks),
                      .prefix_caching = true},
             .groups = set_up.groups,
             .max_sequence_tokens = TokenCount(128),
             .prefix_cache = set_up.cache})),
        scheduler(*Scheduler::Create(set_up.scheduler, cache)) {}

  void Submit(int id, std::vector<TokenId> prompt, int output, int priority = 0,
              SequenceOptions sequence = {}) {
    Request request;
    request.id = RequestId(static_cast<std::uint64_t>(id));
    request.num_prompt_tokens = TokenCount(std::ssize(prompt));
    request.prompt_tokens = std::move(prompt);
    request.max_output_tokens = TokenCount(output);
    request.priority = priority;
    request.sequence = std::move(sequence);
    const absl::Status status = scheduler.Submit(request);
    ASSERT_TRUE(status.ok()) << status;
  }
  // A whole step, in which token 1000 is sampled. (request, computed before,
  // tokens) of what was scheduled.
  std::vector<std::tuple<int, int, int>> Step() {
    const absl::StatusOr<StepPlan> plan = scheduler.Schedule();
    EXPECT_TRUE(plan.ok()) << plan.status();
    preempted.clear();
    for (const Preemption& each : plan->preempted) {
      preempted.push_back(static_cast<int>(each.request.value()));
    }
    std::vector<std::tuple<int, int, int>> scheduled;
    std::vector<TokenId> sampled;
    kinds.clear();
    for (const ScheduledSequence& entry : plan->scheduled) {
      scheduled.emplace_back(static_cast<int>(entry.request.value()),
                             entry.num_computed, entry.num_tokens);
      kinds.push_back(entry.kind);
      if (entry.samples) sampled.push_back(1000);
    }
    EXPECT_TRUE(scheduler.Update(sampled).ok());
    const absl::Status sound = scheduler.CheckInvariants();
    EXPECT_TRUE(sound.ok()) << sound;
    return scheduled;
  }
  std::int64_t Found(const std::vector<TokenId>& tokens) {
    PrefixMatch match;
    cache.Match(tokens, ContentKeys{}, match);
    return match.num_tokens.value();
  }

  KvCacheManager cache;
  Scheduler scheduler;
  std::vector<int> preempted;
  std::vector<Kind> kinds;
};

using Entry = std::tuple<int, int, int>;

TEST(SchedulerPrefixCacheTest, WhatIsFoundNeedNotBeComputed) {
  Rig rig({});
  rig.Submit(1, Tokens(20), 1);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 20)));
  rig.Submit(2, Tokens(20), 1);     // the last token is computed
  rig.Submit(3, Tokens(30), 1);     // goes on from it
  rig.Submit(4, Tokens(20, 1), 1);  // has nothing in common
  EXPECT_THAT(rig.Step(),
              ElementsAre(Entry(2, 16, 4), Entry(3, 20, 10), Entry(4, 0, 20)));
}

TEST(SchedulerPrefixCacheTest, RequestsOfOneStepShareWhatTheFirstComputes) {
  Rig rig({});
  rig.Submit(1, Tokens(18), 2);
  rig.Submit(2, Tokens(18), 2);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 18), Entry(2, 16, 2)));
}

TEST(SchedulerPrefixCacheTest, ARequestWithoutTokensSharesNothing) {
  Rig rig({});
  Request request = {.id = RequestId(1),
                     .num_prompt_tokens = TokenCount(20),
                     .max_output_tokens = TokenCount(1)};
  ASSERT_TRUE(rig.scheduler.Submit(request).ok());
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 20)));
  EXPECT_EQ(rig.cache.num_cached_keys(), 0);
  rig.Submit(2, Tokens(20), 1);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(2, 0, 20)));
}

TEST(SchedulerPrefixCacheTest, SampledTokensAreSharedToo) {
  Rig rig({});
  rig.Submit(1, Tokens(6), 7);
  for (int step = 0; step < 7; ++step) rig.Step();
  // 6 + 6 computed; the seventh was sampled and never computed.
  std::vector<TokenId> tokens = Tokens(6);
  tokens.resize(14, 1000);
  rig.Submit(2, tokens, 1);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(2, 12, 2)));
}

TEST(SchedulerPrefixCacheTest, AResumedRequestFindsItsOwnBlocks) {
  // 9 blocks: two prompts of 16, and room for one more block.
  Rig rig({.num_blocks = 10});
  rig.Submit(1, Tokens(16), 12);
  rig.Submit(2, Tokens(16, 100), 12);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 16), Entry(2, 0, 16)));
  rig.Step();  // request 1 gets the last block, request 2 gives way
  EXPECT_THAT(rig.preempted, ElementsAre(2));
  std::vector<Entry> resumed;
  for (int i = 0; i < 20; ++i) {
    resumed = rig.Step();
    if (!rig.kinds.empty() && rig.kinds.back() == Kind::kResumed) break;
  }
  // All but what request 1 took of it for its output.
  ASSERT_FALSE(resumed.empty());
  EXPECT_EQ(std::get<0>(resumed.back()), 2);
  EXPECT_GE(std::get<1>(resumed.back()), 4);
}

// The victim of a more important request was in the step already. What its
// chunk was to fill is indexed as upstream (issue #57580), though it will never
// be computed; by default it is found no more.
TEST(SchedulerPrefixCacheTest, AChunkOfAVictimOfTheSameStepLeavesNoHash) {
  for (const bool as_upstream : {false, true}) {
    SCOPED_TRACE(as_upstream);
    Rig rig({.num_blocks = 9,
             .cache = {.vllm_compatible = as_upstream},
             .scheduler = {.policy = SchedulingPolicy::kPriority,
                           .max_num_batched_tokens = TokenCount(16),
                           .long_prefill_token_threshold = TokenCount(8)}});
    rig.Submit(1, Tokens(24), 2, /*priority=*/9);
    EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 8)));
    rig.Submit(2, Tokens(8, 100), 8, /*priority=*/1);
    EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 8, 8), Entry(2, 0, 8)));
    // Request 1 takes the last two of 8 blocks, then request 2 needs one.
    EXPECT_THAT(rig.Step(), ElementsAre(Entry(2, 8, 1)));
    EXPECT_THAT(rig.preempted, ElementsAre(1));
    // 16 tokens were computed. The chunk of this step never was, and one of its
    // two blocks went to request 2.
    EXPECT_EQ(rig.Found(Tokens(25)), as_upstream ? 20 : 16);
  }
}

// Whether the blocks or only the watermark stood in the way was told by what
// the whole request needs: not by what is asked for, less what is found in use.
TEST(SchedulerPrefixCacheTest, WhatIsFoundIsNotAmongTheBlocksThatLack) {
  auto cache =
      *KvCacheManager::Create({.pool = {.num_blocks = BlockCount(11),
                                        .prefix_caching = true,
                                        .watermark = 0.2},
                               .groups = {Full(4)},
                               .max_sequence_tokens = TokenCount(128)});
  auto scheduler = *Scheduler::Create({}, cache);
  for (std::uint64_t id = 1; id <= 2; ++id) {
    const std::size_t length = id == 1 ? 28 : 40;
    ASSERT_TRUE(scheduler
                    .Submit({.id = RequestId(id),
                             .num_prompt_tokens =
                                 TokenCount(static_cast<std::int64_t>(length)),
                             .prompt_tokens = Tokens(length),
                             .max_output_tokens = TokenCount(1)})
                    .ok());
  }
  // Request 2 finds 7 blocks in use, and wants the 3 that are free.
  const absl::StatusOr<StepPlan> plan = scheduler.Schedule();
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->scheduled.size(), 1u);
  EXPECT_EQ(plan->admission_block, AdmissionBlock::kWatermark);
}

TEST(SchedulerPrefixCacheTest, APromptMustBeAsLongAsItSays) {
  Rig rig({});
  Request request = {.id = RequestId(1),
                     .num_prompt_tokens = TokenCount(20),
                     .prompt_tokens = Tokens(19),
                     .max_output_tokens = TokenCount(1)};
  const absl::Status status = rig.scheduler.Submit(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("20"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("19"));
  EXPECT_EQ(rig.scheduler.num_waiting(), 0);
}

TEST(SchedulerPrefixCacheTest, WhatDistinguishesARequestIsCheckedWhenItComes) {
  Rig rig({.groups = {Full(4), Cross(4)}});
  Request request = {.id = RequestId(1),
                     .num_prompt_tokens = TokenCount(4),
                     .max_output_tokens = TokenCount(1)};
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  request.sequence.num_encoder_tokens = TokenCount(-1);
  EXPECT_EQ(rig.scheduler.Submit(request).code(), kInvalid);
  request.sequence.num_encoder_tokens = TokenCount(129);
  EXPECT_EQ(rig.scheduler.Submit(request).code(), kInvalid);
  request.sequence.num_encoder_tokens = TokenCount(5);
  request.sequence.keys.items = {{"cat", TokenCount(-1), TokenCount(2)}};
  EXPECT_EQ(rig.scheduler.Submit(request).code(), kInvalid);
  request.sequence.keys.items.clear();
  request.sequence.keys.salts = {{"s", TokenCount(-4)}};
  EXPECT_EQ(rig.scheduler.Submit(request).code(), kInvalid);
  request.sequence.keys.salts.clear();
  request.sequence.keys.prompt_embeddings.resize(4);
  EXPECT_EQ(rig.scheduler.Submit(request).code(), kInvalid);
  request.sequence.keys.embedding_bytes_per_token = 1;
  EXPECT_TRUE(rig.scheduler.Submit(request).ok());
}

TEST(SchedulerPrefixCacheTest, AnEncoderThatCannotFitIsRefused) {
  Rig rig({.num_blocks = 8, .groups = {Full(4), Cross(4)}});
  Request request = {.id = RequestId(1),
                     .num_prompt_tokens = TokenCount(4),
                     .max_output_tokens = TokenCount(1)};
  request.sequence.num_encoder_tokens = TokenCount(28);
  EXPECT_EQ(rig.scheduler.Submit(request).code(),
            absl::StatusCode::kFailedPrecondition);
  request.sequence.num_encoder_tokens = TokenCount(24);
  EXPECT_TRUE(rig.scheduler.Submit(request).ok());
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 4)));
}

// A decoder that outgrew the table of its encoder brought the plan down: its
// slots were looked for there.
TEST(SchedulerPrefixCacheTest, ADecoderMayOutgrowItsEncoder) {
  Rig rig({.groups = {Cross(4), Full(4)}});
  rig.Submit(1, Tokens(30), 20, 0, {.num_encoder_tokens = TokenCount(3)});
  const absl::StatusOr<StepPlan> plan = rig.scheduler.Schedule();
  ASSERT_TRUE(plan.ok());
  EXPECT_TRUE(plan->slot_mapping[0].empty());
  EXPECT_EQ(plan->slot_mapping[1].size(), 30u);
  ASSERT_TRUE(rig.scheduler.Update(std::vector<TokenId>{7}).ok());
  while (rig.scheduler.num_running() > 0) rig.Step();
}

TEST(SchedulerPrefixCacheTest, AStateSpaceChunkEndsWithABlock) {
  Rig rig({.groups = {Full(2), State(8)},
           .scheduler = {.max_num_batched_tokens = TokenCount(20)}});
  rig.Submit(1, Tokens(45), 1);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 0, 16)));
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 16, 16)));
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(1, 32, 13)));
  // The state after 32 tokens is there; that after 40 was never kept.
  EXPECT_EQ(rig.Found(Tokens(45)), 32);
  rig.Submit(2, Tokens(45), 1);
  EXPECT_THAT(rig.Step(), ElementsAre(Entry(2, 32, 13)));
}

TEST(SchedulerPrefixCacheTest, UpdateNeedsTheTokensOfRequestsWithTokens) {
  Rig rig({});
  rig.Submit(1, Tokens(8), 2);
  ASSERT_TRUE(rig.scheduler.Schedule().ok());
  EXPECT_EQ(rig.scheduler.Update().status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(rig.scheduler.Update(std::vector<TokenId>{1, 2}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(rig.scheduler.Update(std::vector<TokenId>{1}).ok());
  ASSERT_TRUE(rig.scheduler.Schedule().ok());
  ASSERT_TRUE(rig.scheduler.Abort(RequestId(1)).ok());
  EXPECT_TRUE(rig.scheduler.Update().ok());  // nobody asks for it any longer
}

TEST(SchedulerPrefixCacheTest, KeysKeepRequestsApart) {
  Rig rig({});
  const std::vector<SequenceOptions> options = {
      {},
      {.keys = {.adapter = "x"}},
      {.keys = {.salts = {{"x", TokenCount(0)}}}},
      {.keys = {.items = {{"x", TokenCount(1), TokenCount(2)}}}}};
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < options.size(); ++i) {
      rig.Submit(static_cast<int>(i), Tokens(12), 1, 0, options[i]);
      EXPECT_THAT(rig.Step(), ElementsAre(Entry(static_cast<int>(i), round * 8,
                                                12 - round * 8)));
    }
  }
}

// Random workloads.

struct Workload {
  std::string name;
  std::int64_t num_blocks = 0;
  std::vector<KvCacheGroupOptions> groups;
  PrefixCacheOptions cache = {};
  SchedulerOptions scheduler = {};
  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

class SchedulerDeviceTest : public testing::TestWithParam<Workload> {
 protected:
  static constexpr std::uint64_t kSeed = 20261125;
  static constexpr std::int64_t kMaxTokens = 60;

  // A token with all before it, under an adapter.
  using Content = std::uint64_t;
  struct Cell {
    Content content = 0;
    std::size_t group = 99;
    friend bool operator==(Cell, Cell) = default;
  };
  struct Model {
    std::vector<TokenId> tokens;
    std::string adapter;
  };

  SchedulerDeviceTest()
      : cache_(*KvCacheManager::Create(Options(GetParam()))),
        scheduler_(*Scheduler::Create(GetParam().scheduler, cache_)),
        memory_(static_cast<std::size_t>(GetParam().num_blocks),
                std::vector<Cell>(16)) {
    std::printf("seed %d\n", static_cast<int>(kSeed));
  }
  static KvCacheManagerOptions Options(const Workload& workload) {
    return {.pool = {.num_blocks = BlockCount(workload.num_blocks),
                     .prefix_caching = true},
            .groups = workload.groups,
            .max_sequence_tokens = TokenCount(kMaxTokens),
            .max_in_flight_tokens = workload.scheduler.max_num_batched_tokens,
            .prefix_cache = workload.cache};
  }
  int Below(int n) {
    return static_cast<int>(random_() % static_cast<std::uint64_t>(n));
  }

  static Content Extend(Content before, std::uint64_t token) {
    std::uint64_t z = before * 0x9e3779b97f4a7c15u + token + 1;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  static std::vector<Content> ContentsOf(const Model& model) {
    std::vector<Content> contents;
    Content content = model.adapter.empty() ? 0 : 77;
    for (const TokenId token : model.tokens) {
      content = Extend(content, static_cast<std::uint64_t>(token));
      contents.push_back(content);
    }
    return contents;
  }
  // Greedy: equal requests go on equally, side by side.
  static TokenId Sample(const Model& model) {
    return static_cast<TokenId>(ContentsOf(model).back() % 2);
  }

  void Submit() {
    Model model;
    if (!past_.empty() && Below(4) != 0) {
      const auto& old = past_[static_cast<std::size_t>(
          Below(static_cast<int>(past_.size())))];
      const int length = 1 + Below(static_cast<int>(old.tokens.size()));
      model.tokens.assign(old.tokens.begin(), old.tokens.begin() + length);
      model.adapter = old.adapter;
    } else if (Below(4) == 0) {
      model.adapter = "a";
    }
    if (model.tokens.size() > 40) model.tokens.resize(40);
    for (int i = Below(12) + 1; i > 0; --i) {
      model.tokens.push_back(static_cast<TokenId>(Below(2)));
    }
    Request request;
    request.id = RequestId(next_id_++);
    request.num_prompt_tokens = TokenCount(std::ssize(model.tokens));
    request.prompt_tokens = model.tokens;
    request.max_output_tokens = TokenCount(1 + Below(20));
    request.sequence.keys.adapter = model.adapter;
    request.sequence.tenant = Below(3);
    request.priority = Below(4);
    request.arrival = Below(100);
    const absl::Status status = scheduler_.Submit(request);
    if (status.code() == absl::StatusCode::kFailedPrecondition) return;
    ASSERT_TRUE(status.ok()) << status;
    live_.emplace(request.id, std::move(model));
  }

  static std::int64_t FirstVisible(const KvCacheGroupOptions& group,
                                   std::int64_t position) {
    const std::int64_t window = group.window.value();
    if (group.kind == AttentionKind::kSlidingWindow) {
      return std::max<std::int64_t>(0, position - window + 1);
    }
    if (group.kind == AttentionKind::kChunkedLocal) {
      return position / window * window;
    }
    return 0;
  }
  Cell& At(BlockId block, std::int64_t offset) {
    return memory_[static_cast<std::size_t>(block.value())]
                  [static_cast<std::size_t>(offset)];
  }
  BlockId BlockOf(const ScheduledSequence& entry, std::size_t g,
                  std::int64_t position) {
    const int group = static_cast<int>(g);
    return cache_.block_table(entry.sequence, group)[static_cast<std::size_t>(
        position / cache_.block_size(group).value())];
  }

  void Execute(const StepPlan& plan) {
    for (const BlockCopy& copy : plan.copies) {
      for (std::int64_t i = 0; i < copy.num_tokens; ++i) {
        At(copy.destination, i) = At(copy.source, i);
      }
    }
    std::map<RequestId, std::vector<Content>> contents;
    for (const ScheduledSequence& entry : plan.scheduled) {
      contents[entry.request] = ContentsOf(live_.at(entry.request));
    }
    for (std::size_t g = 0; g < GetParam().groups.size(); ++g) {
      const KvCacheGroupOptions& group = GetParam().groups[g];
      const std::int64_t size = group.block_size.value();
      const auto cell = [&](const ScheduledSequence& entry, std::int64_t p) {
        return Cell{contents[entry.request][static_cast<std::size_t>(p)], g};
      };
      const bool is_state = group.kind == AttentionKind::kStateSpace;
      if (is_state) {
        for (const ScheduledSequence& entry : plan.scheduled) {
          if (entry.num_computed == 0) continue;
          const std::int64_t last = entry.num_computed - 1;
          ASSERT_EQ(At(BlockOf(entry, g, last), 0), cell(entry, last))
              << entry.request << ", state after " << entry.num_computed;
        }
      }
      std::size_t slot = 0;
      for (const ScheduledSequence& entry : plan.scheduled) {
        const std::int64_t end = entry.num_computed + entry.num_tokens;
        if (is_state) {
          ASSERT_NE(BlockOf(entry, g, end - 1), kNullBlock);
          At(BlockOf(entry, g, end - 1), 0) = cell(entry, end - 1);
          continue;
        }
        for (std::int64_t p = entry.num_computed; p < end; ++p, ++slot) {
          const std::int64_t where = plan.slot_mapping[g][slot];
          ASSERT_GE(where, size) << "in the null block";
          At(BlockId(static_cast<std::int32_t>(where / size)), where % size) =
              cell(entry, p);
        }
      }
      if (is_state) continue;
      for (const ScheduledSequence& entry : plan.scheduled) {
        const std::int64_t end = entry.num_computed + entry.num_tokens;
        for (std::int64_t p = FirstVisible(group, entry.num_computed); p < end;
             ++p) {
          ASSERT_EQ(At(BlockOf(entry, g, p), p % size), cell(entry, p))
              << entry.request << ", token " << p << " of " << end << ", group "
              << g;
        }
      }
    }
  }

  void Step() {
    const absl::StatusOr<StepPlan> plan = scheduler_.Schedule();
    ASSERT_TRUE(plan.ok()) << plan.status();
    Execute(*plan);
    if (HasFatalFailure()) return;
    num_preempted_ += plan->preempted.size();
    std::vector<TokenId> sampled;
    std::vector<RequestId> samplers;
    for (const ScheduledSequence& entry : plan->scheduled) {
      num_computed_ += entry.num_tokens;
      if (entry.kind != Kind::kRunning) num_found_ += entry.num_computed;
      if (!entry.samples) continue;
      sampled.push_back(Sample(live_.at(entry.request)));
      samplers.push_back(entry.request);
    }
    for (std::size_t i = 0; i < samplers.size(); ++i) {
      live_.at(samplers[i]).tokens.push_back(sampled[i]);
    }
    const auto finished = scheduler_.Update(sampled);
    ASSERT_TRUE(finished.ok()) << finished.status();
    for (const FinishedRequest& each : *finished) End(each.id);
    const absl::Status sound = scheduler_.CheckInvariants();
    ASSERT_TRUE(sound.ok()) << sound;
  }
  void End(RequestId id) {
    past_.push_back(live_.at(id));
    if (past_.size() > 20) past_.erase(past_.begin());
    live_.erase(id);
  }

  std::mt19937_64 random_{kSeed};
  KvCacheManager cache_;
  Scheduler scheduler_;
  std::vector<std::vector<Cell>> memory_;
  std::map<RequestId, Model> live_;
  std::vector<Model> past_;
  std::uint64_t next_id_ = 1;
  std::int64_t num_found_ = 0;
  std::int64_t num_computed_ = 0;
  std::size_t num_preempted_ = 0;
};

TEST_P(SchedulerDeviceTest, EverySequenceFindsItsOwnTokens) {
  for (int step = 0; step < 4000; ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    while (live_.size() < 16 && Below(3) == 0 && !HasFatalFailure()) Submit();
    if (!live_.empty() && Below(60) == 0) {
      auto it = live_.begin();
      std::advance(it, Below(static_cast<int>(live_.size())));
      const RequestId id = it->first;
      ASSERT_TRUE(scheduler_.Abort(id).ok());
      End(id);
    }
    if (!HasFatalFailure()) Step();
    if (HasFatalFailure()) return;
  }
  for (int step = 0; step < 5000 && !live_.empty(); ++step) {
    Step();
    if (HasFatalFailure()) return;
  }
  EXPECT_TRUE(live_.empty()) << "some request never finishes";
  EXPECT_EQ(cache_.pool().num_used(), BlockCount(0));
  EXPECT_GT(num_found_, num_computed_ / 50);
  EXPECT_GT(num_preempted_, 0u);
}

SchedulerOptions By(SchedulingPolicy policy, int budget = 24) {
  return {.policy = policy, .max_num_batched_tokens = TokenCount(budget)};
}

INSTANTIATE_TEST_SUITE_P(
    Random, SchedulerDeviceTest,
    testing::Values(
        Workload{.name = "Full",
                 .num_blocks = 50,
                 .groups = {Full(2)},
                 .scheduler = By(SchedulingPolicy::kFcfs)},
        Workload{.name = "FullByPriority",
                 .num_blocks = 50,
                 .groups = {Full(2)},
                 .scheduler = By(SchedulingPolicy::kPriority)},
        Workload{.name = "DeduplicatedByPriority",
                 .num_blocks = 50,
                 .groups = {Full(2)},
                 .cache = {.deduplicate = true},
                 .scheduler = By(SchedulingPolicy::kPriority, 9)},
        Workload{.name = "PartialReuseByPriority",
                 .num_blocks = 40,
                 .groups = {Full(4)},
                 .cache = {.deduplicate = true, .partial_block_reuse = true},
                 .scheduler = By(SchedulingPolicy::kPriority)},
        Workload{.name = "FullAndSlidingByPriority",
                 .num_blocks = 60,
                 .groups = {Full(4), Sliding(2, 5)},
                 .scheduler = By(SchedulingPolicy::kPriority)},
        Workload{.name = "SlidingInChunks",
                 .num_blocks = 20,
                 .groups = {Sliding(2, 7)},
                 .scheduler = By(SchedulingPolicy::kFcfs, 7)},
        Workload{.name = "ChunkedAndFull",
                 .num_blocks = 50,
                 .groups = {Full(4), Chunked(4, 6)},
                 .scheduler = By(SchedulingPolicy::kPriority)},
        Workload{.name = "StateAndFull",
                 .num_blocks = 60,
                 .groups = {Full(2), State(4)},
                 .scheduler = By(SchedulingPolicy::kPriority, 11)},
        Workload{.name = "StateAndSlidingByTenants",
                 .num_blocks = 60,
                 .groups = {Full(4), State(8), Sliding(2, 5)},
                 .cache = {.tenant_quotas = {{1, BlockCount(5), BlockCount(20)},
                                             {2, BlockCount(2)}}},
                 .scheduler = By(SchedulingPolicy::kFcfs, 11)},
        Workload{.name = "LeastFrequentlyUsed",
                 .num_blocks = 50,
                 .groups = {Full(2)},
                 .cache = {.eviction_policy = "lfu"},
                 .scheduler = By(SchedulingPolicy::kPriority)}),
    [](const testing::TestParamInfo<Workload>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace pagedkv
