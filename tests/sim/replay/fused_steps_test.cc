// SPDX-License-Identifier: Apache-2.0
// Steps that are run all at once leave no trace: every sample, record and total
// is that of a run step by step.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

void ExpectEqual(const Sample& a, const Sample& b) {
  EXPECT_EQ(a.begin_ns, b.begin_ns);
  EXPECT_EQ(a.duration_ns, b.duration_ns);
  EXPECT_EQ(a.is_step, b.is_step);
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    const Cause cause = static_cast<Cause>(i);
    EXPECT_EQ(a.slots[cause], b.slots[cause]) << kCauseNames[i];
  }
  EXPECT_EQ(a.running, b.running);
  EXPECT_EQ(a.waiting, b.waiting);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.blocked, b.blocked);
  EXPECT_EQ(a.head, b.head);
  EXPECT_EQ(a.largest_free_slots, b.largest_free_slots);
  EXPECT_EQ(a.work, b.work);
}

void ExpectEqual(const RequestRecord& a, const RequestRecord& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.admit_ns, b.admit_ns);
  EXPECT_EQ(a.first_token_ns, b.first_token_ns);
  EXPECT_EQ(a.finish_ns, b.finish_ns);
  EXPECT_EQ(a.slots_granted, b.slots_granted);
  // To the last digit: they are rounded from equal whole numbers.
  EXPECT_EQ(a.waste_slot_s, b.waste_slot_s);
  EXPECT_EQ(a.reserved_slot_s, b.reserved_slot_s);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.blocked_cause, b.blocked_cause);
  EXPECT_EQ(a.rejected, b.rejected);
}

void ExpectEqual(const SimulationTotals& a, const SimulationTotals& b) {
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.end_ns, b.end_ns);
  EXPECT_EQ(a.finished, b.finished);
  EXPECT_EQ(a.rejected, b.rejected);
  EXPECT_EQ(a.capacity_slots, b.capacity_slots);
  EXPECT_EQ(a.peak_slots, b.peak_slots);
  EXPECT_EQ(a.peak_running, b.peak_running);
  EXPECT_EQ(a.peak_step_tokens, b.peak_step_tokens);
  EXPECT_EQ(a.preemptions, b.preemptions);
  EXPECT_EQ(a.recomputed_tokens, b.recomputed_tokens);
  EXPECT_EQ(a.swaps, b.swaps);
  EXPECT_EQ(a.swapped_blocks, b.swapped_blocks);
  EXPECT_EQ(a.swapped_tokens, b.swapped_tokens);
  EXPECT_EQ(a.livelocked_requests, b.livelocked_requests);
  EXPECT_EQ(a.copied_slots, b.copied_slots);
  EXPECT_EQ(a.blocked_capacity_ns, b.blocked_capacity_ns);
  EXPECT_EQ(a.blocked_fragmented_ns, b.blocked_fragmented_ns);
  EXPECT_EQ(a.blocked_watermark_ns, b.blocked_watermark_ns);
  EXPECT_EQ(a.blocked_policy_ns, b.blocked_policy_ns);
}

class FusedStepsTest : public testing::TestWithParam<const char*> {
 protected:
  // Runs both ways and compares.
  void Compare(SimulationOptions options,
               const std::vector<TraceRequest>& requests) {
    RecordingObserver stepped;
    RecordingObserver fused;
    options.fuse_steps = false;
    const auto expected =
        Simulate(*Policy::Parse(GetParam()), options, requests, stepped);
    options.fuse_steps = true;
    const auto found =
        Simulate(*Policy::Parse(GetParam()), options, requests, fused);
    ASSERT_TRUE(expected.ok()) << expected.status();
    ASSERT_TRUE(found.ok()) << found.status();
    num_swaps_ += found->swaps;
    ExpectEqual(*expected, *found);
    ASSERT_EQ(stepped.samples.size(), fused.samples.size());
    for (std::size_t i = 0; i < stepped.samples.size(); ++i) {
      ExpectEqual(stepped.samples[i], fused.samples[i]);
      ASSERT_FALSE(HasFailure()) << "sample " << i;
    }
    ASSERT_EQ(stepped.records.size(), fused.records.size());
    for (std::size_t i = 0; i < stepped.records.size(); ++i) {
      ExpectEqual(stepped.records[i], fused.records[i]);
      ASSERT_FALSE(HasFailure()) << "record " << i;
    }
  }

  std::int64_t num_swaps_ = 0;

  static SimulationOptions Options(ClockKind clock, std::int64_t capacity) {
    SimulationOptions options;
    options.capacity = TokenCount(capacity);
    options.max_sequence_tokens = TokenCount(256);
    options.max_num_seqs = 7;
    options.max_num_batched_tokens = TokenCount(48);
    options.clock = clock;
    options.step_ns = 3;
    options.step_time.serial = {.per_step = 2'000'000,
                                .per_sequence = 300'000,
                                .per_computed_token = 100'000,
                                .per_prefill_attention = 7'000,
                                .per_resident_token = 30'000};
    return options;
  }
};

TEST_P(FusedStepsTest, EqualsStepByStepUnderEachClock) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const std::vector<TraceRequest> requests = RandomRequests(seed, 120, 90);
    for (const ClockKind clock :
         {ClockKind::kIteration, ClockKind::kFixed, ClockKind::kModel}) {
      for (const std::int64_t capacity : {400, 1'000, 4'000}) {
        SCOPED_TRACE(testing::Message()
                     << "seed " << seed << ", clock " << static_cast<int>(clock)
                     << ", " << capacity);
        Compare(Options(clock, capacity), requests);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(FusedStepsTest, EqualsStepByStepWithAWatermarkAndFewArrivals) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    std::vector<TraceRequest> requests = RandomRequests(seed, 60, 120);
    for (TraceRequest& request : requests) request.arrival_ns *= 20;
    SimulationOptions options = Options(ClockKind::kModel, 700);
    options.watermark = 0.2;
    options.saturate = seed % 2 == 0;
    Compare(options, requests);
    if (HasFatalFailure()) return;
  }
}

TEST_P(FusedStepsTest, EqualsStepByStepWhereVictimsAreSwappedOut) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SimulationOptions options = Options(ClockKind::kModel, 600);
    options.swap_slots = TokenCount(seed % 2 == 0 ? 2'000 : 100);
    options.step_time.per_swapped_token = 90'000;
    Compare(options, RandomRequests(seed, 120, 90));
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(num_swaps_ > 0, std::string(GetParam()).starts_with("paged"));
}

TEST_P(FusedStepsTest, EqualsStepByStepInDemandMode) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SimulationOptions options = Options(ClockKind::kFixed, 0);
    options.demand = true;
    Compare(options, RandomRequests(seed, 100, 90));
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, FusedStepsTest,
                         testing::Values("paged-1", "paged-4", "paged-16",
                                         "contiguous-max", "contiguous-pow2",
                                         "contiguous-oracle",
                                         "contiguous-max-exact", "concat"),
                         [](const auto& info) {
                           std::string name(info.param);
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace pagedkv::sim
