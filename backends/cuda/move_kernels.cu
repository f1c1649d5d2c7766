// SPDX-License-Identifier: Apache-2.0
//
// Copies and fills of blocks, one launch for all blocks and layers of a list.

#include <cstddef>
#include <cstdint>

#include "backends/cuda/block_moves.h"
#include "backends/cuda/launch_kernel.cuh"
#include "backends/cuda/launches.h"

namespace pagedkv::cuda {
namespace {

// Words that a thread loads before it stores them: enough bytes are under way
// to use the memory's bandwidth.
constexpr int kWordsInFlight = 4;

template <typename Word>
__device__ void CopyWords(std::byte* to, const std::byte* from,
                          std::int64_t num_words) {
  const Word* __restrict__ source = reinterpret_cast<const Word*>(from);
  Word* __restrict__ destination = reinterpret_cast<Word*>(to);
  std::int64_t i = threadIdx.x;
  for (; i + (kWordsInFlight - 1) * kMoveThreads < num_words;
       i += kWordsInFlight * kMoveThreads) {
    Word words[kWordsInFlight];
#pragma unroll
    for (int k = 0; k < kWordsInFlight; ++k) {
      words[k] = source[i + k * kMoveThreads];
    }
#pragma unroll
    for (int k = 0; k < kWordsInFlight; ++k) {
      destination[i + k * kMoveThreads] = words[k];
    }
  }
  for (; i < num_words; i += kMoveThreads) destination[i] = source[i];
}

// By all threads of the thread block.
__device__ void CopyBytes(std::byte* to, const std::byte* from,
                          std::int64_t bytes) {
  const MoveShape shape = ShapeOf(reinterpret_cast<std::uintptr_t>(from),
                                  reinterpret_cast<std::uintptr_t>(to), bytes);
  for (std::int64_t i = threadIdx.x; i < shape.head; i += kMoveThreads) {
    to[i] = from[i];
  }
  switch (shape.word_bytes) {
    case 16:
      CopyWords<uint4>(to + shape.head, from + shape.head, shape.words);
      break;
    case 8:
      CopyWords<uint2>(to + shape.head, from + shape.head, shape.words);
      break;
    case 4:
      CopyWords<std::uint32_t>(to + shape.head, from + shape.head, shape.words);
      break;
    case 2:
      CopyWords<std::uint16_t>(to + shape.head, from + shape.head, shape.words);
      break;
    default:
      CopyWords<std::uint8_t>(to + shape.head, from + shape.head, shape.words);
      break;
  }
  for (std::int64_t i = shape.tail_begin() + threadIdx.x; i < bytes;
       i += kMoveThreads) {
    to[i] = from[i];
  }
}

__global__ void __launch_bounds__(kMoveThreads) MoveKernel(MoveTable table) {
  const Piece piece = PieceAt(blockIdx.x, table.num_arenas, table.num_parts);
  const BlockMove move = table.moves[piece.item];
  const MoveSizes sizes =
      table.sizes[move.group * table.num_arenas + piece.arena];
  const std::int64_t begin = piece.part * kPartBytes;
  const std::int64_t bytes = MovedBytes(sizes, move.num_tokens) - begin;
  if (bytes <= 0) return;
  const MoveArenas arenas = table.arenas[piece.arena];
  CopyBytes(arenas.to + move.to * arenas.to_stride + begin,
            arenas.from + move.from * arenas.from_stride + begin,
            bytes < kPartBytes ? bytes : kPartBytes);
}

__global__ void __launch_bounds__(kMoveThreads) FillKernel(FillTable table) {
  const Piece piece = PieceAt(blockIdx.x, table.num_arenas, table.num_parts);
  const MoveArenas arena = table.arenas[piece.arena];
  const std::int64_t begin = piece.part * kPartBytes;
  const std::int64_t rest = arena.to_stride - begin;
  if (rest <= 0) return;
  const std::int64_t bytes = rest < kPartBytes ? rest : kPartBytes;
  std::byte* const to =
      arena.to + table.blocks[piece.item] * arena.to_stride + begin;
  const auto address = reinterpret_cast<std::uintptr_t>(to);
  const MoveShape shape = ShapeOf(address, address, bytes);
  const std::byte value{table.value};
  const std::uint32_t word = table.value * 0x01010101u;
  for (std::int64_t i = threadIdx.x; i < shape.head; i += kMoveThreads) {
    to[i] = value;
  }
  uint4* const words = reinterpret_cast<uint4*>(to + shape.head);
  for (std::int64_t i = threadIdx.x; i < shape.words; i += kMoveThreads) {
    words[i] = uint4{word, word, word, word};
  }
  for (std::int64_t i = shape.tail_begin() + threadIdx.x; i < bytes;
       i += kMoveThreads) {
    to[i] = value;
  }
}

// Calls `launch(first, count)` for runs of items, so that each has thread
// blocks for all their pieces; up to the first error.
template <typename Launch>
int ForRuns(std::int64_t num_items, std::int64_t pieces, Launch launch) {
  const std::int64_t most =
      pieces < kMaxThreadBlocks ? kMaxThreadBlocks / pieces : 1;
  int error = 0;
  for (std::int64_t first = 0; first < num_items && error == 0; first += most) {
    error = launch(first, num_items - first < most ? num_items - first : most);
  }
  return error;
}

}  // namespace

int LaunchMoves(const MoveTable& table, Stream stream) {
  const std::int64_t pieces = std::int64_t{table.num_arenas} * table.num_parts;
  return ForRuns(table.num_moves, pieces,
                 [&](std::int64_t first, std::int64_t count) {
                   MoveTable part = table;
                   part.moves += first;
                   return LaunchPlainKernel(MoveKernel, count * pieces,
                                            kMoveThreads, part, stream);
                 });
}

int LaunchFills(const FillTable& table, Stream stream) {
  const std::int64_t pieces = std::int64_t{table.num_arenas} * table.num_parts;
  return ForRuns(table.num_blocks, pieces,
                 [&](std::int64_t first, std::int64_t count) {
                   FillTable part = table;
                   part.blocks += first;
                   return LaunchPlainKernel(FillKernel, count * pieces,
                                            kMoveThreads, part, stream);
                 });
}

}  // namespace pagedkv::cuda
