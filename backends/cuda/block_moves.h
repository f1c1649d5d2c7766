// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_BLOCK_MOVES_H_
#define BACKENDS_CUDA_BLOCK_MOVES_H_

/// What the kernels that copy and fill blocks are told, and the arithmetic that
/// they do on it. Plain data and constexpr functions: host and device share
/// them, and tests on the host check them.

#include <cstddef>
#include <cstdint>

namespace pagedkv::cuda {

/// A layer's arenas on both sides of a move; equal for a copy.
struct MoveArenas {
  std::byte* from = nullptr;
  std::int64_t from_stride = 0;
  std::byte* to = nullptr;
  std::int64_t to_stride = 0;
};

/// What moves take in one layer of one group. A group without the layer has
/// zeros.
struct MoveSizes {
  std::int64_t block = 0;
  std::int64_t token = 0;  ///< 0: whole blocks only
};

/// The first tokens of a block.
struct BlockMove {
  std::int32_t group = 0;
  std::int32_t from = 0;
  std::int32_t to = 0;
  std::int32_t num_tokens = 0;
  friend bool operator==(const BlockMove&, const BlockMove&) = default;
};

[[nodiscard]] constexpr std::int64_t MovedBytes(const MoveSizes& sizes,
                                                std::int32_t num_tokens) {
  if (sizes.token > 0) return sizes.token * num_tokens;
  return num_tokens > 0 ? sizes.block : 0;
}

/// All moves of a launch may be done at the same time.
struct MoveTable {
  const MoveArenas* arenas = nullptr;  ///< [num_arenas]
  const MoveSizes* sizes = nullptr;    ///< [groups][num_arenas]
  const BlockMove* moves = nullptr;    ///< [num_moves]
  std::int32_t num_arenas = 0;
  std::int32_t num_parts = 0;  ///< of the largest block
  std::int64_t num_moves = 0;
};

struct FillTable {
  const MoveArenas* arenas = nullptr;    ///< [num_arenas]; `to` counts
  const std::int32_t* blocks = nullptr;  ///< [num_blocks]
  std::int32_t num_arenas = 0;
  std::int32_t num_parts = 0;  ///< of the largest stride
  std::int64_t num_blocks = 0;
  std::uint8_t value = 0;
};

/// A thread block moves so many bytes of a block of one layer: a part.
inline constexpr std::int64_t kPartBytes = 32 << 10;
inline constexpr int kMoveThreads = 256;
/// Thread blocks of a launch at most, so that their number fits.
inline constexpr std::int64_t kMaxThreadBlocks = std::int64_t{1} << 30;

[[nodiscard]] constexpr std::int32_t NumParts(std::int64_t bytes) {
  return static_cast<std::int32_t>((bytes + kPartBytes - 1) / kPartBytes);
}

/// One thread block's piece of a table: part `part` of arena `arena` of move
/// (or block) `item`. Thread blocks that follow one another are parts of one
/// item.
struct Piece {
  std::int64_t item = 0;
  std::int32_t arena = 0;
  std::int64_t part = 0;
};
[[nodiscard]] constexpr Piece PieceAt(std::int64_t thread_block,
                                      std::int32_t num_arenas,
                                      std::int32_t num_parts) {
  const std::int64_t row = thread_block / num_parts;
  return {.item = row / num_arenas,
          .arena = static_cast<std::int32_t>(row % num_arenas),
          .part = thread_block % num_parts};
}

/// A run of bytes as `head` single ones, words of `word_bytes`, and single ones
/// again: words as wide as both addresses allow at the same time.
struct MoveShape {
  std::int32_t word_bytes = 1;  ///< 16, 8, 4, 2 or 1
  std::int64_t head = 0;
  std::int64_t words = 0;
  [[nodiscard]] constexpr std::int64_t tail_begin() const {
    return head + words * word_bytes;
  }
};
[[nodiscard]] constexpr MoveShape ShapeOf(std::uintptr_t from,
                                          std::uintptr_t to,
                                          std::int64_t bytes) {
  MoveShape shape{.word_bytes = 16};
  while (((from ^ to) & static_cast<std::uintptr_t>(shape.word_bytes - 1)) !=
         0) {
    shape.word_bytes /= 2;
  }
  const auto mask = static_cast<std::uintptr_t>(shape.word_bytes - 1);
  const auto to_boundary = static_cast<std::int64_t>((~to + 1) & mask);
  shape.head = to_boundary < bytes ? to_boundary : bytes;
  shape.words = (bytes - shape.head) / shape.word_bytes;
  return shape;
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_BLOCK_MOVES_H_
