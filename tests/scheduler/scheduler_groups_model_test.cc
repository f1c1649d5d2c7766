// SPDX-License-Identifier: Apache-2.0
//
// Random requests with one or several sequences, in pools so small that groups
// are preempted, by recompute or by swap, one step or several at a time. A
// naive model knows which tokens each sequence has and how many of them are
// computed; a fake engine does what each plan says, on bytes, and each sequence
// must find its own tokens before each token that it computes:
//   a group is in a step as a whole, samples as a whole, and is preempted as a
//   whole; its prompt is computed once, by one sequence;
//   who is swapped out loses no token, and comes back before all others;
//   what finishes is what the model says, and every request does.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "tests/scheduler/engine_memory.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using Kind = ScheduledSequence::Kind;

constexpr TokenId kStopToken = 5;
constexpr std::uint64_t kSeed = 20231023;

struct Workload {
  std::string name;
  std::int64_t num_blocks = 0;
  std::vector<KvCacheGroupOptions> groups;
  bool prefix_caching = false;
  PrefixCacheOptions cache = {};
  SchedulerOptions scheduler = {};
  double watermark = 0;
  int num_swap_blocks = 0;  // with some, preemption is by swap
  // Resumed, some sequence finds output of its own in the prefix cache.
  bool finds_output = false;
  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

// One sequence, as the client sees it.
struct Text {
  std::vector<TokenId> tokens;
  std::int32_t computed = 0;
};

struct Model {
  std::int32_t prompt = 0;
  std::int32_t end = 0;  // tokens of a sequence at its longest
  std::int32_t min_output = 0;
  std::int32_t num_samples = 1;
  std::int32_t beam_width = 0;
  bool can_stop = false;
  bool has_branched = false;
  bool runs = false;
  bool has_spread = false;  // each text has a sequence
  bool was_preempted = false;
  bool is_swapped = false;
  std::map<std::int32_t, Text> texts;  // by index, those that have not ended

  [[nodiscard]] std::int32_t num_places() const {
    if (beam_width > 0) return beam_width;
    return has_branched ? static_cast<std::int32_t>(texts.size()) : num_samples;
  }
  [[nodiscard]] std::int32_t num_tokens() const {
    return static_cast<std::int32_t>(texts.begin()->second.tokens.size());
  }
};

class SchedulerGroupsModelTest : public testing::TestWithParam<Workload> {
 protected:
  static constexpr std::int32_t kMaxTokens = 40;

  SchedulerGroupsModelTest()
      : workload_(GetParam()),
        cache_(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(workload_.num_blocks),
                      .prefix_caching = workload_.prefix_caching,
                      .watermark = workload_.watermark},
             .groups = workload_.groups,
             .max_sequence_tokens = TokenCount(kMaxTokens),
             .max_sequences = 12,
             .max_in_flight_tokens = workload_.scheduler.max_num_batched_tokens,
             .num_swap_blocks = BlockCount(workload_.num_swap_blocks),
             .prefix_cache = workload_.cache,
             .list_fresh_blocks = !workload_.cache.partial_block_reuse})),
        scheduler_(*Scheduler::Create(workload_.scheduler, cache_)),
        memory_(workload_.groups, BlockCount(workload_.num_blocks),
                BlockCount(workload_.num_swap_blocks)) {
    std::printf("seed %d\n", static_cast<int>(kSeed));
  }

  int Below(int n) {
    return static_cast<int>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(int n) { return Below(n) == 0; }

  static std::uint64_t Mix(std::uint64_t before, std::uint64_t token) {
    std::uint64_t z = before * 0x9e3779b97f4a7c15u + token + 1;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 31);
  }
  static std::vector<std::uint64_t> ContentsOf(const Text& text) {
    std::vector<std::uint64_t> contents;
    std::uint64_t content = 0;
    for (const TokenId token : text.tokens) {
      content = Mix(content, static_cast<std::uint64_t>(token));
      contents.push_back(content);
    }
    return contents;
  }

  void Submit() {
    Model model;
    Request request;
    request.id = RequestId(next_id_++);
    Text root;
    for (int i = 1 + Below(14); i > 0; --i) {
      root.tokens.push_back(static_cast<TokenId>(Below(2)));
    }
    model.prompt = static_cast<std::int32_t>(root.tokens.size());
    const std::int32_t output = 1 + Below(16);
    model.end = std::min(model.prompt + output, kMaxTokens);
    if (OneIn(3)) {
      model.beam_width = 1 + Below(4);
    } else if (!OneIn(3)) {
      model.num_samples = 1 + Below(4);
    }
    request.num_samples = model.num_samples;
    request.beam_width = model.beam_width;
    if (model.beam_width == 0 && OneIn(2)) {
      model.can_stop = true;
      model.min_output = Below(output + 1);
      request.stop_tokens = {kStopToken};
      request.min_output_tokens = TokenCount(model.min_output);
    }
    request.num_prompt_tokens = TokenCount(model.prompt);
    if (workload_.prefix_caching) request.prompt_tokens = root.tokens;
    request.max_output_tokens = TokenCount(output);
    request.priority = Below(3);
    model.texts.emplace(0, std::move(root));

    const BlockCount needed =
        cache_.BlocksForForks(model.num_places(), request.num_prompt_tokens,
                              TokenCount(model.end - 1));
    const absl::Status status = scheduler_.Submit(request);
    if (needed > cache_.pool().num_blocks() - BlockCount(1)) {
      ASSERT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    live_.emplace(request.id, std::move(model));
  }

  void Abort() {
    auto it = live_.begin();
    std::advance(it, Below(static_cast<int>(live_.size())));
    const absl::Status status = scheduler_.Abort(it->first);
    ASSERT_TRUE(status.ok()) << status;
    live_.erase(it);
  }

  void CheckPreempted(const StepPlan& plan) {
    for (const Preemption& preemption : plan.preempted) {
      Model& model = live_.at(preemption.request);
      ASSERT_TRUE(model.runs);
      model.runs = false;
      model.was_preempted = true;
      num_group_preemptions_ += model.num_places() > 1 ? 1 : 0;
      if (preemption.mode == PreemptionMode::kSwap) {
        ASSERT_EQ(workload_.scheduler.preemption, PreemptionMode::kSwap);
        ASSERT_EQ(preemption.tokens_lost, TokenCount(0));
        ASSERT_EQ(scheduler_.SequenceOf(preemption.request), std::nullopt);
        ASSERT_FALSE(plan.swap_out.empty());
        model.is_swapped = true;
        ++num_swapped_out_;
        continue;
      }
      std::int32_t lost = 0;
      if (model.has_spread) lost = model.prompt;
      for (auto& [index, text] : model.texts) {
        lost += text.computed - (model.has_spread ? model.prompt : 0);
        text.computed = 0;
      }
      ASSERT_EQ(preemption.tokens_lost, TokenCount(lost));
      num_recomputed_ += lost > 0 ? 1 : 0;
      model.has_spread = false;
    }
  }

  // What the plan says of one request: `entries`, side by side.
  void CheckEntries(std::span<const ScheduledSequence> entries,
                    std::int32_t num_steps) {
    const RequestId id = entries[0].request;
    Model& model = live_.at(id);
    ASSERT_TRUE(scheduled_.insert(id).second) << id << " stands in two places";
    const bool is_group = model.num_samples > 1 || model.beam_width > 0;
    if (entries[0].kind != Kind::kRunning) {
      ASSERT_FALSE(model.runs);
      ASSERT_EQ(entries[0].kind == Kind::kResumed, model.was_preempted);
      model.runs = true;
      if (model.is_swapped) {
        model.is_swapped = false;
      } else {
        for (const auto& [other, waiting] : live_) {
          ASSERT_FALSE(waiting.is_swapped) << id << " overtakes " << other;
        }
        model.texts.begin()->second.computed = entries[0].num_computed;
        ASSERT_TRUE(workload_.prefix_caching || entries[0].num_computed == 0);
      }
    }
    ASSERT_TRUE(model.runs);
    if (!model.has_spread) {
      ASSERT_EQ(entries.size(), 1u);
      ASSERT_EQ(entries[0].sequence_index, model.texts.begin()->first);
    }
    const bool samples = entries[0].samples;
    ASSERT_TRUE(!samples || !model.has_spread ||
                entries.size() == model.texts.size());
    std::int32_t last_index = -1;
    for (const ScheduledSequence& entry : entries) {
      ASSERT_GT(entry.sequence_index, last_index);
      last_index = entry.sequence_index;
      ASSERT_EQ(entry.sequence, scheduler_.SequenceOf(id, last_index));
      ASSERT_EQ(entry.samples, samples) << id;
      ASSERT_EQ(entry.kind, entries[0].kind) << id;
      Text& text = model.texts.at(last_index);
      ASSERT_EQ(entry.num_computed, text.computed) << id;
      ASSERT_GT(entry.num_tokens, 0);
      ASSERT_TRUE(num_steps == 1 ||
                  (entry.num_tokens == 1 && entry.kind == Kind::kRunning));
      text.computed += entry.num_tokens * num_steps;
      const std::int32_t known = model.num_tokens() + num_steps - 1;
      ASSERT_LE(text.computed, known);
      ASSERT_LT(known, model.end);
      if (is_group && !model.has_spread) {
        ASSERT_LE(text.computed, model.prompt) << "not once for all";
      }
      ASSERT_EQ(entry.samples, text.computed == known);
      std::int32_t expected = samples ? 1 : 0;
      if (samples && !model.has_branched) expected = model.num_samples;
      if (model.beam_width > 0) expected = 0;
      ASSERT_EQ(entry.num_samples, expected);
    }
  }

  void CheckPlan(const StepPlan& plan) {
    CheckPreempted(plan);
    if (HasFatalFailure()) return;
    scheduled_.clear();
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < plan.scheduled.size();) {
      std::size_t end = i;
      while (end < plan.scheduled.size() &&
             plan.scheduled[end].request == plan.scheduled[i].request) {
        sum += plan.scheduled[end++].num_tokens;
      }
      CheckEntries(plan.scheduled.subspan(i, end - i), plan.num_steps);
      if (HasFatalFailure()) return;
      i = end;
    }
    ASSERT_EQ(plan.num_tokens, TokenCount(sum));
    ASSERT_LE(plan.num_tokens, workload_.scheduler.max_num_batched_tokens);
    std::int32_t places = 0;
    for (const auto& [id, model] : live_) {
      if (model.runs) places += model.num_places();
    }
    ASSERT_EQ(scheduler_.num_running_sequences(), places);
    ASSERT_LE(places, workload_.scheduler.max_num_seqs);
  }

  BlockId BlockOf(const ScheduledSequence& entry, std::size_t g,
                  std::int64_t position) {
    const int group = static_cast<int>(g);
    return cache_.block_table(entry.sequence, group)[static_cast<std::size_t>(
        position / cache_.block_size(group).value())];
  }
  static std::int64_t FirstVisible(const KvCacheGroupOptions& group,
                                   std::int64_t position) {
    if (group.kind != AttentionKind::kSlidingWindow) return 0;
    return std::max<std::int64_t>(0, position - group.window.value() + 1);
  }

  // For each entry: what the model will sample, step by step.
  void Sample(const StepPlan& plan) {
    samples_.clear();
    for (const ScheduledSequence& entry : plan.scheduled) {
      samples_.emplace_back();
      for (int i = entry.num_samples * plan.num_steps; i > 0; --i) {
        samples_.back().push_back(Below(6));
      }
    }
  }

  void Execute(const StepPlan& plan) {
    memory_.Move(plan);
    contents_.clear();
    for (std::size_t i = 0; i < plan.scheduled.size(); ++i) {
      const ScheduledSequence& entry = plan.scheduled[i];
      Text text = live_.at(entry.request).texts.at(entry.sequence_index);
      if (plan.num_steps > 1) {
        text.tokens.insert(text.tokens.end(), samples_[i].begin(),
                           samples_[i].end());
      }
      contents_.push_back(ContentsOf(text));
    }
    const std::int64_t num_slots = plan.num_tokens.value() * plan.num_steps;
    for (std::size_t g = 0; g < workload_.groups.size(); ++g) {
      ASSERT_EQ(std::ssize(plan.slot_mapping[g]), num_slots);
    }
    std::size_t slot = 0;
    for (std::int32_t step = 0; step < plan.num_steps; ++step) {
      for (std::size_t g = 0; g < workload_.groups.size(); ++g) {
        ExecuteGroup(plan, step, g,
                     std::span(plan.slot_mapping[g]).subspan(slot));
        if (HasFatalFailure()) return;
      }
      slot += static_cast<std::size_t>(plan.num_tokens.value());
    }
    memory_.OverwriteFree(cache_.pool());
  }
  void ExecuteGroup(const StepPlan& plan, std::int32_t step, std::size_t g,
                    std::span<const std::int64_t> slots) {
    const KvCacheGroupOptions& group = workload_.groups[g];
    const std::int64_t size = group.block_size.value();
    const bool is_state = group.kind == AttentionKind::kStateSpace;
    std::size_t slot = 0;
    for (std::size_t i = 0; i < plan.scheduled.size(); ++i) {
      const ScheduledSequence& entry = plan.scheduled[i];
      const auto cell = [&](std::int64_t position) {
        return Cell{contents_[i][static_cast<std::size_t>(position)], g};
      };
      const std::int64_t begin = entry.num_computed + step;
      const std::int64_t end = begin + entry.num_tokens;
      if (is_state) {
        if (const std::int64_t last = begin - 1; last >= 0) {
          ASSERT_EQ(memory_.Read(BlockOf(entry, g, last), 0), cell(last))
              << "state";
        }
        memory_.Write(BlockOf(entry, g, end - 1), 0, cell(end - 1));
        continue;
      }
      for (std::int64_t p = begin; p < end; ++p, ++slot) {
        const std::int64_t where = slots[slot];
        ASSERT_GE(where, size) << "in the null block";
        memory_.Write(BlockId(static_cast<std::int32_t>(where / size)),
                      where % size, cell(p));
      }
    }
    if (is_state) return;
    for (std::size_t i = 0; i < plan.scheduled.size(); ++i) {
      const ScheduledSequence& entry = plan.scheduled[i];
      const std::int64_t begin = entry.num_computed + step;
      const std::int64_t end = begin + entry.num_tokens;
      for (std::int64_t p = FirstVisible(group, begin); p < end; ++p) {
        const Cell expected{contents_[i][static_cast<std::size_t>(p)], g};
        ASSERT_EQ(memory_.Read(BlockOf(entry, g, p), p % size), expected)
            << entry.request << "." << entry.sequence_index << ", token " << p
            << " of " << end << ", group " << g;
      }
    }
  }

  // Reports what was sampled, and moves the model on.
  void Report(const StepPlan& plan) {
    std::vector<TokenId> sampled;
    std::vector<std::vector<BeamSurvivor>> survivors;
    std::vector<BeamUpdate> beams;
    survivors.reserve(plan.scheduled.size());
    std::vector<FinishedRequest> expected;
    for (std::size_t i = 0; i < plan.scheduled.size();) {
      const ScheduledSequence& entry = plan.scheduled[i];
      std::size_t end = i;
      std::vector<TokenId> tokens;
      while (end < plan.scheduled.size() &&
             plan.scheduled[end].request == entry.request) {
        tokens.insert(tokens.end(), samples_[end].begin(), samples_[end].end());
        ++end;
      }
      sampled.insert(sampled.end(), tokens.begin(), tokens.end());
      const bool is_beam = entry.samples && entry.num_samples == 0;
      if (is_beam) {
        survivors.emplace_back();
        const int width = static_cast<int>(end - i);
        const auto live = live_.find(entry.request);
        int count = live == live_.end() || OneIn(20)
                        ? 0
                        : 1 + Below(live->second.beam_width);
        for (; count > 0; --count) {
          survivors.back().push_back({Below(width), Below(3)});
        }
        beams.push_back({entry.request, survivors.back()});
      }
      const auto live = live_.find(entry.request);
      if (live != live_.end()) {
        Advance(live->second, entry, plan.num_steps, tokens,
                is_beam ? &survivors.back() : nullptr, expected);
      }
      i = end;
    }
    if (!beams.empty() && OneIn(4)) TryWrongBeams(sampled, beams);
    const auto finished = scheduler_.Update(sampled, beams);
    ASSERT_TRUE(finished.ok()) << finished.status();
    ASSERT_EQ(finished->size(), expected.size());
    CheckSpread();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const FinishedRequest& actual = (*finished)[i];
      ASSERT_EQ(actual.id, expected[i].id);
      ASSERT_EQ(actual.reason, expected[i].reason);
      ASSERT_EQ(actual.num_output_tokens, expected[i].num_output_tokens);
      ASSERT_EQ(actual.sequence_index, expected[i].sequence_index);
      ASSERT_EQ(actual.ends_request, expected[i].ends_request);
      if (actual.ends_request) live_.erase(actual.id);
    }
  }

  // Who spread after its prompt was computed again may have found more of
  // itself, and has no less than the prompt.
  void CheckSpread() {
    for (const RequestId id : spread_) {
      Model& model = live_.at(id);
      for (auto& [index, text] : model.texts) {
        const std::optional<SequenceId> sequence =
            scheduler_.SequenceOf(id, index);
        ASSERT_TRUE(sequence.has_value());
        const auto tokens =
            static_cast<std::int32_t>(cache_.num_tokens(*sequence).value());
        ASSERT_GE(tokens, model.prompt);
        ASSERT_LT(tokens, model.num_tokens());
        ASSERT_TRUE(workload_.prefix_caching || tokens == model.prompt);
        num_found_ += tokens - model.prompt;
        text.computed = tokens;
      }
    }
    spread_.clear();
  }

  void TryWrongBeams(const std::vector<TokenId>& sampled,
                     std::vector<BeamUpdate> beams) {
    const std::vector<BeamSurvivor> nobodys = {{99, 1}};
    BeamUpdate& beam =
        beams[static_cast<std::size_t>(Below(static_cast<int>(beams.size())))];
    if (OneIn(2) || !live_.contains(beam.request)) {
      beam.request = RequestId(0);
    } else {
      beam.survivors = nobodys;
    }
    ASSERT_EQ(scheduler_.Update(sampled, beams).status().code(),
              absl::StatusCode::kInvalidArgument);
    const absl::Status sound = scheduler_.CheckInvariants();
    ASSERT_TRUE(sound.ok()) << sound;
  }

  void Advance(Model& model, const ScheduledSequence& entry,
               std::int32_t num_steps, const std::vector<TokenId>& tokens,
               const std::vector<BeamSurvivor>* survivors,
               std::vector<FinishedRequest>& expected) {
    if (!entry.samples) {
      Text& first = model.texts.begin()->second;
      const bool is_group = model.num_samples > 1 || model.beam_width > 0;
      if (is_group && !model.has_spread && first.computed == model.prompt) {
        spread_.push_back(entry.request);
        model.has_spread = true;
      }
      return;
    }
    const std::int32_t length = model.num_tokens() + 1;
    std::map<std::int32_t, Text> next;
    const auto extend = [&](const Text& text, TokenId token) {
      Text longer = text;
      longer.tokens.push_back(token);
      return longer;
    };
    if (survivors != nullptr) {
      if (survivors->empty() || length == model.end) {
        expected.push_back(
            {.id = entry.request,
             .reason = survivors->empty() ? FinishReason::kStop
                                          : FinishReason::kLength,
             .num_output_tokens = TokenCount(length - model.prompt)});
        return;
      }
      for (const BeamSurvivor& survivor : *survivors) {
        next.emplace(static_cast<std::int32_t>(next.size()),
                     extend(model.texts.at(survivor.parent), survivor.token));
      }
    } else {
      std::map<std::int32_t, Text> parents = model.texts;
      if (!model.has_branched) {
        for (std::int32_t i = 1; i < model.num_samples; ++i) {
          parents.emplace(i, model.texts.at(0));
        }
      }
      std::size_t left = parents.size();
      std::size_t sample = 0;
      for (const auto& [index, text] : parents) {
        Text longer = text;
        bool stops = false;
        for (std::int32_t step = 0; step < num_steps; ++step) {
          const TokenId token = tokens[sample + static_cast<std::size_t>(step)];
          longer = extend(longer, token);
          stops = model.can_stop && token == kStopToken &&
                  std::ssize(longer.tokens) - model.prompt >= model.min_output;
          if (stops) break;
        }
        sample += static_cast<std::size_t>(num_steps);
        if (!stops && std::ssize(longer.tokens) < model.end) {
          next.emplace(index, std::move(longer));
          continue;
        }
        num_early_stops_ += std::ssize(longer.tokens) < length - 1 + num_steps;
        expected.push_back(
            {.id = entry.request,
             .reason = stops ? FinishReason::kStop : FinishReason::kLength,
             .num_output_tokens =
                 TokenCount(std::ssize(longer.tokens) - model.prompt),
             .sequence_index = index,
             .ends_request = --left == 0});
      }
    }
    model.texts = std::move(next);
    model.has_branched = true;
    model.has_spread = model.num_samples > 1 || model.beam_width > 0;
  }

  void Step(bool disturb) {
    const std::int32_t max_steps = OneIn(2) ? 1 : 1 + Below(9);
    const absl::StatusOr<StepPlan> plan = scheduler_.Schedule(max_steps);
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_LE(plan->num_steps, max_steps);
    num_steps_saved_ += plan->num_steps - 1;
    CheckPlan(*plan);
    Sample(*plan);
    if (!HasFatalFailure()) Execute(*plan);
    if (!HasFatalFailure() && disturb && !live_.empty() && OneIn(60)) Abort();
    if (!HasFatalFailure()) Report(*plan);
    if (HasFatalFailure()) return;
    const absl::Status sound = scheduler_.CheckInvariants();
    ASSERT_TRUE(sound.ok()) << sound;
  }

  Workload workload_;
  std::mt19937_64 random_{kSeed};
  KvCacheManager cache_;
  Scheduler scheduler_;
  EngineMemory memory_;
  std::uint64_t next_id_ = 1;
  std::map<RequestId, Model> live_;
  std::set<RequestId> scheduled_;  // in this step
  std::vector<RequestId> spread_;  // by this step, resumed
  std::int64_t num_group_preemptions_ = 0;
  std::int64_t num_swapped_out_ = 0;  // requests
  std::int64_t num_recomputed_ = 0;   // requests that had computed something
  std::int64_t num_found_ = 0;
  std::int64_t num_steps_saved_ = 0;  // by plans of several
  std::int64_t num_early_stops_ = 0;  // by a stop token in such a plan

  // Of the step under way, by entry of the plan.
  std::vector<std::vector<TokenId>> samples_;
  std::vector<std::vector<std::uint64_t>> contents_;
};

TEST_P(SchedulerGroupsModelTest, EverySequenceFindsItsOwnTokensAndFinishes) {
  for (int step = 0; step < 6000; ++step) {
    SCOPED_TRACE(testing::Message() << "step " << step);
    while (live_.size() < 8 && !OneIn(3) && !HasFatalFailure()) Submit();
    if (!live_.empty() && OneIn(80)) Abort();
    if (!HasFatalFailure()) Step(/*disturb=*/true);
    if (HasFatalFailure()) return;
  }
  for (int step = 0; step < 3000 && !live_.empty(); ++step) {
    Step(/*disturb=*/false);
    if (HasFatalFailure()) return;
  }
  EXPECT_TRUE(live_.empty()) << "some request never finishes";
  EXPECT_GT(num_group_preemptions_, 0);
  EXPECT_GT(num_steps_saved_, 0);
  EXPECT_GT(num_early_stops_, 0);
  EXPECT_GE(num_found_, workload_.finds_output ? 1 : 0);
  EXPECT_EQ(cache_.pool().num_used(), BlockCount(0));
  EXPECT_EQ(cache_.num_sequences(), 0);
  EXPECT_EQ(num_swapped_out_ > 0, workload_.num_swap_blocks > 0);
  // Where the swap space is too small for some.
  EXPECT_EQ(num_recomputed_ > 0,
            workload_.num_swap_blocks < workload_.num_blocks);
  Step(/*disturb=*/false);  // the last swap blocks that were read are free
  EXPECT_EQ(cache_.num_free_swap_blocks(), cache_.num_swap_blocks());
}

SchedulerOptions By(SchedulingPolicy policy, int budget,
                    bool reserve_full_prompt = true) {
  return {.policy = policy,
          .max_num_batched_tokens = TokenCount(budget),
          .max_num_seqs = 9,
          .reserve_full_prompt = reserve_full_prompt};
}

std::vector<Workload> Workloads() {
  constexpr auto kFcfs = SchedulingPolicy::kFcfs;
  constexpr auto kPriority = SchedulingPolicy::kPriority;
  return {
      {.name = "Fcfs",
       .num_blocks = 30,
       .groups = {Full(4)},
       .scheduler = By(kFcfs, 24)},
      {.name = "FcfsTinyPool",
       .num_blocks = 14,
       .groups = {Full(4)},
       .scheduler = By(kFcfs, 24)},
      {.name = "FcfsTinyBudget",
       .num_blocks = 32,
       .groups = {Full(2)},
       .scheduler = By(kFcfs, 4, /*reserve_full_prompt=*/false)},
      {.name = "FcfsThresholdAndWatermark",
       .num_blocks = 40,
       .groups = {Full(2), Full(3)},
       .scheduler = {.max_num_batched_tokens = TokenCount(16),
                     .max_num_seqs = 8,
                     .long_prefill_token_threshold = TokenCount(3)},
       .watermark = 0.1},
      {.name = "FcfsNoChunks",
       .num_blocks = 24,
       .groups = {Full(4)},
       .scheduler = {.max_num_batched_tokens = TokenCount(40),
                     .max_num_seqs = 8,
                     .chunked_prefill = false}},
      {.name = "Priority",
       .num_blocks = 26,
       .groups = {Full(4)},
       .scheduler = By(kPriority, 20)},
      {.name = "CachedFcfs",
       .num_blocks = 50,
       .groups = {Full(2)},
       .prefix_caching = true,
       .scheduler = By(kFcfs, 16),
       .finds_output = true},
      {.name = "CachedTinyPool",
       .num_blocks = 14,
       .groups = {Full(4)},
       .prefix_caching = true,
       .scheduler = By(kFcfs, 24),
       .finds_output = true},
      {.name = "CachedPriorityDeduplicated",
       .num_blocks = 40,
       .groups = {Full(2)},
       .prefix_caching = true,
       .cache = {.deduplicate = true},
       .scheduler = By(kPriority, 12),
       .finds_output = true},
      {.name = "CachedPartialReuse",
       .num_blocks = 26,
       .groups = {Full(4)},
       .prefix_caching = true,
       .cache = {.partial_block_reuse = true},
       .scheduler = By(kFcfs, 20),
       .finds_output = true},
      {.name = "CachedFullAndSliding",
       .num_blocks = 60,
       .groups = {Full(4), Sliding(2, 5)},
       .prefix_caching = true,
       .scheduler = By(kPriority, 16)},
      {.name = "CachedStateAndFull",
       .num_blocks = 60,
       .groups = {Full(2), State(4)},
       .prefix_caching = true,
       .scheduler = By(kFcfs, 12)},
      {.name = "CachedLeastFrequentlyUsed",
       .num_blocks = 40,
       .groups = {Full(2)},
       .prefix_caching = true,
       .cache = {.eviction_policy = "lfu"},
       .scheduler = By(kPriority, 16),
       .finds_output = true},
  };
}

// The same, by swap, in turns with a swap space for all and for few blocks.
std::vector<Workload> SwapWorkloads() {
  std::vector<Workload> workloads = Workloads();
  bool is_tiny = false;
  for (Workload& workload : workloads) {
    workload.scheduler.preemption = PreemptionMode::kSwap;
    workload.num_swap_blocks =
        is_tiny ? 5 : static_cast<int>(8 * workload.num_blocks);
    workload.finds_output = false;
    is_tiny = !is_tiny;
  }
  return workloads;
}

std::string NameOf(const testing::TestParamInfo<Workload>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Random, SchedulerGroupsModelTest,
                         testing::ValuesIn(Workloads()), NameOf);
INSTANTIATE_TEST_SUITE_P(Swap, SchedulerGroupsModelTest,
                         testing::ValuesIn(SwapWorkloads()), NameOf);

}  // namespace
}  // namespace pagedkv
