// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_pool.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;

std::vector<BlockId> Ids(std::initializer_list<int> values) {
  std::vector<BlockId> ids;
  for (int value : values) ids.push_back(BlockId(value));
  return ids;
}

BlockPool MakePool(std::int64_t num_blocks, bool prefix_caching = false) {
  return *BlockPool::Create(
      {.num_blocks = BlockCount(num_blocks), .prefix_caching = prefix_caching});
}

std::vector<BlockId> Allocate(BlockPool& pool, std::size_t count) {
  std::vector<BlockId> blocks(count);
  EXPECT_TRUE(pool.TryAllocate(blocks));
  return blocks;
}

TEST(BlockPoolTest, RefusesOptionsOutOfRange) {
  EXPECT_EQ(BlockPool::Create({.num_blocks = BlockCount(1)}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(BlockPool::Create({.num_blocks = BlockCount((1 << 30) + 1)})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  for (double watermark : {-0.1, 1.0, 0.0 / 0.0}) {
    EXPECT_EQ(
        BlockPool::Create({.num_blocks = BlockCount(8), .watermark = watermark})
            .status()
            .code(),
        absl::StatusCode::kInvalidArgument);
  }
}

TEST(BlockPoolTest, IssuesIdsInOrderAndNeverTheNullBlock) {
  BlockPool pool = MakePool(5);
  EXPECT_EQ(pool.num_free(), BlockCount(4));
  EXPECT_EQ(Allocate(pool, 4), Ids({1, 2, 3, 4}));
  EXPECT_EQ(pool.num_used(), BlockCount(4));
  EXPECT_DOUBLE_EQ(pool.usage(), 1.0);
}

TEST(BlockPoolTest, AllocateTakesAllOrNothing) {
  BlockPool pool = MakePool(5);
  std::vector<BlockId> five(5, BlockId(-7));
  EXPECT_FALSE(pool.TryAllocate(five));
  EXPECT_EQ(five, std::vector<BlockId>(5, BlockId(-7)));
  EXPECT_EQ(pool.num_free(), BlockCount(4));
}

TEST(BlockPoolTest, ReissuesInOrderOfRelease) {
  BlockPool pool = MakePool(6);
  const std::vector<BlockId> blocks = Allocate(pool, 5);
  ASSERT_TRUE(pool.Release(Ids({4, 2})).ok());
  ASSERT_TRUE(pool.ReleaseReversed(Ids({1, 3})).ok());
  EXPECT_EQ(Allocate(pool, 4), Ids({4, 2, 3, 1}));
}

TEST(BlockPoolTest, ASharedBlockStaysUntilItsLastRelease) {
  BlockPool pool = MakePool(4);
  const std::vector<BlockId> blocks = Allocate(pool, 2);
  ASSERT_TRUE(pool.Share(blocks).ok());
  EXPECT_EQ(pool.ref_count(BlockId(1)), 2);
  ASSERT_TRUE(pool.Release(blocks).ok());
  EXPECT_EQ(pool.num_used(), BlockCount(2));
  ASSERT_TRUE(pool.Release(blocks).ok());
  EXPECT_EQ(pool.num_used(), BlockCount(0));
}

TEST(BlockPoolTest, ADoubleFreeIsRefusedAndChangesNothing) {
  BlockPool pool = MakePool(6);
  Allocate(pool, 3);
  ASSERT_TRUE(pool.Release(Ids({2})).ok());
  const absl::Status status = pool.Release(Ids({1, 3, 2}));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("block 2"));
  EXPECT_EQ(pool.ref_count(BlockId(1)), 1);
  EXPECT_EQ(pool.ref_count(BlockId(3)), 1);
  EXPECT_EQ(pool.num_used(), BlockCount(2));
  EXPECT_EQ(pool.Release(Ids({1, 1})).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(pool.Release(Ids({6})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.Release(Ids({-1})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(pool.Share(Ids({1, 2})).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(pool.ref_count(BlockId(1)), 1);
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

TEST(BlockPoolTest, AStaleHandleIsRefusedThoughItsBlockIsInUseAgain) {
  BlockPool pool = MakePool(2);
  Allocate(pool, 1);
  const BlockHandle stale = pool.handle(BlockId(1));
  EXPECT_TRUE(pool.IsCurrent(stale));
  ASSERT_TRUE(pool.Release(std::vector<BlockHandle>{stale}).ok());
  Allocate(pool, 1);
  EXPECT_FALSE(pool.IsCurrent(stale));
  EXPECT_EQ(pool.Release(std::vector<BlockHandle>{stale}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(pool.ref_count(BlockId(1)), 1);
}

TEST(BlockPoolTest, NullBlocksAreSkipped) {
  BlockPool pool = MakePool(3);
  Allocate(pool, 1);
  EXPECT_TRUE(pool.Share(Ids({0, 1})).ok());
  EXPECT_TRUE(pool.Release(Ids({0, 1, 0, 1})).ok());
  EXPECT_EQ(pool.num_free(), BlockCount(2));
}

TEST(BlockPoolTest, WatermarkIsRoundedDown) {
  const BlockPool pool =
      *BlockPool::Create({.num_blocks = BlockCount(150), .watermark = 0.01});
  EXPECT_EQ(pool.watermark_blocks(), BlockCount(1));
}

TEST(BlockPoolTest, BlocksWithoutContentAreReissuedBeforeCachedOnes) {
  BlockPool pool = MakePool(6, /*prefix_caching=*/true);
  Allocate(pool, 4);  // 5 is left
  pool.SetCached(BlockId(1), true);
  pool.SetCached(BlockId(3), true);
  ASSERT_TRUE(pool.Release(Ids({1, 2, 3, 4})).ok());
  EXPECT_THAT(pool.FreeBlocks(), ElementsAre(BlockId(2), BlockId(4), BlockId(5),
                                             BlockId(1), BlockId(3)));
  std::vector<BlockId> evicted;
  std::vector<BlockId> all(5);
  ASSERT_TRUE(pool.TryAllocate(all, &evicted));
  EXPECT_EQ(evicted, Ids({1, 3}));
  EXPECT_FALSE(pool.is_cached(BlockId(1)));
}

TEST(BlockPoolTest, ACachedFreeBlockCanBeRevived) {
  BlockPool pool = MakePool(4, /*prefix_caching=*/true);
  Allocate(pool, 3);
  pool.SetCached(BlockId(2), true);
  ASSERT_TRUE(pool.Release(Ids({1, 2, 3})).ok());
  ASSERT_TRUE(pool.Share(Ids({2})).ok());
  EXPECT_EQ(pool.num_free(), BlockCount(2));
  EXPECT_TRUE(pool.is_cached(BlockId(2)));
  EXPECT_THAT(pool.FreeBlocks(), ElementsAre(BlockId(1), BlockId(3)));
  EXPECT_TRUE(pool.CheckInvariants().ok());
}

}  // namespace
}  // namespace pagedkv
