// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/buddy_allocator.h"

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

// The pool of the PagedAttention paper's Fig. 2: 12 GiB / 819,200 B.
constexpr std::int64_t kPaperSlots = 15728;

TEST(BuddyAllocatorTest, SplitsTheCapacityIntoPowersOfTwo) {
  BuddyAllocator buddy(kPaperSlots);
  std::int64_t offset = 0;
  for (std::int64_t arena : {8192, 4096, 2048, 1024, 256, 64, 32, 16}) {
    ASSERT_EQ(buddy.largest_free(), arena);
    ASSERT_EQ(buddy.TryAllocate(arena), offset);
    offset += arena;
  }
  EXPECT_EQ(buddy.free_slots(), 0);
  EXPECT_EQ(buddy.largest_free(), 0);
  EXPECT_EQ(buddy.TryAllocate(1), std::nullopt);
  EXPECT_TRUE(buddy.CheckInvariants().ok()) << buddy.CheckInvariants();
}

TEST(BuddyAllocatorTest, HoldsSevenChunksOfTwoThousandOfThePaper) {
  BuddyAllocator buddy(kPaperSlots);
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(buddy.TryAllocate(2048).has_value());
  EXPECT_EQ(buddy.TryAllocate(2048), std::nullopt);
  EXPECT_EQ(buddy.free_slots(), kPaperSlots - 7 * 2048);
}

TEST(BuddyAllocatorTest, RoundsUpToAPowerOfTwo) {
  BuddyAllocator buddy(4096);
  ASSERT_EQ(buddy.TryAllocate(1025), 0);
  EXPECT_EQ(buddy.free_slots(), 2048);
  ASSERT_EQ(buddy.TryAllocate(1), 2048);
  EXPECT_EQ(buddy.free_slots(), 2047);
}

TEST(BuddyAllocatorTest, TakesTheSmallestChunkThatSuffices) {
  BuddyAllocator buddy(16 + 4);
  EXPECT_EQ(buddy.TryAllocate(3), 16);
  EXPECT_EQ(buddy.TryAllocate(3), 0);
  EXPECT_EQ(buddy.TryAllocate(5), 8);
  EXPECT_EQ(buddy.TryAllocate(3), 4);
}

TEST(BuddyAllocatorTest, MergesBuddiesInWhateverOrderTheyAreFreed) {
  BuddyAllocator buddy(16);
  for (std::int64_t offset : {0, 4, 8, 12}) {
    ASSERT_EQ(buddy.TryAllocate(4), offset);
  }
  for (std::int64_t offset : {4, 8, 12}) {
    ASSERT_TRUE(buddy.Release(offset).ok());
  }
  EXPECT_EQ(buddy.free_slots(), 12);
  EXPECT_EQ(buddy.largest_free(), 8);  // 4 has no free buddy
  ASSERT_TRUE(buddy.Release(0).ok());
  EXPECT_EQ(buddy.largest_free(), 16);
}

TEST(BuddyAllocatorTest, NeverMergesArenas) {
  BuddyAllocator buddy(8 + 4);
  const auto first = buddy.TryAllocate(8);
  const auto second = buddy.TryAllocate(4);
  ASSERT_TRUE(buddy.Release(*first).ok());
  ASSERT_TRUE(buddy.Release(*second).ok());
  EXPECT_EQ(buddy.largest_free(), 8);
  EXPECT_TRUE(buddy.CheckInvariants().ok()) << buddy.CheckInvariants();
}

TEST(BuddyAllocatorTest, RefusesToReleaseWhatItDidNotAllocate) {
  BuddyAllocator buddy(16);
  ASSERT_EQ(buddy.TryAllocate(8), 0);
  EXPECT_TRUE(absl::IsNotFound(buddy.Release(4)));
  EXPECT_TRUE(absl::IsNotFound(buddy.Release(8)));
  ASSERT_TRUE(buddy.Release(0).ok());
  EXPECT_TRUE(absl::IsNotFound(buddy.Release(0)));
  EXPECT_EQ(buddy.free_slots(), 16);
}

TEST(BuddyAllocatorTest, HasNothingToGiveWithoutCapacity) {
  BuddyAllocator buddy(0);
  EXPECT_EQ(buddy.largest_free(), 0);
  EXPECT_EQ(buddy.TryAllocate(1), std::nullopt);
}

TEST(BuddyAllocatorTest, RefusesMoreThanAnyArena) {
  BuddyAllocator buddy(15);
  EXPECT_EQ(buddy.TryAllocate(9), std::nullopt);
  EXPECT_EQ(buddy.TryAllocate(std::int64_t{1} << 62), std::nullopt);
  EXPECT_EQ(buddy.free_slots(), 15);
}

}  // namespace
}  // namespace pagedkv::sim
