// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/roofline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/catalogue/model_catalogue.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

/// A GPU of round numbers: 10^12 B/s and 10^14 FLOP/s.
GpuSpec RoundGpu() {
  GpuSpec gpu;
  gpu.name = "round";
  gpu.bandwidth_bytes_per_s = 1'000'000'000'000;
  gpu.bf16_flops_per_s = 100'000'000'000'000;
  return gpu;
}

/// Two layers of 4 query and 2 KV heads of 8 elements, 1,000 parameters.
ModelSpec SmallModel() {
  ModelSpec model;
  model.name = "small";
  KvLayer layer;
  layer.key = {.heads = 2, .head_size = 8};
  layer.value = layer.key;
  model.layers = WithFormat({layer, layer}, KvFormat::For(KvDtype::kBf16));
  model.query_heads = 4;
  model.key_head_size = model.value_head_size = 8;
  model.parameters = model.active_parameters = 1'000;
  model.weights = Bytes(2'000);
  return model;
}

StepTime Time(const ModelSpec& model, const GpuSpec& gpu,
              const RooflineOptions& options = {}) {
  const absl::StatusOr<StepTime> time = Roofline(model, gpu, options);
  EXPECT_TRUE(time.ok()) << time.status();
  return time.ok() ? *time : StepTime{};
}

TEST(RooflineTest, IsWhatOneCountsByHand) {
  const StepTime time = Time(SmallModel(), RoundGpu());
  EXPECT_EQ(time.serial, StepCost());
  // 1 B takes 1,000 fs; 1 FLOP takes 10 fs.
  EXPECT_EQ(time.memory,
            (StepCost{.per_step = 2'000 * 1'000,
                      // 2 layers of K and V of 2 x 8 elements of 2 B
                      .per_resident_token = 2 * 2 * 2 * 8 * 2 * 1'000}));
  EXPECT_EQ(time.compute,
            (StepCost{.per_computed_token = 2 * 1'000 * 10,
                      // 2 layers, 4 heads, 2 FLOPs for 8 + 8 elements
                      .per_prefill_attention = 2 * 4 * 2 * (8 + 8) * 10}));
}

TEST(RooflineTest, RanksShareTheWorkAndStagesTakeTurns) {
  const StepTime time = Time(SmallModel(), RoundGpu(),
                             {.tensor_parallel = 2, .pipeline_parallel = 2});
  EXPECT_EQ(time.memory.per_step, 1'000 * 1'000);
  EXPECT_EQ(time.memory.per_resident_token, 2 * 2 * 1 * 8 * 2 * 1'000);
  EXPECT_EQ(time.compute.per_computed_token, 1'000 * 10);
  EXPECT_EQ(time.compute.per_prefill_attention, 4 * 2 * (8 + 8) * 10);
}

TEST(RooflineTest, RanksBeyondTheKvHeadsReadThemAgain) {
  const StepTime time = Time(SmallModel(), RoundGpu(), {.tensor_parallel = 4});
  EXPECT_EQ(time.memory.per_step, 500 * 1'000);
  EXPECT_EQ(time.memory.per_resident_token, 2 * 2 * 1 * 8 * 2 * 1'000);
}

TEST(RooflineTest, EfficienciesStretchTheirPartAndAreNamed) {
  const StepTime time =
      Time(SmallModel(), RoundGpu(),
           {.compute_efficiency = 0.5, .bandwidth_efficiency = 0.25});
  EXPECT_EQ(time.memory.per_step, 4 * 2'000 * 1'000);
  EXPECT_EQ(time.compute.per_computed_token, 2 * 2 * 1'000 * 10);
  EXPECT_THAT(time.source, HasSubstr("0.5 of the peak FLOP/s"));
  EXPECT_THAT(time.source, HasSubstr("0.25 of the peak bandwidth"));
  EXPECT_THAT(Time(SmallModel(), RoundGpu()).source, HasSubstr("a bound"));
  for (const double efficiency : {0.0, -1.0, 1.1}) {
    EXPECT_FALSE(
        Roofline(SmallModel(), RoundGpu(), {.compute_efficiency = efficiency})
            .ok());
  }
}

TEST(RooflineTest, TheDtypeOfTheCacheCounts) {
  const StepTime time = Time(SmallModel(), RoundGpu(),
                             {.kv_format = KvFormat::For(KvDtype::kFp8)});
  EXPECT_EQ(time.memory.per_resident_token, 2 * 2 * 2 * 8 * 1'000);
}

TEST(RooflineTest, LayersWithoutAttentionCostNoPairs) {
  ModelSpec model = SmallModel();
  model.layers[1].kind = KvLayerKind::kStateless;
  const StepTime time = Time(model, RoundGpu());
  EXPECT_EQ(time.compute.per_prefill_attention, 4 * 2 * (8 + 8) * 10);
  EXPECT_EQ(time.memory.per_resident_token, 2 * 2 * 8 * 2 * 1'000);
}

TEST(RooflineTest, Llama31On4090) {
  const absl::StatusOr<ModelSpec> model = FindModel("llama-3.1-8b");
  const absl::StatusOr<GpuSpec> gpu = FindGpu("rtx-4090");
  ASSERT_TRUE(model.ok() && gpu.ok());
  const StepTime time = Time(*model, *gpu);
  // 16.06 GB at 1,008 GB/s are 15.9 ms; 131,072 B are 0.13 us.
  EXPECT_NEAR(static_cast<double>(time.memory.per_step), 15.93e12, 0.01e12);
  EXPECT_NEAR(static_cast<double>(time.memory.per_resident_token), 130.03e6,
              0.01e6);
  // 2 x 8.03e9 at 165.2e12 are 97.2 us; 4 x 32 x 32 x 128 are 3.2 ns.
  EXPECT_NEAR(static_cast<double>(time.compute.per_computed_token), 97.2e9,
              0.1e9);
  EXPECT_NEAR(static_cast<double>(time.compute.per_prefill_attention), 3.174e6,
              0.001e6);
}

TEST(RooflineTest, ExpertsThatATokenPassesByCostNoFlops) {
  const absl::StatusOr<ModelSpec> model = FindModel("mixtral-8x7b");
  ASSERT_TRUE(model.ok());
  // 32 layers of attention (41,943,040), two of eight experts of 176,160,768,
  // their gate and norms (40,960); embeddings twice, and a last norm.
  EXPECT_EQ(model->active_parameters,
            32LL * (41'943'040 + 2 * 176'160'768 + 40'960) +
                2 * 32'000 * 4'096 + 4'096);
  const StepTime time = Time(*model, RoundGpu());
  EXPECT_EQ(time.compute.per_computed_token, 2 * model->active_parameters * 10);
}

TEST(RooflineTest, WhatIsNotKnownIsSaid) {
  ModelSpec model = SmallModel();
  model.active_parameters = 0;
  const absl::StatusOr<StepTime> time = Roofline(model, RoundGpu(), {});
  EXPECT_TRUE(absl::IsFailedPrecondition(time.status()));
  EXPECT_THAT(std::string(time.status().message()), HasSubstr("small"));
}

}  // namespace
}  // namespace pagedkv::sim
