// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/block_waves.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv::cuda {
namespace {

bool AreApart(const BlockCopy& a, const BlockCopy& b) {
  return a.source != b.destination && a.destination != b.source &&
         a.destination != b.destination;
}

TEST(BlockWavesTest, CopiesOfAWaveAreApartAndTheNextOneIsNot) {
  constexpr std::uint64_t kSeed = 1125;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  BlockWaves waves(BlockCount(40));
  int longest = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<BlockCopy> copies(1 + random() % 20);
    for (BlockCopy& copy : copies) {
      copy.source = BlockId(static_cast<std::int32_t>(1 + random() % 39));
      copy.destination = BlockId(
          1 + (copy.source.value() + static_cast<std::int32_t>(random() % 38)) %
                  39);
    }
    std::span<const BlockCopy> left = copies;
    std::size_t done = 0;
    while (!left.empty()) {
      const std::span<const BlockCopy> wave = waves.Take(left);
      ASSERT_FALSE(wave.empty());
      ASSERT_EQ(wave.data(), copies.data() + done);
      done += wave.size();
      longest = std::max(longest, static_cast<int>(wave.size()));
      const auto are_apart_from_wave = [&](const BlockCopy& copy) {
        for (const BlockCopy& other : wave) {
          if (&other != &copy && !AreApart(other, copy)) return false;
        }
        return true;
      };
      for (const BlockCopy& copy : wave) {
        ASSERT_TRUE(are_apart_from_wave(copy));
      }
      // No shorter than it can be.
      if (!left.empty()) {
        ASSERT_FALSE(are_apart_from_wave(left.front()));
      }
    }
    ASSERT_EQ(done, copies.size());
  }
  EXPECT_GE(longest, 8);
}

TEST(BlockWavesTest, SwapsOfAWaveWriteToDifferentBlocks) {
  const std::vector<BlockSwap> swaps = {{0, BlockId(1), BlockId(5), 1},
                                        {0, BlockId(2), BlockId(6), 1},
                                        {0, BlockId(3), BlockId(5), 1},
                                        {0, BlockId(3), BlockId(7), 1}};
  BlockWaves waves(BlockCount(4));
  std::span<const BlockSwap> left = swaps;
  EXPECT_EQ(waves.TakeSwapOuts(left, BlockCount(8)).size(), 2u);
  EXPECT_EQ(waves.TakeSwapOuts(left, BlockCount(8)).size(), 2u);
  EXPECT_TRUE(left.empty());
  left = swaps;
  EXPECT_EQ(waves.TakeSwapIns(left).size(), 3u);
  EXPECT_EQ(waves.TakeSwapIns(left).size(), 1u);
}

}  // namespace
}  // namespace pagedkv::cuda
