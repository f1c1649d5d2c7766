// SPDX-License-Identifier: Apache-2.0
#include "sim/report/kv_group_use.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "sim/report/kv_group_table.h"
#include "sim/report/length_counts.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

struct LengthCount {
  std::int64_t length;
  std::int64_t requests;
  std::int64_t steps;
  friend bool operator==(const LengthCount&, const LengthCount&) = default;
};

std::vector<LengthCount> Counts(const LengthCounts& lengths) {
  std::vector<LengthCount> counts;
  lengths.ForEachLength([&counts](std::int64_t length, std::int64_t requests,
                                  std::int64_t steps) {
    counts.push_back({length, requests, steps});
  });
  return counts;
}

TEST(LengthCountsTest, ARequestHasOneStepAtEachLengthFromItsPromptOn) {
  LengthCounts lengths;
  EXPECT_TRUE(Counts(lengths).empty());
  lengths.Add(2, 3);
  EXPECT_THAT(Counts(lengths),
              ElementsAre(LengthCount{2, 0, 1}, LengthCount{3, 0, 1},
                          LengthCount{4, 1, 1}));
  lengths.Add(4, 1);
  lengths.Add(7, 1);
  EXPECT_THAT(Counts(lengths),
              ElementsAre(LengthCount{2, 0, 1}, LengthCount{3, 0, 1},
                          LengthCount{4, 2, 2}, LengthCount{7, 1, 1}));
}

/// `num_full` full layers and `num_sliding` of window 8, each with 4 bytes per
/// token, in blocks of 4 tokens.
HybridCache Hybrid(std::size_t num_full, std::size_t num_sliding) {
  KvLayer layer;
  layer.key = {.heads = 1, .head_size = 1};
  layer.value = layer.key;
  std::vector<KvLayer> layers(num_full, layer);
  layer.kind = KvLayerKind::kSlidingWindow;
  layer.window = TokenCount(8);
  layers.insert(layers.end(), num_sliding, layer);
  KvGeometry geometry = *KvGeometry::Create(std::move(layers), BlockSize(4));
  KvCachePlan plan = *PlanKvCache(geometry, {});
  return {std::move(geometry), std::move(plan)};
}

TEST(KvGroupUseTest, SumsWhatEachGroupTakesByHand) {
  // One full and one sliding layer: pages of 16 bytes. A request of 4 prompt
  // and 17 output tokens has 4 to 20 tokens, so 1 to 5 full blocks.
  LengthCounts lengths;
  lengths.Add(4, 17);
  const HybridCache cache = Hybrid(1, 1);
  const auto report = ComputeKvGroupUse(cache, lengths);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_THAT(report->groups, SizeIs(2));
  // Full: 5 blocks at the end; over the steps (1 + 4 * (2 + 3 + 4 + 5)) / 17.
  EXPECT_EQ(report->groups[0].final_length.held, Bytes(5 * 16));
  EXPECT_EQ(report->groups[0].residency.held, Bytes((57 * 16 + 8) / 17));
  EXPECT_EQ(report->groups[0].residency.wasted_pct, 0);
  // Sliding: a window of 8 touches 3 blocks at most.
  EXPECT_EQ(report->groups[1].final_length.held, Bytes(3 * 16));
  EXPECT_EQ(report->all.final_length.held, Bytes(8 * 16));
  EXPECT_EQ(report->all.final_length.needed, Bytes(8 * 16));
  // Without groups both layers hold all tokens: 5 blocks of 32 bytes.
  EXPECT_EQ(report->uniform.final_length.held, Bytes(10 * 16));
  EXPECT_EQ(report->uniform.final_length.wasted_pct, 20);
}

TEST(KvGroupUseTest, LayersThatAGroupLacksAreWaste) {
  // Groups of one layer, two of them sliding; then of 2 layers where one full
  // layer fills but half.
  LengthCounts lengths;
  lengths.Add(20, 1);
  const HybridCache cache = Hybrid(3, 4);  // 4 < 1.5 * 3: groups of 4
  ASSERT_THAT(cache.plan.groups, SizeIs(2));
  ASSERT_EQ(cache.plan.groups[0].missing_layers, 1);
  const auto report = ComputeKvGroupUse(cache, lengths);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->groups[0].final_length.wasted_pct, 25);
  EXPECT_EQ(report->groups[1].final_length.wasted_pct, 0);
  EXPECT_EQ(report->all.final_length.held, Bytes((5 + 3) * 4 * 16));
  EXPECT_EQ(report->all.final_length.needed, Bytes((5 * 3 + 3 * 4) * 16));
}

TEST(KvGroupUseTest, AgreesWithThePlanSummedRequestByRequest) {
  const HybridCache cache = Hybrid(2, 5);
  LengthCounts lengths;
  KvCacheUse residency;
  std::int64_t steps = 0;
  for (std::int32_t i = 1; i <= 60; ++i) {
    const std::int32_t prompt = i * 7 % 23 + 1;
    const std::int32_t output = i * 11 % 31 + 1;
    lengths.Add(prompt, output);
    for (std::int32_t n = prompt; n < prompt + output; ++n, ++steps) {
      const auto use =
          *PlanUseAtLength(cache.geometry, cache.plan, TokenCount(n));
      residency.held += use.held;
      residency.needed += use.needed;
    }
  }
  const auto report = ComputeKvGroupUse(cache, lengths);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->all.residency.held,
            Bytes((residency.held.value() + steps / 2) / steps));
  EXPECT_EQ(report->all.residency.needed,
            Bytes((residency.needed.value() + steps / 2) / steps));
  EXPECT_DOUBLE_EQ(report->all.residency.wasted_pct,
                   residency.wasted_percent());
}

TEST(KvGroupUseTest, NoRequestTakesNothing) {
  const auto report = ComputeKvGroupUse(Hybrid(1, 1), LengthCounts());
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->all.residency.held, Bytes(0));
  EXPECT_EQ(report->uniform.final_length.wasted_pct, 0);
}

TEST(KvGroupTableTest, NamesEachGroupAndTheBaseline) {
  LengthCounts lengths;
  lengths.Add(20, 1);
  const auto report = ComputeKvGroupUse(Hybrid(3, 4), lengths);
  ASSERT_TRUE(report.ok());
  for (const std::string& text :
       {KvGroupsToText(*report), KvGroupsToMarkdown(*report)}) {
    EXPECT_THAT(text, HasSubstr("full: 3 layers + 1 empty"));
    EXPECT_THAT(text, HasSubstr("sliding_window 8: 4 layers"));
    EXPECT_THAT(text, HasSubstr("all groups"));
    EXPECT_THAT(text, HasSubstr("without groups: all tokens in all layers"));
    EXPECT_THAT(text, HasSubstr("25.00"));
  }
}

}  // namespace
}  // namespace pagedkv::sim
