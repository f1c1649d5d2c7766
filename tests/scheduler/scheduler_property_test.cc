// SPDX-License-Identifier: Apache-2.0
//
// Random workloads over many options. A naive model of the two queues and an
// engine that keeps a mirror of the tables and the bytes of each slot follow
// the scheduler; each plan must agree with them:
//   budget, number of sequences, thresholds and chunks are respected;
//   admission, preemption and resumption follow the order of the policy;
//   who computed something is swapped out if and only if there is room for it;
//   no slot is written twice in a step, each is the one that the table names,
//   and every running request still has what was computed for it;
//   every request finishes, and then no block is lost.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"

namespace pagedkv {
namespace {

constexpr TokenId kStopToken = 7;
constexpr std::int64_t kPlenty = 1000;  // swap blocks for all that ever run

struct Workload {
  std::string name;
  SchedulerOptions scheduler;
  std::int64_t num_blocks = 0;
  std::vector<std::int32_t> block_sizes;
  std::int32_t max_sequence_tokens = 0;
  std::int32_t max_prompt = 0;
  std::int32_t max_output = 0;
  double watermark = 0.0;
  bool is_tight = true;  // some requests are preempted
  std::int64_t num_swap_blocks = 0;

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

struct ModelRequest {
  RequestId id;
  std::int64_t submission = 0;
  std::int32_t prompt = 0;
  std::int32_t min_output = 0;
  std::int32_t end = 0;  // its length when it has all its output tokens
  bool can_stop = false;
  std::int32_t priority = 0;
  std::int64_t arrival = 0;

  std::int32_t tokens = 0;    // known
  std::int32_t computed = 0;  // of them
  bool was_preempted = false;
  bool is_swapped = false;
  bool in_plan = false;
  SequenceId sequence;
};

class SchedulerPropertyTest
    : public testing::TestWithParam<std::tuple<Workload, std::uint64_t>> {
 protected:
  SchedulerPropertyTest()
      : workload_(std::get<0>(GetParam())),
        options_(workload_.scheduler),
        random_(std::get<1>(GetParam())),
        cache_(*KvCacheManager::Create(CacheOptions(workload_))),
        scheduler_(*Scheduler::Create(options_, cache_)),
        mirrors_(workload_.block_sizes.size()) {
    for (const std::int32_t size : workload_.block_sizes) {
      const auto slots = static_cast<std::size_t>(workload_.num_blocks * size);
      written_in_step_.emplace_back(slots, -1);
      content_.emplace_back(slots);
      swap_content_.emplace_back(
          static_cast<std::size_t>((workload_.num_swap_blocks + 1) * size));
    }
  }

  static KvCacheManagerOptions CacheOptions(const Workload& workload) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(workload.num_blocks),
                    .watermark = workload.watermark};
    options.groups.clear();
    for (const std::int32_t size : workload.block_sizes) {
      options.groups.push_back({.block_size = BlockSize(size)});
    }
    options.max_sequence_tokens = TokenCount(workload.max_sequence_tokens);
    options.num_swap_blocks = BlockCount(workload.num_swap_blocks);
    return options;
  }

  std::int32_t Below(std::int32_t n) {
    return static_cast<std::int32_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(std::int32_t n) { return Below(n) == 0; }
  [[nodiscard]] bool IsFcfs() const {
    return options_.policy == SchedulingPolicy::kFcfs;
  }
  ModelRequest& Get(RequestId id) { return live_.at(id); }

  // Whether `a` is admitted before `b`, both waiting, by priority.
  bool IsMoreImportant(RequestId a, RequestId b) {
    const ModelRequest& x = Get(a);
    const ModelRequest& y = Get(b);
    return std::tuple(x.priority, x.arrival, x.id) <
           std::tuple(y.priority, y.arrival, y.id);
  }

  // Who is swapped out is among the first.
  void Enqueue(RequestId id, bool in_front) {
    const auto first_other = std::partition_point(
        waiting_.begin(), waiting_.end(),
        [this](RequestId other) { return Get(other).is_swapped; });
    const bool is_swapped = Get(id).is_swapped;
    const auto begin = is_swapped ? waiting_.begin() : first_other;
    const auto end = is_swapped ? first_other : waiting_.end();
    if (!IsFcfs()) {
      waiting_.insert(std::upper_bound(begin, end, id,
                                       [this](RequestId a, RequestId b) {
                                         return IsMoreImportant(a, b);
                                       }),
                      id);
    } else {
      waiting_.insert(in_front ? begin : end, id);
    }
  }

  void Submit() {
    ModelRequest request;
    request.id = RequestId(next_id_++);
    request.submission = static_cast<std::int64_t>(request.id.value());
    request.prompt = 1 + Below(workload_.max_prompt);
    const std::int32_t output = 1 + Below(workload_.max_output);
    request.min_output = OneIn(3) ? Below(output + 1) : 0;
    request.can_stop = OneIn(3);
    request.priority = Below(4);
    request.arrival = Below(1000);
    request.tokens = request.prompt;
    request.end =
        request.prompt +
        std::min(output, workload_.max_sequence_tokens - request.prompt);
    Request submitted{.id = request.id,
                      .num_prompt_tokens = TokenCount(request.prompt),
                      .max_output_tokens = TokenCount(output),
                      .min_output_tokens = TokenCount(request.min_output),
                      .priority = request.priority,
                      .arrival = request.arrival};
    if (request.can_stop) submitted.stop_tokens = {kStopToken, 8};
    const absl::Status status = scheduler_.Submit(submitted);

    const BlockCount needed = cache_.BlocksFor(TokenCount(request.end - 1));
    if (needed.value() > workload_.num_blocks - 1) {
      ASSERT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      ASSERT_THAT(
          std::string(status.message()),
          testing::AllOf(
              testing::HasSubstr(std::to_string(request.id.value())),
              testing::HasSubstr(std::to_string(request.prompt)),
              testing::HasSubstr(std::to_string(needed.value())),
              testing::HasSubstr(std::to_string(workload_.num_blocks - 1))));
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    live_.emplace(request.id, request);
    Enqueue(request.id, /*in_front=*/false);
  }

  // One request, or nearly all at once.
  void AbortSome() {
    const auto left = OneIn(10) ? std::size_t{3} : live_.size() - 1;
    while (!live_.empty() && live_.size() > left && !HasFatalFailure()) {
      auto it = live_.begin();
      std::advance(it, Below(static_cast<std::int32_t>(live_.size())));
      const RequestId id = it->first;
      const absl::Status status = scheduler_.Abort(id);
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_EQ(scheduler_.Abort(id).code(), absl::StatusCode::kNotFound);
      End(id);
    }
  }

  void End(RequestId id) {
    if (Get(id).is_swapped) swap_blocks_ -= BlocksOf(Get(id));
    std::erase(waiting_, id);
    std::erase(running_, id);
    live_.erase(id);
    ended_.push_back(id);
  }

  // One step of the engine. With `disturb`, clients come and go while it runs.
  void Step(bool disturb) {
    const absl::StatusOr<StepPlan> plan = scheduler_.Schedule();
    ASSERT_TRUE(plan.ok()) << plan.status();
    ASSERT_TRUE(std::equal(plan->ended.begin(), plan->ended.end(),
                           ended_.begin(), ended_.end()));
    ended_.clear();
    for (auto& [id, request] : live_) request.in_plan = false;
    CheckPreemptions(*plan);
    if (!HasFatalFailure()) CheckScheduled(*plan);
    if (!HasFatalFailure()) CheckAdmissionBlock(*plan);
    if (!HasFatalFailure()) CheckQueues();
    if (!HasFatalFailure()) Execute(*plan);
    while (disturb && !HasFatalFailure() && OneIn(8)) Submit();
    if (disturb && OneIn(100)) AbortSome();
    if (!HasFatalFailure()) Report(*plan);
  }

  // In the order of the plan: by policy, for somebody who needs blocks.
  void CheckPreemptions(const StepPlan& plan) {
    num_preempted_ += std::ssize(plan.preempted);
    for (const Preemption& preemption : plan.preempted) {
      ASSERT_FALSE(running_.empty());
      std::size_t victim = running_.size() - 1;
      if (!IsFcfs()) {
        for (std::size_t i = running_.size(); i-- > 0;) {
          const ModelRequest& a = Get(running_[i]);
          const ModelRequest& b = Get(running_[victim]);
          if (std::pair(a.priority, a.arrival) >=
              std::pair(b.priority, b.arrival)) {
            victim = i;
          }
        }
      }
      ASSERT_EQ(preemption.request, running_[victim]);
      ASSERT_TRUE(std::find(running_.begin(), running_.end(),
                            preemption.on_behalf_of) != running_.end());
      // Alone, a request has room: else it would have been refused.
      ASSERT_GT(running_.size(), 1u);
      ModelRequest& request = Get(preemption.request);
      ASSERT_GT(preemption.blocks_needed, preemption.blocks_free);
      request.is_swapped =
          options_.preemption == PreemptionMode::kSwap &&
          request.computed > 0 &&
          swap_blocks_ + BlocksOf(request) <= workload_.num_swap_blocks;
      ASSERT_EQ(preemption.mode, request.is_swapped
                                     ? PreemptionMode::kSwap
                                     : PreemptionMode::kRecompute);
      if (request.is_swapped) {
        ASSERT_EQ(preemption.tokens_lost, TokenCount(0));
        swap_blocks_ += BlocksOf(request);
        ++num_swapped_;
      } else {
        ASSERT_EQ(preemption.tokens_lost, TokenCount(request.computed));
        num_recomputed_ += request.computed > 0 ? 1 : 0;
        request.computed = 0;
      }
      request.was_preempted = true;
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(victim));
      Enqueue(preemption.request, /*in_front=*/true);
    }
  }
  std::int64_t BlocksOf(const ModelRequest& request) const {
    return cache_.BlocksFor(TokenCount(request.computed)).value();
  }

  void CheckScheduled(const StepPlan& plan) {
    std::int64_t sum = 0;
    std::size_t next_running = 0;  // running ones come first, in their order
    for (const ScheduledSequence& entry : plan.scheduled) {
      ModelRequest& request = Get(entry.request);
      ASSERT_FALSE(request.in_plan) << entry.request << " twice";
      request.in_plan = true;
      if (entry.kind == ScheduledSequence::Kind::kRunning) {
        while (next_running < running_.size() &&
               running_[next_running] != entry.request) {
          ++next_running;
        }
        ASSERT_LT(next_running, running_.size()) << entry.request;
        ASSERT_EQ(entry.sequence, request.sequence);
      } else {
        ASSERT_TRUE(plan.preempted.empty());
        ASSERT_EQ(entry.request, waiting_.front()) << "overtakes";
        waiting_.pop_front();
        running_.push_back(entry.request);
        next_running = running_.size();
        if (request.is_swapped) {
          ASSERT_EQ(entry.sequence, request.sequence);
          read_blocks_ += BlocksOf(request);
          request.is_swapped = false;
        }
        request.sequence = entry.sequence;
        ASSERT_EQ(entry.kind == ScheduledSequence::Kind::kResumed,
                  request.was_preempted);
      }
      const std::int32_t lacking = request.tokens - request.computed;
      const std::int32_t wanted = Chunk(lacking);
      ASSERT_EQ(entry.num_computed, request.computed);
      ASSERT_GE(entry.num_tokens, 1);
      ASSERT_LE(entry.num_tokens, wanted);
      if (entry.num_tokens < wanted) {
        // Cut by the budget, which grows again only where a preempted request
        // gives back what it had of this step.
        ASSERT_TRUE(options_.chunked_prefill);
        ASSERT_TRUE(plan.num_tokens == options_.max_num_batched_tokens ||
                    (!IsFcfs() && !plan.preempted.empty()));
      }
      ASSERT_EQ(entry.samples, entry.num_tokens == lacking);
      ASSERT_TRUE(cache_.IsLive(entry.sequence));
      ASSERT_EQ(cache_.num_tokens(entry.sequence),
                TokenCount(entry.num_computed + entry.num_tokens));
      sum += entry.num_tokens;
    }
    ASSERT_EQ(plan.num_tokens, TokenCount(sum));
    ASSERT_LE(plan.num_tokens, options_.max_num_batched_tokens);
    ASSERT_LE(std::ssize(running_), options_.max_num_seqs);
    // Nobody who runs is left out while there is budget. By priority, though,
    // the running part ends where a request preempts itself, and that may be
    // the first; FCFS that one is the last.
    const bool gave_up =
        !plan.preempted.empty() &&
        plan.preempted.back().request == plan.preempted.back().on_behalf_of;
    const bool may_omit = plan.num_tokens == options_.max_num_batched_tokens ||
                          (gave_up && !IsFcfs());
    for (const RequestId id : running_) {
      ASSERT_TRUE(may_omit || Get(id).in_plan) << id;
    }
    if (IsFcfs()) {
      ASSERT_EQ(sum > 0, !live_.empty());
    }
  }

  [[nodiscard]] std::int32_t Chunk(std::int32_t lacking) const {
    const auto threshold = static_cast<std::int32_t>(
        options_.long_prefill_token_threshold.value());
    return threshold > 0 ? std::min(threshold, lacking) : lacking;
  }

  // Nobody waits who could have been admitted.
  void CheckAdmissionBlock(const StepPlan& plan) {
    ASSERT_EQ(plan.admission_block == AdmissionBlock::kNone, waiting_.empty());
    if (waiting_.empty()) return;
    const ModelRequest& head = Get(waiting_.front());
    const TokenCount budget = options_.max_num_batched_tokens - plan.num_tokens;
    const TokenCount computed(head.computed);  // swapped out, or 0
    const TokenCount chunk(Chunk(head.tokens - head.computed));
    const BlockCount needed = cache_.BlocksFor(
        options_.reserve_full_prompt ? TokenCount(head.tokens)
                                     : computed + std::min(chunk, budget));
    const BlockCount free = cache_.pool().num_free();
    switch (plan.admission_block) {
      case AdmissionBlock::kPreempted:
        ASSERT_FALSE(plan.preempted.empty());
        return;
      case AdmissionBlock::kTokenBudget:
        ASSERT_TRUE(budget == TokenCount(0) ||
                    (!options_.chunked_prefill && chunk > budget));
        break;
      case AdmissionBlock::kSequences:
        ASSERT_EQ(std::ssize(running_), options_.max_num_seqs);
        break;
      case AdmissionBlock::kBlocks:
        ASSERT_GT(needed, free);
        break;
      case AdmissionBlock::kWatermark:
        ASSERT_FALSE(running_.empty());
        ASSERT_LE(needed, free);
        ASSERT_GT(needed + cache_.pool().watermark_blocks(), free);
        break;
      case AdmissionBlock::kNone:
        break;
    }
    ASSERT_TRUE(plan.preempted.empty());
  }

  void CheckQueues() {
    ASSERT_EQ(scheduler_.num_running(), std::ssize(running_));
    ASSERT_EQ(scheduler_.num_waiting(), std::ssize(waiting_));
    if (!IsCheckedStep()) return;
    const std::vector<RequestId> running = scheduler_.Running();
    const std::vector<RequestId> waiting = scheduler_.Waiting();
    ASSERT_TRUE(std::equal(running.begin(), running.end(), running_.begin(),
                           running_.end()));
    ASSERT_TRUE(std::equal(waiting.begin(), waiting.end(), waiting_.begin(),
                           waiting_.end()));
    const absl::Status invariants = scheduler_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
  }

  // Takes the deltas over and writes the step's tokens.
  void Execute(const StepPlan& plan) {
    ASSERT_TRUE(plan.copies.empty());
    for (const BlockSwap& swap : plan.swap_out) {
      std::copy_n(SlotOf(content_, swap.group, swap.block), swap.num_tokens,
                  SlotOf(swap_content_, swap.group, swap.swap_block));
    }
    for (const BlockSwap& swap : plan.swap_in) {
      std::copy_n(SlotOf(swap_content_, swap.group, swap.swap_block),
                  swap.num_tokens, SlotOf(content_, swap.group, swap.block));
    }
    ASSERT_EQ(plan.swap_in.size(), static_cast<std::size_t>(read_blocks_));
    swap_blocks_ -= std::exchange(read_blocks_, 0);
    ASSERT_EQ(plan.slot_mapping.size(), workload_.block_sizes.size());
    for (std::size_t g = 0; g < plan.slot_mapping.size(); ++g) {
      const auto group = static_cast<int>(g);
      const DenseBlockTables dense = cache_.tables(group).dense();
      std::vector<std::int32_t>& mirror = mirrors_[g];
      mirror.resize(static_cast<std::size_t>(dense.num_rows) *
                    static_cast<std::size_t>(dense.row_stride));
      for (const DirtyRange& range : plan.table_deltas[g]) {
        const std::int64_t row = std::int64_t{range.row} * dense.row_stride;
        std::copy(dense.data + row + range.begin, dense.data + row + range.end,
                  mirror.begin() + row + range.begin);
      }
      if (IsCheckedStep()) {
        ASSERT_TRUE(std::equal(mirror.begin(), mirror.end(), dense.data));
      }
      const std::vector<std::int64_t>& slots = plan.slot_mapping[g];
      ASSERT_EQ(std::ssize(slots), plan.num_tokens.value());
      std::size_t next = 0;
      for (const ScheduledSequence& entry : plan.scheduled) {
        for (std::int32_t i = 0; i < entry.num_tokens; ++i, ++next) {
          const std::int32_t position = entry.num_computed + i;
          ASSERT_EQ(slots[next],
                    MirroredSlot(g, dense, entry.sequence, position));
          const auto slot = static_cast<std::size_t>(slots[next]);
          ASSERT_NE(written_in_step_[g][slot], step_) << "written twice";
          written_in_step_[g][slot] = step_;
          content_[g][slot] = {entry.request, position};
        }
      }
      if (IsCheckedStep()) ReadBack(plan, g, dense);
    }
  }

  using Contents = std::vector<std::vector<std::pair<RequestId, std::int32_t>>>;
  std::pair<RequestId, std::int32_t>* SlotOf(Contents& contents,
                                             std::int32_t group,
                                             BlockId block) const {
    const auto g = static_cast<std::size_t>(group);
    return contents[g].data() + block.value() * workload_.block_sizes[g];
  }

  std::int64_t MirroredSlot(std::size_t g, const DenseBlockTables& dense,
                            SequenceId sequence, std::int32_t position) const {
    const std::int32_t size = workload_.block_sizes[g];
    const std::int64_t row =
        std::int64_t{KvCacheManager::row(sequence)} * dense.row_stride;
    const std::int64_t block =
        mirrors_[g][static_cast<std::size_t>(row + position / size)];
    return block * size + position % size;
  }

  void ReadBack(const StepPlan& plan, std::size_t g,
                const DenseBlockTables& dense) {
    for (const ScheduledSequence& entry : plan.scheduled) {
      const std::int32_t end = entry.num_computed + entry.num_tokens;
      for (std::int32_t position = 0; position < end; ++position) {
        const auto slot = static_cast<std::size_t>(
            MirroredSlot(g, dense, entry.sequence, position));
        ASSERT_EQ(content_[g][slot], std::pair(entry.request, position));
      }
    }
  }

  void Report(const StepPlan& plan) {
    std::vector<TokenId> sampled;
    std::vector<FinishedRequest> expected;
    bool some_can_stop = false;
    for (const auto& [id, request] : live_) some_can_stop |= request.can_stop;
    for (const ScheduledSequence& entry : plan.scheduled) {
      const TokenId token = Below(20);
      if (entry.samples) sampled.push_back(token);
      const auto found = live_.find(entry.request);
      if (found == live_.end()) continue;  // aborted in flight
      ModelRequest& request = found->second;
      request.computed += entry.num_tokens;
      if (!entry.samples) continue;
      ++request.tokens;
      const std::int32_t output = request.tokens - request.prompt;
      const bool stops = request.can_stop && output >= request.min_output &&
                         (token == kStopToken || token == 8);
      if (stops || request.tokens == request.end) {
        expected.push_back({request.id,
                            stops ? FinishReason::kStop : FinishReason::kLength,
                            TokenCount(output)});
      }
    }
    if (!some_can_stop && OneIn(2)) sampled.clear();
    const auto finished = scheduler_.Update(sampled);
    ASSERT_TRUE(finished.ok()) << finished.status();
    ASSERT_EQ(finished->size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ((*finished)[i].id, expected[i].id);
      ASSERT_EQ((*finished)[i].reason, expected[i].reason);
      ASSERT_EQ((*finished)[i].num_output_tokens,
                expected[i].num_output_tokens);
      End(expected[i].id);
    }
  }

  // The checks that look at everything: always at first, later now and then.
  [[nodiscard]] bool IsCheckedStep() const {
    return step_ < 2000 || step_ % 64 == 0;
  }

  Workload workload_;
  SchedulerOptions options_;
  std::mt19937_64 random_;
  KvCacheManager cache_;
  Scheduler scheduler_;
  std::int64_t step_ = 0;
  std::int64_t num_preempted_ = 0;
  std::int64_t num_swapped_ = 0;     // of them
  std::int64_t num_recomputed_ = 0;  // of them, and had something to lose

  // The model of the queues.
  std::uint64_t next_id_ = 1;
  std::map<RequestId, ModelRequest> live_;
  std::deque<RequestId> waiting_;
  std::vector<RequestId> running_;
  std::vector<RequestId> ended_;  // since the last plan
  std::int64_t swap_blocks_ = 0;  // in use
  std::int64_t read_blocks_ = 0;  // of them, by the plan under way

  // The engine, for each group.
  std::vector<std::vector<std::int32_t>> mirrors_;
  std::vector<std::vector<std::int64_t>> written_in_step_;  // by slot
  Contents content_;
  Contents swap_content_;
};

TEST_P(SchedulerPropertyTest, EveryRequestFinishesInOrderAndNoBlockIsLost) {
  const std::int64_t kSteps = workload_.num_swap_blocks > 0 ? 15'000 : 46'000;
  // Between idle and a queue that is never empty.
  std::int32_t most_live = 1;
  for (; step_ < kSteps; ++step_) {
    SCOPED_TRACE(testing::Message() << "step " << step_);
    if (step_ % 500 == 0) most_live = 1 + Below(OneIn(8) ? 400 : 40);
    while (std::ssize(live_) < most_live && !OneIn(5)) Submit();
    if (!HasFatalFailure()) Step(/*disturb=*/true);
    if (HasFatalFailure()) return;
  }
  for (const std::int64_t limit = step_ + 100'000; !live_.empty(); ++step_) {
    ASSERT_LT(step_, limit) << live_.size() << " requests do not finish";
    Step(/*disturb=*/false);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(num_preempted_ > 0, workload_.is_tight);
  EXPECT_EQ(num_swapped_ > 0, workload_.num_swap_blocks > 0);
  EXPECT_EQ(num_recomputed_ > 0,
            workload_.is_tight && workload_.num_swap_blocks < kPlenty);
  EXPECT_EQ(cache_.pool().num_used(), BlockCount(0));
  EXPECT_EQ(cache_.num_sequences(), 0);
  const absl::Status invariants = scheduler_.CheckInvariants();
  EXPECT_TRUE(invariants.ok()) << invariants;
}

std::vector<Workload> Workloads() {
  constexpr auto kPriority = SchedulingPolicy::kPriority;
  return {
      {.name = "Roomy",
       .scheduler = {.max_num_batched_tokens = TokenCount(64),
                     .max_num_seqs = 16},
       .num_blocks = 400,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 20,
       .is_tight = false},
      {.name = "Fcfs",
       .scheduler = {.max_num_batched_tokens = TokenCount(48),
                     .max_num_seqs = 12},
       .num_blocks = 60,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 24},
      {.name = "FcfsTinyPool",
       .scheduler = {.max_num_batched_tokens = TokenCount(32),
                     .max_num_seqs = 8},
       .num_blocks = 9,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 30,
       .max_output = 20},
      {.name = "FcfsTokenByToken",
       .scheduler = {.max_num_batched_tokens = TokenCount(3),
                     .max_num_seqs = 5},
       .num_blocks = 30,
       .block_sizes = {1},
       .max_sequence_tokens = 32,
       .max_prompt = 12,
       .max_output = 12},
      {.name = "FcfsNoChunks",
       .scheduler = {.max_num_batched_tokens = TokenCount(64),
                     .max_num_seqs = 12,
                     .chunked_prefill = false},
       .num_blocks = 60,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 24},
      {.name = "FcfsThreshold",
       .scheduler = {.max_num_batched_tokens = TokenCount(40),
                     .max_num_seqs = 12,
                     .long_prefill_token_threshold = TokenCount(7),
                     .reserve_full_prompt = false},
       .num_blocks = 50,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 50,
       .max_output = 14},
      {.name = "FcfsWatermark",
       .scheduler = {.max_num_batched_tokens = TokenCount(48),
                     .max_num_seqs = 12},
       .num_blocks = 20,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 60,
       .max_output = 24,
       .watermark = 0.3},
      {.name = "FcfsTwoGroups",
       .scheduler = {.max_num_batched_tokens = TokenCount(48),
                     .max_num_seqs = 10},
       .num_blocks = 90,
       .block_sizes = {8, 3},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 24,
       .watermark = 0.05},
      {.name = "Priority",
       .scheduler = {.policy = kPriority,
                     .max_num_batched_tokens = TokenCount(48),
                     .max_num_seqs = 12},
       .num_blocks = 60,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 24},
      {.name = "PriorityTinyPoolNoChunks",
       .scheduler = {.policy = kPriority,
                     .max_num_batched_tokens = TokenCount(64),
                     .max_num_seqs = 8,
                     .chunked_prefill = false},
       .num_blocks = 14,
       .block_sizes = {4},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 20},
      {.name = "PriorityThresholdWatermark",
       .scheduler = {.policy = kPriority,
                     .max_num_batched_tokens = TokenCount(20),
                     .max_num_seqs = 9,
                     .long_prefill_token_threshold = TokenCount(5),
                     .reserve_full_prompt = false},
       .num_blocks = 40,
       .block_sizes = {4, 6},
       .max_sequence_tokens = 64,
       .max_prompt = 40,
       .max_output = 24,
       .watermark = 0.1},
  };
}

// The tight ones by swap, in turns with room for all and for few blocks.
std::vector<Workload> SwapWorkloads() {
  std::vector<Workload> workloads = Workloads();
  std::erase_if(workloads, [](const Workload& w) { return !w.is_tight; });
  bool is_tiny = false;
  for (Workload& workload : workloads) {
    workload.scheduler.preemption = PreemptionMode::kSwap;
    workload.num_swap_blocks = is_tiny ? 6 : kPlenty;
    is_tiny = !is_tiny;
  }
  return workloads;
}

std::string NameOf(
    const testing::TestParamInfo<std::tuple<Workload, std::uint64_t>>& info) {
  return std::get<0>(info.param).name + "Seed" +
         std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Options, SchedulerPropertyTest,
                         testing::Combine(testing::ValuesIn(Workloads()),
                                          testing::Values(1, 20240607)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Swap, SchedulerPropertyTest,
                         testing::Combine(testing::ValuesIn(SwapWorkloads()),
                                          testing::Values(3)),
                         NameOf);

}  // namespace
}  // namespace pagedkv
