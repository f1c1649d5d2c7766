// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/rechunk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

namespace pagedkv::sim {
namespace {

using Ids = std::vector<std::uint64_t>;

Ids Chunks(const Ids& trace_ids, std::int64_t prompt, std::int32_t engine_block,
           std::int32_t trace_block = 512) {
  return Rechunk(trace_ids, BlockSize(trace_block), TokenCount(prompt),
                 BlockSize(engine_block));
}

std::size_t CommonPrefix(const Ids& a, const Ids& b) {
  const auto ends = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(ends.first - a.begin());
}

TEST(RechunkTest, MakesThirtyTwoDistinctBlocksOfOne) {
  const Ids ids = Chunks({7}, 512, 16);
  EXPECT_EQ(ids.size(), 32U);
  EXPECT_EQ(std::set<std::uint64_t>(ids.begin(), ids.end()).size(), 32U);
  EXPECT_EQ(ids, Chunks({7}, 512, 16));
}

TEST(RechunkTest, CoversThePromptToItsLastToken) {
  EXPECT_EQ(Chunks({1, 2}, 513, 16).size(), 33U);
  EXPECT_EQ(Chunks({1, 2}, 1024, 16).size(), 64U);
  EXPECT_EQ(Chunks({1}, 1, 16).size(), 1U);
  EXPECT_EQ(Chunks({1, 2, 3}, 1100, 1024).size(), 2U);
  EXPECT_EQ(Chunks({1, 2}, 600, 512).size(), 2U);
}

TEST(RechunkTest, SharesExactlyAsFarAsTheTraceDoes) {
  const Ids a = {1, 2, 3, 4};
  const Ids b = {1, 2, 5, 6};
  for (const std::int32_t block : {16, 24, 128, 512, 1000, 1024, 4096}) {
    EXPECT_EQ(CommonPrefix(Chunks(a, 2048, block), Chunks(b, 2048, block)),
              static_cast<std::size_t>(1024 / block))
        << block;
    EXPECT_EQ(Chunks(a, 2048, block), Chunks(a, 2048, block));
  }
}

TEST(RechunkTest, KeepsAPartialBlockApartFromAFullOne) {
  EXPECT_EQ(CommonPrefix(Chunks({1}, 40, 16), Chunks({1}, 512, 16)), 2U);
}

TEST(RechunkTest, GivesNoIdToUnknownContentAndIgnoresSurplus) {
  EXPECT_EQ(Chunks({1}, 2000, 16).size(), 32U);
  EXPECT_EQ(Chunks({1, 2, 3}, 512, 16), Chunks({1}, 512, 16));
  EXPECT_TRUE(Chunks({}, 100, 16).empty());
}

}  // namespace
}  // namespace pagedkv::sim
