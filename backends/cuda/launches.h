// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_LAUNCHES_H_
#define BACKENDS_CUDA_LAUNCHES_H_

/// The kernels, as the sources that are no CUDA see them. Each function queues
/// one or more kernels on a stream and returns a cudaError_t, 0 for success.

#include "backends/cuda/block_moves.h"
#include "backends/cuda/cuda_stream.h"

namespace pagedkv::cuda {

int LaunchMoves(const MoveTable& table, Stream stream);
int LaunchFills(const FillTable& table, Stream stream);

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_LAUNCHES_H_
