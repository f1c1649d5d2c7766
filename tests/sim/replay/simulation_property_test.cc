// SPDX-License-Identifier: Apache-2.0
// What must hold for every policy, clock and workload.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/memory_watcher.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

enum class Mode {
  kIteration,
  kFixed,
  kSaturated,
  kDemand,
  kTightLimits,
  kSwap
};

using Parameters = std::tuple<std::string, Mode>;

class SimulationPropertyTest : public testing::TestWithParam<Parameters> {
 protected:
  static constexpr std::uint64_t kSeed = 42;
  static constexpr int kRequests = 600;

  // The random lengths go up to 48 + 48, so that some exceed 90, and
  // concat, which needs twice the length, must reject some more.
  SimulationPropertyTest() : requests_(RandomRequests(kSeed, kRequests, 48)) {
    const Mode mode = std::get<Mode>(GetParam());
    options_ = {.capacity = TokenCount(333),
                .demand = mode == Mode::kDemand,
                .max_sequence_tokens = TokenCount(90),
                .clock = mode == Mode::kIteration ? ClockKind::kIteration
                                                  : ClockKind::kFixed,
                .step_ns = 13,
                .saturate = mode == Mode::kSaturated,
                .watermark = 0.1};
    if (mode == Mode::kTightLimits) {
      options_.max_num_seqs = 3;
      options_.max_num_batched_tokens = TokenCount(17);
    }
    if (mode == Mode::kSwap) options_.swap_slots = TokenCount(160);
  }

  absl::StatusOr<SimulationTotals> Run(RecordingObserver& observer) const {
    return Simulate(*Policy::Parse(std::get<std::string>(GetParam())), options_,
                    requests_, observer);
  }

  std::vector<TraceRequest> requests_;
  SimulationOptions options_;
};

TEST_P(SimulationPropertyTest, ShowsTheMemoryAsItIsAccountedFor) {
  MemoryWatcher watcher;
  const auto totals = Run(watcher);
  ASSERT_TRUE(totals.ok()) << totals.status();
  watcher.Check();
  if (std::get<std::string>(GetParam()) == "concat") {
    EXPECT_EQ(watcher.num_checked, 0);  // its memory is only counted
  } else {
    EXPECT_GE(watcher.num_checked, totals->steps);
  }
}

TEST_P(SimulationPropertyTest, AccountsForEverySlotAndRequest) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  RecordingObserver observer;
  const auto totals = Run(observer);
  ASSERT_TRUE(totals.ok()) << totals.status();

  std::int64_t now_ns = 0;
  std::int64_t steps = 0;
  std::int64_t peak = 0;
  std::int64_t preemptions = 0;
  for (const Sample& sample : observer.samples) {
    ASSERT_EQ(sample.slots.total(), totals->capacity_slots);
    for (std::size_t i = 0; i < kNumCauses; ++i) {
      ASSERT_GE(sample.slots[static_cast<Cause>(i)], 0) << kCauseNames[i];
    }
    ASSERT_EQ(sample.begin_ns, now_ns);
    ASSERT_GT(sample.duration_ns, 0);
    ASSERT_EQ(sample.is_step, sample.running > 0);
    // Free slots are idle if, and only if, nobody waits for them.
    if (sample.waiting > 0) {
      ASSERT_EQ(sample.slots[Cause::kIdle], 0);
    } else {
      ASSERT_EQ(sample.slots[Cause::kBlockedCapacity] +
                    sample.slots[Cause::kBlockedFragmented] +
                    sample.slots[Cause::kBlockedPolicy] +
                    sample.slots[Cause::kWatermark],
                0);
    }
    now_ns += sample.duration_ns;
    steps += sample.is_step ? 1 : 0;
    peak = std::max(peak, sample.slots.allocated());
    preemptions += sample.preemptions;
  }
  EXPECT_EQ(totals->end_ns, now_ns);
  EXPECT_EQ(totals->steps, steps);
  EXPECT_EQ(totals->peak_slots, peak);
  EXPECT_EQ(totals->preemptions, preemptions);
  const bool may_swap = std::get<Mode>(GetParam()) == Mode::kSwap &&
                        std::get<std::string>(GetParam()).starts_with("paged");
  EXPECT_EQ(totals->swaps > 0, may_swap);
  EXPECT_EQ(totals->swapped_blocks > 0, may_swap);
  EXPECT_LE(totals->swaps, totals->preemptions);

  ASSERT_EQ(observer.records.size(), requests_.size());
  EXPECT_EQ(totals->finished + totals->rejected, kRequests);
  EXPECT_GT(totals->finished, kRequests / 2);
  EXPECT_GT(totals->rejected, 0);
  double waste = 0;
  double reserved = 0;
  std::int64_t request_preemptions = 0;
  std::vector<bool> seen(requests_.size());
  for (const RequestRecord& record : observer.records) {
    const TraceRequest& request =
        requests_[static_cast<std::size_t>(record.id)];
    ASSERT_FALSE(seen[static_cast<std::size_t>(record.id)]);
    seen[static_cast<std::size_t>(record.id)] = true;
    ASSERT_EQ(record.prompt_tokens, request.prompt_tokens);
    ASSERT_EQ(record.output_tokens, request.output_tokens);
    ASSERT_EQ(record.arrival_ns, request.arrival_ns);
    if (record.rejected) continue;
    waste += record.waste_slot_s;
    reserved += record.reserved_slot_s;
    request_preemptions += record.preemptions;
    // A step yields one token at the most.
    const std::int64_t step_ns =
        options_.clock == ClockKind::kIteration ? 1'000'000'000 : 13;
    ASSERT_GE(record.finish_ns - record.admit_ns,
              step_ns * request.output_tokens);
    ASSERT_GE(record.slots_granted, FinalSlots(request));
  }
  EXPECT_EQ(request_preemptions, preemptions);
  const double whole =
      static_cast<double>(totals->capacity_slots) * double(now_ns) / 1e9;
  EXPECT_NEAR(
      waste,
      observer.Integral(Cause::kInternal) + observer.Integral(Cause::kRoundUp),
      1e-9 * whole);
  EXPECT_NEAR(reserved, observer.Integral(Cause::kReserved), 1e-9 * whole);
}

TEST_P(SimulationPropertyTest, SameInputsGiveTheSameCalls) {
  RecordingObserver first;
  RecordingObserver second;
  ASSERT_TRUE(Run(first).ok());
  ASSERT_TRUE(Run(second).ok());
  ASSERT_EQ(first.samples.size(), second.samples.size());
  for (std::size_t i = 0; i < first.samples.size(); ++i) {
    ASSERT_EQ(first.samples[i].slots, second.samples[i].slots);
    ASSERT_EQ(first.samples[i].largest_free_slots,
              second.samples[i].largest_free_slots);
  }
  ASSERT_EQ(first.records.size(), second.records.size());
  for (std::size_t i = 0; i < first.records.size(); ++i) {
    ASSERT_EQ(first.records[i].id, second.records[i].id);
    ASSERT_EQ(first.records[i].finish_ns, second.records[i].finish_ns);
    ASSERT_EQ(first.records[i].waste_slot_s, second.records[i].waste_slot_s);
  }
}

class SimulationDemandTest : public SimulationPropertyTest {};

TEST_P(SimulationDemandTest, NeedsTheLeastThatIsEnough) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  RecordingObserver observer;
  const auto totals = Run(observer);
  ASSERT_TRUE(totals.ok()) << totals.status();
  EXPECT_EQ(totals->preemptions, 0);
  EXPECT_EQ(totals->blocked_capacity_ns + totals->blocked_fragmented_ns +
                totals->blocked_watermark_ns + totals->blocked_policy_ns,
            0);
  const std::string& policy = std::get<std::string>(GetParam());
  if (policy == "concat") {
    EXPECT_EQ(totals->capacity_slots, totals->transient_peak_slots);
  } else if (policy == "contiguous-pow2" || policy == "contiguous-oracle") {
    EXPECT_GE(totals->capacity_slots, totals->peak_slots);  // fragmentation
  } else {
    std::int64_t tail = observer.samples.front().slots[Cause::kTail];
    EXPECT_EQ(totals->capacity_slots, totals->peak_slots + tail);
  }
}

std::string Name(const testing::TestParamInfo<Parameters>& info) {
  constexpr const char* kModes[] = {"Iteration", "Fixed",       "Saturated",
                                    "Demand",    "TightLimits", "Swap"};
  std::string name = std::get<std::string>(info.param);
  std::replace(name.begin(), name.end(), '-', '_');
  return name + "_" + kModes[static_cast<int>(std::get<Mode>(info.param))];
}

const auto kPolicies = testing::Values(
    "paged-1", "paged-16", "paged-32", "contiguous-max", "contiguous-pow2",
    "contiguous-oracle", "contiguous-max-exact", "concat");

INSTANTIATE_TEST_SUITE_P(
    AllPolicies, SimulationPropertyTest,
    testing::Combine(kPolicies,
                     testing::Values(Mode::kIteration, Mode::kFixed,
                                     Mode::kSaturated, Mode::kDemand,
                                     Mode::kTightLimits, Mode::kSwap)),
    Name);
INSTANTIATE_TEST_SUITE_P(AllPolicies, SimulationDemandTest,
                         testing::Combine(kPolicies,
                                          testing::Values(Mode::kDemand)),
                         Name);

}  // namespace
}  // namespace pagedkv::sim
