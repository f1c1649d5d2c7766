// SPDX-License-Identifier: Apache-2.0
//
// The launches of launches.h, by emulation: what is above them runs on the host
// with the very kernels that a device would run.

#include "backends/cuda/launches.h"
#include "backends/cuda/move_kernels.cuh"
#include "tests/backends/cuda/device_emulation.h"

namespace pagedkv::cuda {

int LaunchMoves(const MoveTable& table, Stream /*stream*/) {
  emulation::RunWithoutBarriers(
      table.num_moves * table.num_arenas * table.num_parts, kMoveThreads,
      [&table] { MoveKernel(table); });
  return 0;
}

int LaunchFills(const FillTable& table, Stream /*stream*/) {
  emulation::RunWithoutBarriers(
      table.num_blocks * table.num_arenas * table.num_parts, kMoveThreads,
      [&table] { FillKernel(table); });
  return 0;
}

}  // namespace pagedkv::cuda
