// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_ATTENTION_LAUNCH_CUH_
#define BACKENDS_CUDA_ATTENTION_LAUNCH_CUH_

/// Which attention kernel serves a shape. Each kind of source has a file of its
/// own that includes this, so that they compile side by side.

#include "backends/cuda/attention_kernel.cuh"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/launch_kernel.cuh"

namespace pagedkv::cuda {

template <typename Source, int kLanes, int kChunks, int kRows>
int LaunchSplits(const AttentionParams& params, Stream stream) {
  return LaunchKernel(SplitAttentionKernel<Source, kLanes, kChunks, kRows>,
                      params.MaxTiles(kRows, 1) * params.max_splits *
                          params.num_kv_heads() * params.num_sequences,
                      kAttentionThreads, params, stream);
}

// With one query there are as many rows as heads that share a KV head.
template <typename Source, int kLanes, int kChunks>
int LaunchAttentionOf(const AttentionParams& params, Stream stream) {
  constexpr AttentionShape kShape{.lanes = kLanes, .chunks = kChunks};
  constexpr int kMost = RowsFor(kShape, kMaxRows);
  int error = 0;
  if (params.workspace != nullptr) {
    switch (RowsFor(kShape, params.max_heads())) {
      case 1:
        error = LaunchSplits<Source, kLanes, kChunks, 1>(params, stream);
        break;
      case 4:
        error = LaunchSplits<Source, kLanes, kChunks, RowsFor(kShape, 4)>(
            params, stream);
        break;
      default:
        error = LaunchSplits<Source, kLanes, kChunks, kMost>(params, stream);
        break;
    }
  }
  if (error == 0 && (params.workspace == nullptr || params.max_queries > 1)) {
    error = LaunchKernel(WholeAttentionKernel<Source, kLanes, kChunks, kMost>,
                         params.MaxTiles(kMost, params.max_queries) *
                             params.num_kv_heads() * params.num_sequences,
                         kAttentionThreads, params, stream);
  }
  return error;
}

template <typename Source>
int LaunchAttentionFrom(const AttentionParams& params,
                        const AttentionShape& shape, Stream stream) {
  if (shape.chunks > 1) return LaunchAttentionOf<Source, 32, 3>(params, stream);
  switch (shape.lanes) {
    case 8:
      return LaunchAttentionOf<Source, 8, 1>(params, stream);
    case 16:
      return LaunchAttentionOf<Source, 16, 1>(params, stream);
    default:
      return LaunchAttentionOf<Source, 32, 1>(params, stream);
  }
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_ATTENTION_LAUNCH_CUH_
