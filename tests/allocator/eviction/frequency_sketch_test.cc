// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/frequency_sketch.h"

#include <cstdint>
#include <random>
#include <unordered_map>

#include "gtest/gtest.h"

namespace pagedkv {
namespace {

TEST(FrequencySketchTest, CountsUpToFifteen) {
  FrequencySketch sketch(1024);
  EXPECT_EQ(sketch.Estimate(7), 0u);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    sketch.Add(7);
    EXPECT_EQ(sketch.Estimate(7), i < 15 ? i : 15);
  }
}

TEST(FrequencySketchTest, IsNeverTooLowAndSeldomTooHigh) {
  constexpr std::int64_t kContents = 2000;
  FrequencySketch sketch(kContents);
  std::mt19937_64 random(1);
  std::unordered_map<std::uint64_t, std::uint64_t> counts;
  for (int i = 0; i < 9 * kContents; ++i) {
    const std::uint64_t content = random() % kContents;
    sketch.Add(content);
    ++counts[content];
  }
  int too_high = 0;
  for (const auto& [content, count] : counts) {
    const std::uint64_t capped = count < 15 ? count : 15;
    ASSERT_GE(sketch.Estimate(content), capped) << content;
    too_high += sketch.Estimate(content) > capped ? 1 : 0;
  }
  EXPECT_LT(too_high, kContents / 50);
}

TEST(FrequencySketchTest, ForgetsHalfAfterTenTimesItsContents) {
  FrequencySketch sketch(100);
  for (int i = 0; i < 12; ++i) sketch.Add(7);
  for (std::uint64_t i = 12; i < 999; ++i) sketch.Add(8);
  EXPECT_EQ(sketch.Estimate(7), 12u);
  sketch.Add(8);
  EXPECT_EQ(sketch.Estimate(7), 6u);
  EXPECT_EQ(sketch.Estimate(8), 7u);
}

}  // namespace
}  // namespace pagedkv
