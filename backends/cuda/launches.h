// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_LAUNCHES_H_
#define BACKENDS_CUDA_LAUNCHES_H_

/// The kernels, as the sources that are no CUDA see them. Each function queues
/// one or more kernels on a stream and returns a cudaError_t, 0 for success.

#include "backends/cuda/attention_params.h"
#include "backends/cuda/block_moves.h"
#include "backends/cuda/cuda_stream.h"
#include "backends/cuda/kv_move_params.h"

namespace pagedkv::cuda {

int LaunchMoves(const MoveTable& table, Stream stream);
int LaunchFills(const FillTable& table, Stream stream);

/// Where elements have the same type in rows and in blocks: copies of words of
/// 1, 2, 4, 8 or 16 bytes, which fit vectors, addresses and strides.
int LaunchScatterWords(const ScatterParams& params, int word_bytes,
                       Stream stream);
int LaunchGatherWords(const GatherParams& params, int word_bytes,
                      Stream stream);
int LaunchScatter(const ScatterParams& params, Stream stream);
int LaunchGather(const GatherParams& params, Stream stream);

/// Attention of all sequences, those with one query up to their splits, which
/// `LaunchSplitMerge` puts together. By how K and V are stored: in one dtype,
/// aligned to chunks, with at most one scale for a vector; or in any way.
int LaunchFp16Attention(const AttentionParams& params,
                        const AttentionShape& shape, Stream stream);
int LaunchBf16Attention(const AttentionParams& params,
                        const AttentionShape& shape, Stream stream);
int LaunchFp8Attention(const AttentionParams& params,
                       const AttentionShape& shape, Stream stream);
int LaunchInt8Attention(const AttentionParams& params,
                        const AttentionShape& shape, Stream stream);
int LaunchAnyAttention(const AttentionParams& params,
                       const AttentionShape& shape, Stream stream);
int LaunchSplitMerge(const AttentionParams& params, Stream stream);

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_LAUNCHES_H_
