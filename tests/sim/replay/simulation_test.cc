// SPDX-License-Identifier: Apache-2.0
// Small examples, worked out by hand.
#include "sim/replay/simulation.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// The causes named, and nothing else.
CauseSlots Slots(const std::vector<std::pair<Cause, std::int64_t>>& causes) {
  CauseSlots slots;
  for (const auto& [cause, count] : causes) slots[cause] = count;
  return slots;
}

class SimulationTest : public testing::Test {
 protected:
  void Run(const char* policy, const std::vector<TraceRequest>& requests) {
    observer_ = RecordingObserver();
    const auto totals =
        Simulate(*Policy::Parse(policy), options_, requests, observer_);
    ASSERT_TRUE(totals.ok()) << totals.status();
    totals_ = *totals;
  }
  const CauseSlots& slots(std::size_t step) const {
    return observer_.samples.at(step).slots;
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> IdsAndFinishSeconds()
      const {
    std::vector<std::pair<std::int64_t, std::int64_t>> result;
    for (const RequestRecord& record : observer_.records) {
      result.emplace_back(record.id, record.finish_ns / kSecond);
    }
    return result;
  }
  using Finishes = std::vector<std::pair<std::int64_t, std::int64_t>>;

  SimulationOptions options_{.capacity = TokenCount(32),
                             .max_sequence_tokens = TokenCount(16)};
  // Final lengths 6, 6, 4.
  const std::vector<TraceRequest> abc_ = Requests({{4, 3}, {5, 2}, {3, 2}});
  RecordingObserver observer_;
  SimulationTotals totals_;
};

TEST_F(SimulationTest, ContiguousMaxRunsTwoOfThree) {
  Run("contiguous-max", abc_);
  ASSERT_EQ(observer_.samples.size(), 4u);
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 4 + 5},
                             {Cause::kReserved, 2 + 1},
                             {Cause::kInternal, 10 + 10}}));
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 5 + 6},
                             {Cause::kReserved, 1},
                             {Cause::kInternal, 20}}));
  EXPECT_EQ(slots(2), Slots({{Cause::kToken, 6 + 3},
                             {Cause::kReserved, 1},
                             {Cause::kInternal, 10 + 12}}));
  EXPECT_EQ(
      slots(3),
      Slots({{Cause::kToken, 4}, {Cause::kInternal, 12}, {Cause::kIdle, 16}}));
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{1, 2}, {0, 3}, {2, 4}}));
  EXPECT_EQ(totals_.blocked_capacity_ns, 2 * kSecond);
  EXPECT_EQ(totals_.peak_slots, 32);
  EXPECT_EQ(totals_.peak_running, 2);
  EXPECT_EQ(totals_.peak_step_tokens, 9);

  const RequestRecord& last = observer_.records.back();
  EXPECT_EQ(last.admit_ns, 2 * kSecond);
  EXPECT_EQ(last.slots_granted, 16);
  EXPECT_EQ(last.waste_slot_s, 12 + 12);
  EXPECT_EQ(last.reserved_slot_s, 1);
  EXPECT_EQ(last.blocked_cause, Cause::kBlockedCapacity);
  EXPECT_EQ(observer_.records.front().blocked_cause, Cause::kToken);
}

TEST_F(SimulationTest, ContiguousMaxExactLeavesATailAndTakesNoPowerOfTwo) {
  options_.capacity = TokenCount(40);
  options_.max_sequence_tokens = TokenCount(12);
  Run("contiguous-max-exact", abc_);  // all three in arenas of 12
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 12},
                             {Cause::kReserved, 2 + 1 + 1},
                             {Cause::kInternal, 6 + 6 + 8},
                             {Cause::kTail, 4}}));
  Run("contiguous-max", abc_);  // two in chunks of 16
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 9},
                             {Cause::kReserved, 2 + 1},
                             {Cause::kInternal, 6 + 6},
                             {Cause::kRoundUp, 4 + 4},
                             {Cause::kTail, 8}}));
}

TEST_F(SimulationTest, ContiguousPow2OverReservesTheOutput) {
  Run("contiguous-pow2", abc_);  // asks for 8, 7, 5: chunks of 8
  ASSERT_EQ(observer_.samples.size(), 3u);
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 12},
                             {Cause::kReserved, 2 + 1 + 1},
                             {Cause::kInternal, 2 + 1 + 1},
                             {Cause::kRoundUp, 0 + 1 + 3},
                             {Cause::kIdle, 8}}));
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 15},
                             {Cause::kReserved, 1},
                             {Cause::kInternal, 4},
                             {Cause::kRoundUp, 4},
                             {Cause::kIdle, 8}}));
  EXPECT_EQ(
      slots(2),
      Slots({{Cause::kToken, 6}, {Cause::kInternal, 2}, {Cause::kIdle, 24}}));
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{1, 2}, {2, 2}, {0, 3}}));
}

TEST_F(SimulationTest, ContiguousOracleWastesByRoundUpOnly) {
  Run("contiguous-oracle", abc_);  // asks for 6, 6, 4: chunks of 8, 8, 4
  ASSERT_EQ(observer_.samples.size(), 3u);
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 12},
                             {Cause::kReserved, 4},
                             {Cause::kRoundUp, 4},
                             {Cause::kIdle, 12}}));
  EXPECT_EQ(
      slots(2),
      Slots({{Cause::kToken, 6}, {Cause::kRoundUp, 2}, {Cause::kIdle, 24}}));
}

TEST_F(SimulationTest, ContiguousOracleWaitsForAChunkThatFits) {
  // Chunks of 8 three times; then 12 asks for 16, while 8 + 8 are free apart.
  Run("contiguous-oracle", Requests({{5, 1}, {5, 4}, {5, 4}, {11, 2}}));
  EXPECT_EQ(slots(0)[Cause::kBlockedCapacity], 8);
  for (int step = 1; step <= 3; ++step) {
    EXPECT_EQ(slots(step)[Cause::kBlockedFragmented], 16) << step;
    EXPECT_EQ(observer_.samples[step].largest_free_slots, 8) << step;
  }
  EXPECT_EQ(totals_.blocked_capacity_ns, 1 * kSecond);
  EXPECT_EQ(totals_.blocked_fragmented_ns, 3 * kSecond);
  EXPECT_EQ(observer_.records.back().blocked_cause, Cause::kBlockedFragmented);
}

TEST_F(SimulationTest, PagedTakesBlocksAsTokensCome) {
  Run("paged-4", abc_);
  ASSERT_EQ(observer_.samples.size(), 3u);
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 12},
                             {Cause::kReserved, 0 + 1 + 1},
                             {Cause::kInternal, 0 + 2 + 0},
                             {Cause::kTail, 4},  // the null block
                             {Cause::kIdle, 12}}));
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 15},
                             {Cause::kReserved, 1},
                             {Cause::kInternal, 2 + 2},
                             {Cause::kTail, 4},
                             {Cause::kIdle, 8}}));
  EXPECT_EQ(slots(2), Slots({{Cause::kToken, 6},
                             {Cause::kInternal, 2},
                             {Cause::kTail, 4},
                             {Cause::kIdle, 20}}));
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{1, 2}, {2, 2}, {0, 3}}));
  EXPECT_EQ(observer_.records.back().slots_granted, 8);
  EXPECT_EQ(observer_.records.back().waste_slot_s, 2 + 2);
  EXPECT_EQ(observer_.records.back().reserved_slot_s, 1);
}

TEST_F(SimulationTest, PagedCountsTheRemainderOfTheCapacityAsTail) {
  options_.capacity = TokenCount(35);
  Run("paged-4", abc_);
  EXPECT_EQ(slots(0)[Cause::kTail], 4 + 3);
}

TEST_F(SimulationTest, PagedWithholdsTheWatermarkFromWhoWaits) {
  options_.watermark = 0.25;  // 2 of 8 blocks
  // 2 blocks of 7 for the first; the second needs 4 of 5 and must leave 2.
  Run("paged-4", Requests({{7, 2}, {15, 1}}));
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 7},
                             {Cause::kReserved, 1},
                             {Cause::kWatermark, 8},
                             {Cause::kBlockedCapacity, 12},
                             {Cause::kTail, 4}}));
  EXPECT_EQ(slots(2)[Cause::kToken], 15);
  EXPECT_EQ(slots(2)[Cause::kWatermark], 0);
  EXPECT_EQ(totals_.blocked_watermark_ns, 2 * kSecond);
  EXPECT_EQ(observer_.records.back().blocked_cause, Cause::kWatermark);
}

TEST_F(SimulationTest, PagedPreemptsTheLastAndRecomputes) {
  options_.capacity = TokenCount(4 * 4);  // 3 blocks
  Run("paged-4", Requests({{4, 6}, {4, 3}}));
  // Step 1: the first takes the third block, none is left for the second.
  EXPECT_EQ(observer_.samples[1].preemptions, 1);
  EXPECT_EQ(observer_.samples[1].running, 1);
  EXPECT_EQ(observer_.samples[1].waiting, 1);
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 5},
                             {Cause::kReserved, 3},
                             {Cause::kBlockedPolicy, 4},
                             {Cause::kTail, 4}}));
  // It needs 2 blocks for its 5 tokens, and 1 is free.
  EXPECT_EQ(slots(2)[Cause::kBlockedCapacity], 4);
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{0, 6}, {1, 8}}));
  EXPECT_EQ(totals_.preemptions, 1);
  EXPECT_EQ(totals_.recomputed_tokens, 4);
  EXPECT_EQ(totals_.max_preemptions_per_request, 1);
  EXPECT_EQ(totals_.blocked_policy_ns, 1 * kSecond);
  EXPECT_EQ(totals_.blocked_capacity_ns, 4 * kSecond);
  EXPECT_EQ(observer_.records.back().preemptions, 1);
  EXPECT_EQ(observer_.records.back().admit_ns, 0);
  EXPECT_EQ(observer_.records.back().blocked_cause, Cause::kBlockedCapacity);
}

TEST_F(SimulationTest, PagedSwapsTheLastOutAndItGoesOn) {
  options_.capacity = TokenCount(4 * 4);  // 3 blocks
  options_.swap_slots = TokenCount(4);
  Run("paged-4", Requests({{4, 6}, {4, 3}}));
  EXPECT_EQ(observer_.samples[1].preemptions, 1);
  EXPECT_EQ(observer_.samples[1].work.swapped_tokens, 4);
  EXPECT_EQ(observer_.samples[1].head, 1);
  // It needs a block for its 4 tokens and one for the next, and 1 is free.
  EXPECT_EQ(slots(2)[Cause::kBlockedCapacity], 4);
  EXPECT_EQ(observer_.samples[6].work.swapped_tokens, 4);
  EXPECT_EQ(observer_.samples[6].work.computed_tokens, 1);
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{0, 6}, {1, 8}}));
  EXPECT_EQ(totals_.preemptions, 1);
  EXPECT_EQ(totals_.swaps, 1);
  EXPECT_EQ(totals_.recomputed_tokens, 0);
  EXPECT_EQ(totals_.swapped_blocks, 2);
  EXPECT_EQ(totals_.swapped_tokens, 8);
}

TEST_F(SimulationTest, ConcatCopiesEverySequenceInEveryStep) {
  Run("concat", abc_);
  ASSERT_EQ(observer_.samples.size(), 3u);
  EXPECT_EQ(slots(0), Slots({{Cause::kToken, 12}, {Cause::kIdle, 20}}));
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 15}, {Cause::kIdle, 17}}));
  EXPECT_EQ(slots(2), Slots({{Cause::kToken, 6}, {Cause::kIdle, 26}}));
  EXPECT_EQ(totals_.copied_slots, 4 + 5 + 3 + 5);
  // The second grows to 6 beside its 5, the others have 5 and 3.
  EXPECT_EQ(totals_.transient_peak_slots, 5 + (5 + 6) + 3);
}

TEST_F(SimulationTest, ConcatPreemptsTheLastWhenACopyDoesNotFit) {
  options_.capacity = TokenCount(16);
  Run("concat", Requests({{4, 4}, {4, 4}}));
  // Step 2: 5 + 5 in use; the first grows beside it to 6, and 6 more would be
  // needed for the second.
  EXPECT_EQ(slots(1), Slots({{Cause::kToken, 10}, {Cause::kIdle, 6}}));
  EXPECT_EQ(slots(2), Slots({{Cause::kToken, 6}, {Cause::kBlockedPolicy, 10}}));
  // It has 6 known tokens and must leave 7 + 1 free; 9 are.
  EXPECT_EQ(slots(3),
            Slots({{Cause::kToken, 7}, {Cause::kBlockedCapacity, 9}}));
  EXPECT_EQ(IdsAndFinishSeconds(), (Finishes{{0, 4}, {1, 6}}));
  EXPECT_EQ(totals_.preemptions, 1);
  EXPECT_EQ(totals_.recomputed_tokens, 5);
  EXPECT_EQ(totals_.transient_peak_slots, 5 + 5 + 6);
}

TEST_F(SimulationTest, ABatchLimitBlocksByPolicy) {
  options_.max_num_seqs = 1;
  Run("contiguous-oracle", Requests({{4, 2}, {4, 1}}));
  EXPECT_EQ(slots(0)[Cause::kBlockedPolicy], 24);
  EXPECT_EQ(totals_.blocked_policy_ns, 2 * kSecond);
  EXPECT_EQ(observer_.records.back().blocked_cause, Cause::kBlockedPolicy);
}

TEST_F(SimulationTest, PromptsAreComputedInChunksOfTheTokenBudget) {
  options_.max_num_batched_tokens = TokenCount(3);
  for (const char* policy : {"contiguous-oracle", "paged-4", "concat"}) {
    Run(policy, Requests({{7, 2}}));
    ASSERT_EQ(observer_.samples.size(), 4u) << policy;
    EXPECT_EQ(slots(0)[Cause::kToken], 3) << policy;
    EXPECT_EQ(slots(1)[Cause::kToken], 6) << policy;
    EXPECT_EQ(slots(2)[Cause::kToken], 7) << policy;
    EXPECT_EQ(slots(3)[Cause::kToken], 8) << policy;
  }
}

TEST_F(SimulationTest, WhatCanNeverFitIsRejectedAndNotClipped) {
  options_.capacity = TokenCount(16);
  const auto requests = Requests({{15, 2}, {14, 2}, {10, 2}, {2, 2}});
  const std::vector<std::pair<const char*, std::vector<std::int64_t>>> cases = {
      {"contiguous-max", {0}},  // 17 tokens are too many for the model
      {"contiguous-max-exact", {0}}, {"contiguous-pow2", {0}},
      {"contiguous-oracle", {0}},    {"paged-4", {0, 1}},  // 15 in 3 blocks
      {"concat", {0, 1, 2}},                               // 14 + 15, 10 + 11
  };
  for (const auto& [policy, rejected] : cases) {
    Run(policy, requests);
    std::vector<std::int64_t> found;
    for (const RequestRecord& record : observer_.records) {
      if (!record.rejected) continue;
      found.push_back(record.id);
      EXPECT_EQ(record.admit_ns, -1);
      EXPECT_EQ(record.finish_ns, -1);
    }
    EXPECT_EQ(found, rejected) << policy;
    EXPECT_EQ(totals_.rejected, static_cast<std::int64_t>(rejected.size()));
    EXPECT_EQ(totals_.finished + totals_.rejected, 4) << policy;
  }
}

TEST_F(SimulationTest, FixedClockWaitsForArrivals) {
  options_.clock = ClockKind::kFixed;
  options_.step_ns = 10;
  const auto requests =
      Requests({{2, 1, 5}, {2, 2, 25}, {2, 1, 30}, {2, 1, 45}});
  for (const char* policy : {"contiguous-oracle", "paged-4"}) {
    Run(policy, requests);
    std::vector<std::vector<std::int64_t>> found;
    for (const Sample& sample : observer_.samples) {
      found.push_back({sample.begin_ns, sample.duration_ns,
                       sample.is_step ? 1 : 0, sample.running});
    }
    EXPECT_EQ(found, (std::vector<std::vector<std::int64_t>>{
                         {0, 5, 0, 0},
                         {5, 10, 1, 1},
                         {15, 10, 0, 0},
                         {25, 10, 1, 1},
                         {35, 10, 1, 2},  // the third came during a step
                         {45, 10, 1, 1}}))
        << policy;
    EXPECT_EQ(slots(0)[Cause::kIdle], policy[0] == 'p' ? 28 : 32);
    EXPECT_EQ(observer_.records[2].arrival_ns, 30);
    EXPECT_EQ(observer_.records[2].admit_ns, 35);
    EXPECT_EQ(observer_.records[2].finish_ns, 45);
    EXPECT_EQ(totals_.end_ns, 55);
    EXPECT_EQ(totals_.steps, 4);
  }
}

TEST_F(SimulationTest, SaturationIgnoresArrivalTimes) {
  options_.clock = ClockKind::kFixed;
  options_.step_ns = 10;
  options_.saturate = true;
  Run("paged-4", Requests({{2, 1, 5}, {2, 1, 1000}}));
  EXPECT_EQ(totals_.end_ns, 10);
  EXPECT_EQ(observer_.records[1].arrival_ns, 1000);
}

TEST_F(SimulationTest, SaturationKeepsTheQueueFilledAndShort) {
  options_.max_num_seqs = 4;
  Run("paged-4", RandomRequests(/*seed=*/3, 200, 8));
  std::int64_t most_waiting = 0;
  for (const Sample& sample : observer_.samples) {
    most_waiting = std::max<std::int64_t>(most_waiting, sample.waiting);
  }
  // The queue never runs dry before the last request is offered: then, at most
  // as many are left as wait and run at a time.
  std::size_t filled = 0;
  while (observer_.samples[filled].waiting > 0) ++filled;
  EXPECT_GT(observer_.samples[filled].begin_ns,
            observer_.records[200 - 2 * 4 - 1].finish_ns - kSecond);
  EXPECT_LE(most_waiting, 4 + 4 + 1);  // and those preempted
}

TEST_F(SimulationTest, DemandIsWhatTheWorkloadNeedsWithoutWaiting) {
  options_.demand = true;
  options_.capacity = TokenCount(0);
  options_.clock = ClockKind::kFixed;
  options_.step_ns = 10;
  options_.max_num_seqs = 1;                        // does not apply
  options_.max_num_batched_tokens = TokenCount(1);  // nor does this
  options_.watermark = 0.5;                         // nor this
  const auto requests = Requests({{4, 3, 0}, {5, 2, 0}, {3, 2, 20}});
  const std::vector<std::pair<const char*, std::int64_t>> needed = {
      {"contiguous-max", 32},  {"contiguous-max-exact", 32},
      {"contiguous-pow2", 16}, {"contiguous-oracle", 16},
      {"paged-4", 4 * 4 + 4},  // step 1: 2 + 2 blocks, and the null block
      {"concat", 5 + 5 + 6}};
  for (const auto& [policy, capacity] : needed) {
    Run(policy, requests);
    EXPECT_EQ(totals_.capacity_slots, capacity) << policy;
    EXPECT_EQ(totals_.finished, 3) << policy;
    EXPECT_EQ(totals_.preemptions, 0) << policy;
    for (const RequestRecord& record : observer_.records) {
      EXPECT_EQ(record.admit_ns, record.arrival_ns) << policy;
      EXPECT_EQ(record.finish_ns, record.arrival_ns + 10 * record.output_tokens)
          << policy;
    }
  }
}

TEST_F(SimulationTest, DemandOfNothingIsNothing) {
  options_.demand = true;
  options_.clock = ClockKind::kFixed;
  for (const char* policy : {"contiguous-max", "contiguous-oracle", "concat"}) {
    Run(policy, Requests({{16, 1}}));
    EXPECT_EQ(totals_.capacity_slots, 0) << policy;
    EXPECT_EQ(totals_.rejected, 1) << policy;
  }
  Run("paged-4", Requests({{16, 1}}));
  EXPECT_EQ(totals_.capacity_slots, 8);  // the least that the library accepts
  EXPECT_EQ(totals_.rejected, 1);
}

TEST_F(SimulationTest, AnEmptyWorkloadTakesNoTime) {
  Run("paged-16", {});
  EXPECT_TRUE(observer_.samples.empty());
  EXPECT_EQ(totals_.end_ns, 0);
}

TEST_F(SimulationTest, StopsWhenToldTo) {
  for (const char* policy : {"paged-4", "contiguous-max"}) {
    observer_ = RecordingObserver();
    observer_.stop_after_samples = 2;
    const auto totals =
        Simulate(*Policy::Parse(policy), options_, abc_, observer_);
    EXPECT_TRUE(absl::IsCancelled(totals.status())) << totals.status();
    EXPECT_EQ(observer_.samples.size(), 2u);
  }
}

TEST_F(SimulationTest, RefusesOptionsOutOfRange) {
  const auto message = [this](auto change) {
    SimulationOptions options = options_;
    change(options);
    const auto totals =
        Simulate(*Policy::Parse("paged-4"), options, abc_, observer_);
    EXPECT_TRUE(absl::IsInvalidArgument(totals.status())) << totals.status();
    return std::string(totals.status().message());
  };
  EXPECT_EQ(message([](auto& o) { o.capacity = TokenCount(0); }),
            "capacity is 0 tokens; it must be at least 1");
  EXPECT_EQ(message([](auto& o) { o.max_sequence_tokens = TokenCount(0); }),
            "max_sequence_tokens is 0; it must be from 1 to 1073741824");
  EXPECT_EQ(message([](auto& o) { o.step_ns = 0; }),
            "step_ns is 0; it must be at least 1");
  EXPECT_EQ(message([](auto& o) { o.max_num_seqs = 0; }),
            "max_num_seqs is 0; it must be at least 1");
  EXPECT_EQ(message([](auto& o) { o.max_num_batched_tokens = TokenCount(0); }),
            "max_num_batched_tokens is 0; it must be at least 1");
  EXPECT_EQ(message([](auto& o) { o.demand = true; }),
            "the demand of a saturated queue is unbounded: use the fixed clock "
            "and arrival times");
  message([](auto& o) { o.watermark = 1.0; });
  message([](auto& o) { o.capacity = TokenCount(7); });  // one block of 4
}

TEST_F(SimulationTest, RefusesRequestsThatAreNotInOrderOrEmpty) {
  const auto message = [this](const std::vector<TraceRequest>& requests) {
    const auto totals =
        Simulate(*Policy::Parse("concat"), options_, requests, observer_);
    EXPECT_TRUE(absl::IsInvalidArgument(totals.status())) << totals.status();
    return std::string(totals.status().message());
  };
  EXPECT_EQ(message(Requests({{4, 3}, {4, 0}})),
            "request 1 has 4 prompt and 0 output tokens; both must be at least "
            "1");
  EXPECT_EQ(message(Requests({{4, 3, 7}, {4, 3, 6}})),
            "request 1 arrives at 6 ns, before 7 ns: requests must be in order "
            "of arrival, from 0 on");
}

}  // namespace
}  // namespace pagedkv::sim
