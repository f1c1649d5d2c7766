// SPDX-License-Identifier: Apache-2.0
#include "block_table/run_arena.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

constexpr std::size_t kMaxBytes = 9000;
constexpr std::size_t kSlabBytes = std::size_t{64} << 10;

void ExpectSound(const RunArena& arena) {
  const absl::Status status = arena.CheckInvariants();
  ASSERT_TRUE(status.ok()) << status;
}

TEST(RunArenaTest, HoldsNothingBeforeItIsAskedAndOneSlabAfterAll) {
  RunArena arena(kMaxBytes, kSlabBytes);
  EXPECT_EQ(arena.bytes_held(), 0u);
  std::vector<std::byte*> chunks;
  for (int i = 0; i < 1000; ++i) chunks.push_back(arena.Allocate(kMaxBytes));
  const std::size_t most = arena.bytes_held();
  EXPECT_GE(arena.bytes_used(), 1000 * kMaxBytes);
  EXPECT_GE(most, arena.bytes_used());
  ExpectSound(arena);
  for (std::byte* chunk : chunks) arena.Free(chunk);
  EXPECT_EQ(arena.bytes_used(), 0u);
  EXPECT_GT(arena.bytes_held(), 0u);
  EXPECT_LT(arena.bytes_held(), most / 4);
  ExpectSound(arena);
}

TEST(RunArenaTest, ChunksAreAlignedAndLittleLargerThanAskedFor) {
  RunArena arena(kMaxBytes, kSlabBytes);
  std::size_t used = 0;
  for (std::size_t bytes = 0; bytes < 300; ++bytes) {
    const std::byte* const chunk = arena.Allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(chunk) % 8, 0u);
    EXPECT_GE(arena.bytes_used(), used + bytes);
    EXPECT_LE(arena.bytes_used(), used + bytes + 48);
    used = arena.bytes_used();
  }
  ExpectSound(arena);
}

TEST(RunArenaTest, AChunkGrowsIntoWhatIsFreeBehindItAndNoFurther) {
  RunArena arena(kMaxBytes, kSlabBytes);
  std::byte* const first = arena.Allocate(100);
  std::byte* const second = arena.Allocate(100);
  std::byte* const third = arena.Allocate(100);
  EXPECT_FALSE(arena.TryResize(first, 200));
  arena.Free(second);
  EXPECT_TRUE(arena.TryResize(first, 200));
  EXPECT_FALSE(arena.TryResize(first, 300));
  ExpectSound(arena);
  const std::size_t used = arena.bytes_used();
  EXPECT_TRUE(arena.TryResize(first, 50));
  EXPECT_LT(arena.bytes_used(), used);
  EXPECT_TRUE(arena.TryResize(third, kMaxBytes));  // the last of its slab
  ExpectSound(arena);
  arena.Free(first);
  arena.Free(third);
  EXPECT_EQ(arena.bytes_used(), 0u);
  ExpectSound(arena);
}

TEST(RunArenaTest, WhatLiesFreeServesLengthsOfEveryKind) {
  RunArena arena(kMaxBytes, kSlabBytes);
  std::vector<std::byte*> chunks;
  for (int i = 0; i < 2000; ++i) chunks.push_back(arena.Allocate(200));
  const std::size_t held = arena.bytes_held();
  for (std::byte* chunk : chunks) arena.Free(chunk);
  // Neighbours are joined: longer ones fit where the short ones were.
  for (int i = 0; i < 40; ++i) EXPECT_NE(arena.Allocate(kMaxBytes), nullptr);
  EXPECT_LE(arena.bytes_held(), held);
  ExpectSound(arena);
}

// Against a map of what was asked for and what was written there.
TEST(RunArenaTest, ChunksNeitherOverlapNorForget) {
  constexpr std::uint64_t kSeed = 20261125;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto below = [&random](std::size_t n) {
    return static_cast<std::size_t>(random() % n);
  };
  struct Chunk {
    std::size_t bytes = 0;
    std::byte mark{};
  };
  RunArena arena(kMaxBytes, kSlabBytes);
  std::map<std::byte*, Chunk> chunks;
  const auto fill = [](std::byte* memory, const Chunk& chunk) {
    std::fill_n(memory, chunk.bytes, chunk.mark);
  };
  const auto holds = [](const std::byte* memory, std::size_t bytes,
                        std::byte mark) {
    return std::count(memory, memory + bytes, mark) ==
           static_cast<std::ptrdiff_t>(bytes);
  };
  const auto any = [&] {
    auto it = chunks.begin();
    std::advance(it, below(chunks.size()));
    return it;
  };
  std::size_t most = 0;
  for (int i = 0; i < 40'000; ++i) {
    // Grows to many, shrinks to few, and so on.
    const bool is_growing = i / 4000 % 2 == 0;
    const std::size_t choice = below(10);
    if (chunks.empty() || choice < (is_growing ? 4u : 2u)) {
      const Chunk chunk = {below(4) == 0 ? below(kMaxBytes + 1) : below(400),
                           static_cast<std::byte>(below(256))};
      std::byte* const memory = arena.Allocate(chunk.bytes);
      const auto after = chunks.lower_bound(memory);
      ASSERT_TRUE(after == chunks.end() ||
                  memory + chunk.bytes <= after->first);
      ASSERT_TRUE(after == chunks.begin() ||
                  std::prev(after)->first + std::prev(after)->second.bytes <=
                      memory);
      fill(memory, chunk);
      chunks.emplace(memory, chunk);
    } else if (choice < 7) {
      const auto it = any();
      auto& [memory, chunk] = *it;
      const std::size_t bytes =
          below(3) == 0 ? below(kMaxBytes + 1) : chunk.bytes + below(60);
      const bool is_shorter = bytes <= chunk.bytes;
      const std::size_t kept = std::min(bytes, chunk.bytes);
      if (bytes <= kMaxBytes && arena.TryResize(memory, bytes)) {
        ASSERT_TRUE(holds(memory, kept, chunk.mark));
        const auto after = std::next(it);
        ASSERT_TRUE(after == chunks.end() || memory + bytes <= after->first);
        chunk.bytes = bytes;
        fill(memory, chunk);
      } else {
        ASSERT_FALSE(is_shorter);
        ASSERT_TRUE(holds(memory, chunk.bytes, chunk.mark));
      }
    } else {
      const auto it = any();
      ASSERT_TRUE(holds(it->first, it->second.bytes, it->second.mark));
      arena.Free(it->first);
      chunks.erase(it);
    }
    most = std::max(most, chunks.size());
    if (i % 8 == 0) ExpectSound(arena);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(most, 400u);
  std::size_t asked = 0;
  for (const auto& [memory, chunk] : chunks) asked += chunk.bytes;
  EXPECT_GE(arena.bytes_used(), asked);
  for (const auto& [memory, chunk] : chunks) {
    ASSERT_TRUE(holds(memory, chunk.bytes, chunk.mark));
    arena.Free(memory);
  }
  EXPECT_EQ(arena.bytes_used(), 0u);
  ExpectSound(arena);
}

}  // namespace
}  // namespace pagedkv
