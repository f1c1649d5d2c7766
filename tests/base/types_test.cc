// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/types.h"

#include <sstream>
#include <type_traits>
#include <unordered_set>

#include "gtest/gtest.h"

namespace pagedkv {
namespace {

static_assert(!std::is_convertible_v<BlockCount, TokenCount>);
static_assert(!std::is_convertible_v<std::int64_t, TokenCount>);
static_assert(!std::is_constructible_v<BlockId, SequenceId>);

TEST(BlockSizeTest, CoveringBlocksRoundsUpAndFullBlocksDown) {
  constexpr BlockSize kSize{16};
  EXPECT_EQ(kSize.CoveringBlocks(TokenCount(0)), BlockCount(0));
  EXPECT_EQ(kSize.CoveringBlocks(TokenCount(1)), BlockCount(1));
  EXPECT_EQ(kSize.CoveringBlocks(TokenCount(16)), BlockCount(1));
  EXPECT_EQ(kSize.CoveringBlocks(TokenCount(17)), BlockCount(2));
  EXPECT_EQ(kSize.FullBlocks(TokenCount(31)), BlockCount(1));
  EXPECT_EQ(kSize.FullBlocks(TokenCount(32)), BlockCount(2));
  EXPECT_EQ(kSize.Slots(BlockCount(3)), TokenCount(48));
  EXPECT_EQ(kSize.Remainder(TokenCount(35)), TokenCount(3));
}

TEST(BlockSizeTest, AnySizeDividesLikeAPowerOfTwo) {
  for (std::int32_t size : {1, 2, 3, 7, 16, 48, 7808}) {
    const BlockSize block_size{size};
    for (std::int64_t tokens :
         {0, 1, 2, 15, 16, 17, 47, 48, 7807, 7808, 7809, 1 << 30}) {
      EXPECT_EQ(block_size.FullBlocks(TokenCount(tokens)).value(),
                tokens / size);
      EXPECT_EQ(block_size.CoveringBlocks(TokenCount(tokens)).value(),
                (tokens + size - 1) / size);
      EXPECT_EQ(block_size.Remainder(TokenCount(tokens)).value(),
                tokens % size);
    }
  }
}

TEST(CountTest, AddsSubtractsAndScales) {
  EXPECT_EQ(TokenCount(3) + TokenCount(4) - TokenCount(2), TokenCount(5));
  EXPECT_EQ(Bytes(3) * 4, Bytes(12));
  EXPECT_LT(BlockCount(1), BlockCount(2));
}

TEST(IdTest, PrintsWhatItNames) {
  std::ostringstream out;
  out << BlockId(7) << ", " << TokenCount(8);
  EXPECT_EQ(out.str(), "block 7, 8 tokens");
}

TEST(IdTest, HashesByValue) {
  const std::unordered_set<BlockId> ids = {BlockId(1), BlockId(2), BlockId(1)};
  EXPECT_EQ(ids.size(), 2u);
}

}  // namespace
}  // namespace pagedkv
