// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sim_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Valid as it is.
SimOptions ValidOptions() {
  SimOptions options;
  options.workload = "sharegpt";
  options.model = "opt-13b";
  options.memory = "12GiB";
  return options;
}

SimOptions ValidFixedOptions() {
  SimOptions options = ValidOptions();
  options.clock = "fixed";
  options.step_time = "20ms";
  return options;
}

SimOptions ValidRooflineOptions() {
  SimOptions options = ValidOptions();
  options.clock = "model";
  options.step_time_preset = "roofline";
  options.gpu = "h100";
  return options;
}

SimPlan Plan(const SimOptions& options) {
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *plan : SimPlan{};
}

TEST(SimPlanTest, ThePapersPoolHas15728Slots) {
  const SimPlan plan = Plan(ValidOptions());
  EXPECT_EQ(plan.pool.slots, TokenCount(15'728));
  EXPECT_EQ(plan.pool.bytes, Bytes(12'884'901'888));
  EXPECT_EQ(plan.pool.source, "explicit");
  EXPECT_EQ(plan.model.kv_bytes_per_token, Bytes(819'200));
  EXPECT_EQ(plan.simulation.capacity, TokenCount(15'728));
}

TEST(SimPlanTest, TheDefaultsAreThePapersView) {
  const SimPlan plan = Plan(ValidOptions());
  std::vector<std::string> ids;
  for (const Policy& policy : plan.policies) ids.push_back(policy.id());
  EXPECT_THAT(ids, ::testing::ElementsAre("contiguous-max", "contiguous-pow2",
                                          "contiguous-oracle", "paged-16"));
  EXPECT_EQ(plan.simulation.clock, ClockKind::kIteration);
  EXPECT_EQ(plan.window, WindowKind::kSaturated);
  EXPECT_EQ(plan.weight, Weight::kTime);
  // The model's context, for the pool of the policies and for the loader.
  EXPECT_EQ(plan.model.max_sequence_tokens, TokenCount(2'048));
  EXPECT_TRUE(plan.model.max_is_models_own);
  EXPECT_EQ(plan.simulation.max_sequence_tokens, TokenCount(2'048));
  EXPECT_EQ(plan.workload.max_sequence_tokens, 2'048);
}

TEST(SimPlanTest, AnOpenQueueIsLookedAtWhileItIsBusy) {
  const SimPlan plan = Plan(ValidFixedOptions());
  EXPECT_EQ(plan.simulation.step_ns, 20'000'000);
  EXPECT_EQ(plan.window, WindowKind::kBusy);
  SimOptions saturated = ValidFixedOptions();
  saturated.saturate = true;
  EXPECT_EQ(Plan(saturated).window, WindowKind::kSaturated);
}

TEST(SimPlanTest, TheMemoryMapIsOfTheStartWhereTheQueueIsSaturated) {
  EXPECT_EQ(Plan(ValidOptions()).memory_map.max_samples, 1'920);
  const MemoryMapOptions whole = Plan(ValidFixedOptions()).memory_map;
  EXPECT_EQ(whole.from_ns, 0);
  EXPECT_EQ(whole.until_ns, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(whole.max_samples, std::numeric_limits<std::int64_t>::max());

  SimOptions options = ValidOptions();
  options.map_from = "10s";
  options.map_span = "5s";
  const MemoryMapOptions asked = Plan(options).memory_map;
  EXPECT_EQ(asked.from_ns, 10'000'000'000);
  EXPECT_EQ(asked.until_ns, 15'000'000'000);
  EXPECT_EQ(asked.max_samples, std::numeric_limits<std::int64_t>::max());
}

TEST(SimPlanTest, WithTheRooflineAGpuMayStandBesideThePool) {
  SimOptions options = ValidRooflineOptions();
  options.compute_efficiency = 0.5;
  options.tensor_parallel = 2;
  options.slo_ttft = "500ms";
  options.slo_tpot = "50ms";
  const SimPlan plan = Plan(options);
  EXPECT_EQ(plan.pool.description, "--memory 12GiB on each of 2 GPUs");
  EXPECT_EQ(plan.simulation.clock, ClockKind::kModel);
  const StepTime& time = plan.simulation.step_time;
  EXPECT_EQ(time.preset, "roofline");
  EXPECT_THAT(time.source, HasSubstr("opt-13b on h100, tensor parallel 2"));
  EXPECT_THAT(time.source, HasSubstr("at 0.5 of the peak FLOP/s"));
  EXPECT_EQ(plan.level.ttft_ns, 500'000'000);
  EXPECT_EQ(plan.level.tpot_ns, 50'000'000);

  options.memory.reset();
  EXPECT_EQ(Plan(options).pool.source, "gpu");
  EXPECT_EQ(Plan(options).simulation.step_time.memory, time.memory);
}

TEST(SimPlanTest, TheContentOfPromptsIsReadForThePrefixCache) {
  SimOptions options = ValidFixedOptions();
  EXPECT_FALSE(Plan(options).workload.token_ids);
  options.prefix_cache = "on";
  EXPECT_TRUE(Plan(options).workload.token_ids);
}

TEST(SimPlanTest, APublishedTableNeedsNoGpu) {
  SimOptions options = ValidOptions();
  options.clock = "model";
  options.step_time_preset = "splitwise-a100-tp8-llama-2-70b";
  const StepTime time = Plan(options).simulation.step_time;
  EXPECT_EQ(time.preset, "splitwise-a100-tp8-llama-2-70b");
  EXPECT_GT(time.serial.per_step, 0);
}

TEST(SimPlanTest, BlocksAreThoseOfTheFirstPagedPolicyUnlessSaid) {
  SimOptions options = ValidOptions();
  options.memory.reset();
  options.num_blocks = 1'000;
  options.policies = "contiguous-max,paged-32,paged-8";
  EXPECT_EQ(Plan(options).pool.slots, TokenCount(32'000));
  EXPECT_EQ(Plan(options).pool.bytes, Bytes(32'000 * 819'200LL));
  options.block_size = 64;
  EXPECT_EQ(Plan(options).pool.slots, TokenCount(64'000));
  options.block_size.reset();
  options.policies = "contiguous-max";
  EXPECT_EQ(Plan(options).pool.slots, TokenCount(16'000));
}

TEST(SimPlanTest, AGpuGivesWhatWeightsAndActivationsLeave) {
  SimOptions options = ValidOptions();
  options.memory.reset();
  options.gpu = "a100-40gb";
  options.weights = "26GB";
  const SimPlan plan = Plan(options);
  options.activations = "819200000";  // a thousand tokens
  const SimPlan less = Plan(options);
  ASSERT_TRUE(plan.pool.slots && less.pool.slots);
  EXPECT_EQ(*plan.pool.slots - *less.pool.slots, TokenCount(1'000));
  EXPECT_EQ(plan.pool.source, "gpu");
  EXPECT_EQ(plan.pool.slots->value(), plan.pool.bytes->value() / 819'200);
}

TEST(SimPlanTest, RanksShareTheHeadsAndSoDoubleThePool) {
  SimOptions options = ValidOptions();
  options.tensor_parallel = 2;
  const SimPlan plan = Plan(options);
  EXPECT_EQ(plan.pool.slots, TokenCount(31'457));
  EXPECT_EQ(plan.pool.bytes, Bytes(2 * 12'884'901'888));
  EXPECT_EQ(plan.model.kv_bytes_per_token, Bytes(819'200));
}

TEST(SimPlanTest, AnotherDtypeChangesTheBytesOfAToken) {
  SimOptions options = ValidOptions();
  options.dtype = "fp8";
  EXPECT_EQ(Plan(options).model.kv_bytes_per_token, Bytes(409'600));
}

TEST(SimPlanTest, WithoutPreemptionBySwapThereIsNoSwapSpace) {
  EXPECT_EQ(Plan(ValidOptions()).simulation.swap_slots, TokenCount(0));
}

TEST(SimPlanTest, ASwapSpaceIsGivenLikeAPool) {
  SimOptions options = ValidOptions();
  options.preemption = "swap";
  // 4 GiB at 819,200 bytes per token.
  EXPECT_EQ(Plan(options).simulation.swap_slots, TokenCount(5'242));
  options.swap_space = "12GiB";
  EXPECT_EQ(Plan(options).simulation.swap_slots, TokenCount(15'728));
  options.swap_space.reset();
  options.num_swap_blocks = 100;
  EXPECT_EQ(Plan(options).simulation.swap_slots, TokenCount(1'600));
  // The iteration clock does not say how long anything takes.
  EXPECT_EQ(Plan(options).simulation.link_bytes_per_s, 0);
}

TEST(SimPlanTest, ATokensWayToTheHostTakesItsBytesOverTheLink) {
  SimOptions options = ValidRooflineOptions();
  options.preemption = "swap";
  SimPlan plan = Plan(options);
  EXPECT_EQ(plan.simulation.link_bytes_per_s, 50'412'000'000);  // 80 % of gen 5
  EXPECT_NEAR(
      static_cast<double>(plan.simulation.step_time.per_swapped_token) * 1e-9,
      819'200 / 50'412.0, 1e-6);  // microseconds
  options.link_bandwidth = "25GB/s";
  plan = Plan(options);
  EXPECT_EQ(plan.simulation.step_time.per_swapped_token, 32'768'000'000);
  // Each of two GPUs has half of the heads, and a link of its own.
  options.tensor_parallel = 2;
  EXPECT_EQ(Plan(options).simulation.step_time.per_swapped_token,
            16'384'000'000);
}

TEST(SimPlanTest, BlocksAndDemandNeedNoModelButALength) {
  SimOptions options = ValidOptions();
  options.model.reset();
  options.memory.reset();
  options.num_blocks = 100;
  options.max_seq_len = 512;
  const SimPlan plan = Plan(options);
  EXPECT_FALSE(plan.model.kv_bytes_per_token.has_value());
  EXPECT_FALSE(plan.pool.bytes.has_value());
  EXPECT_EQ(plan.pool.slots, TokenCount(1'600));
  EXPECT_FALSE(plan.model.max_is_models_own);
}

struct Mistake {
  const char* name;
  std::function<void(SimOptions&)> make;
  const char* message;  ///< a part of it
};

void PrintTo(const Mistake& mistake, std::ostream* out) {
  *out << mistake.name;
}

class SimPlanMistakeTest : public ::testing::TestWithParam<Mistake> {};

TEST_P(SimPlanMistakeTest, IsOneLineThatNamesTheOption) {
  SimOptions options = ValidOptions();
  GetParam().make(options);
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(options);
  ASSERT_FALSE(plan.ok());
  const std::string message(plan.status().message());
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

const Mistake kMistakes[] = {
    {"NoWorkload", [](SimOptions& o) { o.workload.reset(); },
     "either --trace FILE or --workload NAME"},
    {"TwoWorkloads", [](SimOptions& o) { o.trace = "a.csv"; },
     "either --trace FILE or --workload NAME"},
    {"StrictWithoutTrace", [](SimOptions& o) { o.strict = true; },
     "--strict is for a --trace"},
    {"SkipMalformedWithoutTrace",
     [](SimOptions& o) { o.skip_malformed = true; },
     "--skip-malformed is for a --trace"},
    {"SortWithoutTrace", [](SimOptions& o) { o.sort = true; },
     "--sort is for a --trace"},
    {"NoRequests", [](SimOptions& o) { o.requests = 0; }, "--requests"},
    {"NoRate",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.rate = 0;
     },
     "--rate"},
    {"RateIsNoNumber",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.rate = std::numeric_limits<double>::quiet_NaN();
     },
     "--rate"},
    {"RateOfASaturatedQueue", [](SimOptions& o) { o.rate = 2; },
     "--rate sets arrival times"},
    {"UnknownPreemption", [](SimOptions& o) { o.preemption = "abort"; },
     "unknown --preemption 'abort': use recompute or swap"},
    {"SwapSpaceWithoutSwap", [](SimOptions& o) { o.swap_space = "1GiB"; },
     "--swap-space needs --preemption swap"},
    {"TwoSwapSpaces",
     [](SimOptions& o) {
       o.preemption = "swap";
       o.swap_space = "1GiB";
       o.num_swap_blocks = 5;
     },
     "--swap-space and --num-swap-blocks contradict"},
    {"SwapSpaceIsNoSize",
     [](SimOptions& o) {
       o.preemption = "swap";
       o.swap_space = "much";
     },
     "--swap-space"},
    {"SwapSpaceOfNoBlock",
     [](SimOptions& o) {
       o.preemption = "swap";
       o.swap_space = "12MB";
     },
     "holds no block of policy paged-16"},
    {"SwapSpaceOfUnknownTokens",
     [](SimOptions& o) {
       o.model.reset();
       o.memory.reset();
       o.num_blocks = 100;
       o.max_seq_len = 512;
       o.preemption = "swap";
     },
     "--num-swap-blocks"},
    {"SwapOfContiguousMemory",
     [](SimOptions& o) {
       o.policies = "contiguous-max";
       o.preemption = "swap";
     },
     "needs a paged policy"},
    {"SwapInDemandMode",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.memory.reset();
       o.demand = true;
       o.preemption = "swap";
     },
     "contradicts --demand"},
    {"LinkOfAFixedClock",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.preemption = "swap";
       o.link_bandwidth = "25GB";
     },
     "--link-bandwidth needs --clock model"},
    {"LinkOfNoBandwidth",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.preemption = "swap";
       o.link_bandwidth = "0";
     },
     "--link-bandwidth must be at least 1"},
    {"UnknownPolicy", [](SimOptions& o) { o.policies = "paged-16,buddy"; },
     "contiguous-pow2"},
    {"NoPolicy", [](SimOptions& o) { o.policies = ""; }, "--policies"},
    {"PolicyTwice", [](SimOptions& o) { o.policies = "paged-16,paged-16"; },
     "'paged-16' is given more than once"},
    {"UnknownModel", [](SimOptions& o) { o.model = "opt-13c"; }, "opt-13b"},
    {"TwoModels", [](SimOptions& o) { o.kv_bytes_per_token = 1; },
     "--model and --kv-bytes-per-token contradict"},
    {"NoSuchConfig",
     [](SimOptions& o) {
       o.model.reset();
       o.config = "/no/such/config.json";
     },
     "/no/such/config.json"},
    {"NoBytesPerToken",
     [](SimOptions& o) {
       o.model.reset();
       o.kv_bytes_per_token = 0;
     },
     "--kv-bytes-per-token"},
    {"MemoryWithoutModel",
     [](SimOptions& o) {
       o.model.reset();
       o.max_seq_len = 100;
     },
     "--memory needs --model"},
    {"NoLength",
     [](SimOptions& o) {
       o.model.reset();
       o.kv_bytes_per_token = 1;
     },
     "--max-seq-len"},
    {"LengthOfZero", [](SimOptions& o) { o.max_seq_len = 0; }, "--max-seq-len"},
    {"UnknownDtype", [](SimOptions& o) { o.dtype = "fp7"; }, "--dtype"},
    {"DtypeWithoutModel",
     [](SimOptions& o) {
       o.model.reset();
       o.kv_bytes_per_token = 1;
       o.dtype = "fp8";
     },
     "--dtype needs --model"},
    {"RanksWithoutModel",
     [](SimOptions& o) {
       o.model.reset();
       o.kv_bytes_per_token = 1;
       o.tensor_parallel = 2;
     },
     "--tp needs --model"},
    {"NoPool", [](SimOptions& o) { o.memory.reset(); },
     "--memory SIZE, --num-blocks N, --gpu NAME or --demand"},
    {"TwoPools", [](SimOptions& o) { o.num_blocks = 1; },
     "--memory and --num-blocks contradict"},
    {"MemoryIsNoSize", [](SimOptions& o) { o.memory = "12 apples"; },
     "--memory: '12 apples'"},
    {"MemoryBelowAToken", [](SimOptions& o) { o.memory = "800KB"; },
     "--memory"},
    {"NoBlocks",
     [](SimOptions& o) {
       o.memory.reset();
       o.num_blocks = 0;
     },
     "--num-blocks"},
    {"BlocksBeyond63Bits",
     [](SimOptions& o) {
       o.memory.reset();
       o.num_blocks = std::int64_t{1} << 60;
     },
     "--num-blocks"},
    {"BlockSizeOfBytes", [](SimOptions& o) { o.block_size = 16; },
     "--block-size needs --num-blocks"},
    {"NoBlockSize",
     [](SimOptions& o) {
       o.memory.reset();
       o.num_blocks = 10;
       o.block_size = 0;
     },
     "--block-size"},
    {"UnknownGpu",
     [](SimOptions& o) {
       o.memory.reset();
       o.gpu = "tpu";
     },
     "--gpu"},
    {"WeightsWithoutGpu", [](SimOptions& o) { o.weights = "1GB"; },
     "--weights needs --gpu"},
    {"UtilizationWithoutGpu",
     [](SimOptions& o) { o.gpu_memory_utilization = 0.5; },
     "--gpu-memory-utilization needs --gpu"},
    {"WeightsNotKnown",
     [](SimOptions& o) {
       o.memory.reset();
       o.model.reset();
       o.kv_bytes_per_token = 1'000;
       o.max_seq_len = 100;
       o.gpu = "h100";
     },
     "give --weights"},
    {"WeightsLeaveNothing",
     [](SimOptions& o) {
       o.memory.reset();
       o.gpu = "h100";
       o.weights = "1TB";
     },
     "leaves no memory for KV"},
    {"UnknownClock", [](SimOptions& o) { o.clock = "wall"; },
     "use iteration, fixed or model"},
    {"NoPreset", [](SimOptions& o) { o.clock = "model"; },
     "--clock model needs --step-time-preset: roofline, splitwise-h100"},
    {"UnknownPreset",
     [](SimOptions& o) {
       o.clock = "model";
       o.step_time_preset = "abacus";
     },
     "'abacus' is neither a preset (roofline, splitwise-h100"},
    {"PresetThatIsAFolder",
     [](SimOptions& o) {
       o.clock = "model";
       o.step_time_preset = "/";
     },
     "--step-time-preset: /: the file cannot be read"},
    {"PresetOfTheFixedClock",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.step_time_preset = "roofline";
     },
     "--step-time-preset needs --clock model"},
    {"StepTimeOfTheModelClock",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.step_time = "20ms";
     },
     "--step-time needs --clock fixed"},
    {"RooflineWithoutGpu",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.gpu.reset();
     },
     "roofline needs --model and --gpu"},
    {"RooflineWithoutModel",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.model.reset();
       o.kv_bytes_per_token = 1'000;
       o.max_seq_len = 100;
     },
     "roofline needs --model and --gpu"},
    {"RooflineBeyondTheBound",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.compute_efficiency = 1.5;
     },
     "the compute efficiency must be from 0.01 to 1"},
    {"EfficiencyOfATable",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.gpu.reset();
       o.step_time_preset = "splitwise-h100-tp8-llama-2-70b";
       o.compute_efficiency = 0.5;
     },
     "--compute-efficiency needs --step-time-preset roofline"},
    {"GpuBesideAPoolWithoutRoofline",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.step_time_preset = "splitwise-h100-tp8-llama-2-70b";
     },
     "--memory and --gpu contradict each other"},
    {"UtilizationOfAGpuThatIsNoPool",
     [](SimOptions& o) {
       o = ValidRooflineOptions();
       o.gpu_memory_utilization = 0.5;
     },
     "--gpu-memory-utilization needs a pool from --gpu"},
    {"ServiceLevelOfSteps", [](SimOptions& o) { o.slo_tpot = "50ms"; },
     "--slo-tpot needs --clock fixed or model"},
    {"ServiceLevelWithoutUnit",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.slo_ttft = "500";
     },
     "--slo-ttft: '500'"},
    {"FirstTokenSinceAnArrivalThatIsIgnored",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.saturate = true;
       o.slo_ttft = "1s";
     },
     "--slo-ttft counts from the arrival"},
    {"StepTimeOfIterations", [](SimOptions& o) { o.step_time = "20ms"; },
     "--step-time needs --clock fixed"},
    {"NoStepTime", [](SimOptions& o) { o.clock = "fixed"; },
     "--clock fixed needs --step-time"},
    {"StepTimeWithoutUnit",
     [](SimOptions& o) {
       o.clock = "fixed";
       o.step_time = "20";
     },
     "--step-time: '20'"},
    {"StepTimeOfAYear",
     [](SimOptions& o) {
       o.clock = "fixed";
       o.step_time = "9000h";
     },
     "--step-time must be from 1ns to 1min"},
    {"LengthBeyondReason", [](SimOptions& o) { o.max_seq_len = 1LL << 62; },
     "--max-seq-len must be from 1 to 1,073,741,824"},
    {"SeedBelowZero", [](SimOptions& o) { o.seed = -1; }, "--seed"},
    {"StepTimeOfZero",
     [](SimOptions& o) {
       o.clock = "fixed";
       o.step_time = "0ms";
     },
     "--step-time"},
    {"DemandOfASaturatedQueue",
     [](SimOptions& o) {
       o.memory.reset();
       o.demand = true;
     },
     "--demand needs arrival times"},
    {"DemandWithALimit",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.memory.reset();
       o.demand = true;
       o.max_num_seqs = 10;
     },
     "--max-num-seqs contradicts --demand"},
    {"DemandThatIsSaturated",
     [](SimOptions& o) {
       o = ValidFixedOptions();
       o.memory.reset();
       o.demand = true;
       o.window = "saturated";
     },
     "--window saturated contradicts --demand"},
    {"NoSequences", [](SimOptions& o) { o.max_num_seqs = 0; },
     "--max-num-seqs"},
    {"NoTokens", [](SimOptions& o) { o.max_num_batched_tokens = 0; },
     "--max-num-batched-tokens"},
    {"WatermarkOfAll", [](SimOptions& o) { o.watermark = 1; }, "--watermark"},
    {"WatermarkWithoutPaging",
     [](SimOptions& o) {
       o.policies = "contiguous-max";
       o.watermark = 0.01;
     },
     "--watermark needs a paged policy"},
    {"PrefixCacheWithoutPaging",
     [](SimOptions& o) {
       o.prefix_cache = "on";
       o.policies = "contiguous-max";
     },
     "--prefix-cache on needs a paged policy in --policies"},
    {"EvictionWithoutPrefixCache", [](SimOptions& o) { o.eviction = "lfu"; },
     "--eviction needs --prefix-cache on"},
    {"UnknownEviction",
     [](SimOptions& o) {
       o.prefix_cache = "on";
       o.eviction = "fifo";
     },
     "unknown --eviction 'fifo': use lru, lfu"},
    {"RouterWithoutFleet", [](SimOptions& o) { o.router = "random"; },
     "--router needs --replicas of 2 or more"},
    {"SaturatedFleet", [](SimOptions& o) { o.replicas = 2; },
     "--replicas needs arrival times"},
    {"NoReplica", [](SimOptions& o) { o.replicas = 0; },
     "--replicas must be from 1 to 1,024"},
    {"UnknownPrefixCache", [](SimOptions& o) { o.prefix_cache = "yes"; },
     "use on or off"},
    {"UnknownWeight", [](SimOptions& o) { o.weight = "mass"; },
     "use time or iteration"},
    {"UnknownWindow", [](SimOptions& o) { o.window = "glass"; },
     "use all, busy or saturated"},
};

INSTANTIATE_TEST_SUITE_P(All, SimPlanMistakeTest,
                         ::testing::ValuesIn(kMistakes),
                         [](const ::testing::TestParamInfo<Mistake>& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace pagedkv::sim
