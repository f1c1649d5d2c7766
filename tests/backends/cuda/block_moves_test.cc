// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/block_moves.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

TEST(MoveShapeTest, WordsAreAlignedAtBothEndsAndAsWideAsCanBe) {
  for (std::uintptr_t from = 64; from < 96; ++from) {
    for (std::uintptr_t to = 256; to < 288; ++to) {
      for (const std::int64_t bytes : {0, 1, 3, 15, 16, 17, 31, 100}) {
        const MoveShape shape = ShapeOf(from, to, bytes);
        ASSERT_GE(shape.head, 0);
        ASSERT_LE(shape.tail_begin(), bytes);
        ASSERT_LT(bytes - shape.tail_begin(), shape.word_bytes);
        ASSERT_LT(shape.head, shape.word_bytes);
        const auto word = static_cast<std::uintptr_t>(shape.word_bytes);
        if (shape.words > 0) {
          const auto head = static_cast<std::uintptr_t>(shape.head);
          ASSERT_EQ((from + head) % word, 0u);
          ASSERT_EQ((to + head) % word, 0u);
        }
        // Twice as wide would not fit both.
        ASSERT_TRUE(word == 16 || from % (2 * word) != to % (2 * word));
      }
    }
  }
}

TEST(PieceTest, EachPartOfEachArenaOfEachItemIsOneThreadBlock) {
  std::int64_t thread_block = 0;
  for (std::int64_t item = 0; item < 5; ++item) {
    for (std::int32_t arena = 0; arena < 3; ++arena) {
      for (std::int64_t part = 0; part < 4; ++part) {
        const Piece piece = PieceAt(thread_block++, 3, 4);
        EXPECT_EQ(piece.item, item);
        EXPECT_EQ(piece.arena, arena);
        EXPECT_EQ(piece.part, part);
      }
    }
  }
  EXPECT_EQ(NumParts(1), 1);
  EXPECT_EQ(NumParts(kPartBytes), 1);
  EXPECT_EQ(NumParts(kPartBytes + 1), 2);
}

// The kernel itself, on blocks of more than one part and of any alignment.
TEST(MoveKernelTest, MovesExactlyTheBytesThatItIsToMove) {
  constexpr std::uint64_t kSeed = 20241125;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  for (int round = 0; round < 40; ++round) {
    // Two arenas of 4 blocks; the second is absent from group 1.
    const std::int64_t tokens = 1 + below(8);
    const std::int64_t token_bytes = 1 + below(round % 2 == 0 ? 12000 : 60);
    const std::int64_t block = tokens * token_bytes;
    const std::int64_t odd_block = 1 + below(70000);
    const MoveSizes sizes[] = {
        {block, token_bytes}, {odd_block, 0}, {block, token_bytes}, {0, 0}};
    const std::int64_t strides[2][2] = {
        {block + below(20), block + below(20)},
        {odd_block + below(20), odd_block + below(20)}};
    std::vector<std::byte> from[2];
    std::vector<std::byte> to[2];
    MoveArenas arenas[2];
    for (int k = 0; k < 2; ++k) {
      const std::int64_t offsets[2] = {below(17), below(17)};
      from[k].resize(static_cast<std::size_t>(4 * strides[k][0] + offsets[0]));
      to[k].resize(static_cast<std::size_t>(4 * strides[k][1] + offsets[1]));
      for (std::byte& b : from[k]) b = static_cast<std::byte>(random() & 0xff);
      for (std::byte& b : to[k]) b = static_cast<std::byte>(random() & 0xff);
      arenas[k] = {from[k].data() + offsets[0], strides[k][0],
                   to[k].data() + offsets[1], strides[k][1]};
    }
    const auto some = [&] {
      return static_cast<std::int32_t>(below(tokens + 1));
    };
    const BlockMove moves[] = {{0, 3, 0, some()}, {1, 1, 2, some()}};
    std::vector<std::byte> expected[2] = {to[0], to[1]};
    for (const BlockMove& move : moves) {
      for (int k = 0; k < 2; ++k) {
        const MoveArenas& a = arenas[k];
        std::copy_n(
            a.from + move.from * a.from_stride,
            MovedBytes(sizes[move.group * 2 + k], move.num_tokens),
            expected[k].data() + (a.to - to[k].data()) + move.to * a.to_stride);
      }
    }
    const MoveTable table = {.arenas = arenas,
                             .sizes = sizes,
                             .moves = moves,
                             .num_arenas = 2,
                             .num_parts = NumParts(std::max(block, odd_block)),
                             .num_moves = 2};
    ASSERT_EQ(LaunchMoves(table, nullptr), 0);
    for (int k = 0; k < 2; ++k) {
      ASSERT_EQ(to[k], expected[k]) << "round " << round << ", arena " << k;
    }
  }
}

TEST(FillKernelTest, FillsWholeStridesOnly) {
  std::mt19937_64 random(7);
  for (const std::int64_t stride : {1, 15, 16, 96, 4097, 70001}) {
    for (const std::int64_t offset : {0, 1, 13}) {
      std::vector<std::byte> bytes(
          static_cast<std::size_t>(5 * stride + offset));
      for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 0xff);
      std::vector<std::byte> expected = bytes;
      const MoveArenas arena = {.to = bytes.data() + offset,
                                .to_stride = stride};
      const std::int32_t blocks[] = {4, 1};
      for (const std::int32_t block : blocks) {
        std::fill_n(expected.begin() + offset + block * stride, stride,
                    std::byte{0xa5});
      }
      const FillTable table = {.arenas = &arena,
                               .blocks = blocks,
                               .num_arenas = 1,
                               .num_parts = NumParts(stride),
                               .num_blocks = 2,
                               .value = 0xa5};
      ASSERT_EQ(LaunchFills(table, nullptr), 0);
      ASSERT_EQ(bytes, expected) << stride << " bytes from " << offset;
    }
  }
}

}  // namespace
}  // namespace pagedkv::cuda
