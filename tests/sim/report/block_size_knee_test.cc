// SPDX-License-Identifier: Apache-2.0
#include "sim/report/block_size_knee.h"

#include <gtest/gtest.h>

#include <optional>

namespace pagedkv::sim {
namespace {

TEST(BlockSizeKneeTest, IsTheLargestBlockWithinAPointOfTheLeastWaste) {
  // Azure 2023 conversations, blocks of 8 to 128 tokens.
  const std::optional<BlockSizeKnee> knee = FindBlockSizeKnee(
      {{128, 4.38}, {8, 0.26}, {16, 0.54}, {64, 2.21}, {32, 1.12}});
  ASSERT_TRUE(knee.has_value());
  EXPECT_EQ(knee->block_size(), 32);
  EXPECT_EQ(knee->curve.front().block_size, 8);
  EXPECT_EQ(knee->Sentence(),
            "knee of the block size: 32 tokens waste 1.1 %, beside 0.3 % with "
            "8, for 4x fewer blocks; 64 waste 2.2 %");
}

TEST(BlockSizeKneeTest, MayBeAtEitherEnd) {
  std::optional<BlockSizeKnee> knee =
      FindBlockSizeKnee({{1, 0.0}, {2, 0.1}, {4, 0.2}});
  ASSERT_TRUE(knee.has_value());
  EXPECT_EQ(knee->block_size(), 4);
  EXPECT_EQ(knee->Sentence(),
            "knee of the block size: 4 tokens waste 0.2 %, beside 0.0 % with "
            "1, for 4x fewer blocks; it may be beyond the sizes tried");
  knee = FindBlockSizeKnee({{64, 2.0}, {128, 4.0}, {256, 8.0}});
  ASSERT_TRUE(knee.has_value());
  EXPECT_EQ(knee->block_size(), 64);
  EXPECT_EQ(knee->Sentence(),
            "knee of the block size: 64 tokens waste 2.0 %; 128 waste 4.0 %");
}

TEST(BlockSizeKneeTest, NeedsThreeSizes) {
  EXPECT_FALSE(FindBlockSizeKnee({{8, 1}, {16, 2}, {16, 3}}).has_value());
  EXPECT_FALSE(FindBlockSizeKnee({}).has_value());
}

}  // namespace
}  // namespace pagedkv::sim
