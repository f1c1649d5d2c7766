// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/launches.h"
#include "backends/cuda/move_kernels.cuh"

namespace pagedkv::cuda {
namespace {

// Calls `launch(first, count)` for runs of items, so that each has thread
// blocks for all their pieces.
template <typename Launch>
int ForRuns(std::int64_t num_items, std::int64_t pieces, Launch launch) {
  const std::int64_t most =
      pieces < kMaxThreadBlocks ? kMaxThreadBlocks / pieces : 1;
  for (std::int64_t first = 0; first < num_items; first += most) {
    const std::int64_t count =
        num_items - first < most ? num_items - first : most;
    launch(first, static_cast<unsigned>(count * pieces));
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      return error;
    }
  }
  return cudaSuccess;
}

}  // namespace

int LaunchMoves(const MoveTable& table, Stream stream) {
  return ForRuns(table.num_moves,
                 std::int64_t{table.num_arenas} * table.num_parts,
                 [&](std::int64_t first, unsigned thread_blocks) {
                   MoveTable part = table;
                   part.moves += first;
                   MoveKernel<<<thread_blocks, kMoveThreads, 0, stream>>>(part);
                 });
}

int LaunchFills(const FillTable& table, Stream stream) {
  return ForRuns(table.num_blocks,
                 std::int64_t{table.num_arenas} * table.num_parts,
                 [&](std::int64_t first, unsigned thread_blocks) {
                   FillTable part = table;
                   part.blocks += first;
                   FillKernel<<<thread_blocks, kMoveThreads, 0, stream>>>(part);
                 });
}

}  // namespace pagedkv::cuda
