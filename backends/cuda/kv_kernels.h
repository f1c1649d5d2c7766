// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_KV_KERNELS_H_
#define BACKENDS_CUDA_KV_KERNELS_H_

/// The kernels of pagedkv/kv_kernels.h on a device: the same contract, and the
/// same arguments, queued on a stream. Every address is the device's: views and
/// rows, and what spans refer to, so that a call reads nothing and waits for
/// nothing. What only the device could check (block ids, slots, lengths) is
/// trusted.
///
/// What is written to blocks has the bits that the host writes. Attention has
/// other bits than on the host, and the same ones whatever the block size, the
/// layout, the batch, and how many queries of a sequence are in one call.
///
/// Rows start at multiples of their elements' size. Kernels are fastest with
/// vectors, rows and scales that start at multiples of 16 bytes
/// (`KvLayoutOptions::alignment`).

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "backends/cuda/cuda_stream.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv::cuda {

absl::Status ScatterKv(const KvTensorView& view, const ConstKvRows& rows,
                       std::span<const std::int64_t> slots, Stream stream);

absl::Status GatherKv(const KvTensorView& view, std::span<const BlockId> table,
                      std::int64_t first, std::int64_t num_tokens,
                      const KvRows& rows, Stream stream);

/// What the host knows of a batch whose lengths are on the device.
struct AttentionLaunch {
  /// Of any sequence at most; more are not computed.
  std::int32_t max_tokens = 0;
  std::int32_t max_queries = 1;
  /// Memory of the device, `AttentionWorkspaceBytes` long, or empty. With it,
  /// sequences with one query are worked on in parallel, 256 tokens at a time;
  /// without, a long sequence has few processors. It is not to be shared by
  /// calls on different streams.
  std::span<std::byte> workspace = {};
};
/// Enough for any batch of so many sequences with these heads, and for fewer
/// tokens and sequences.
[[nodiscard]] std::int64_t AttentionWorkspaceBytes(
    const PagedAttentionArgs& args, std::int32_t max_tokens);

absl::Status PagedAttention(const PagedAttentionArgs& args,
                            const AttentionLaunch& launch, Stream stream);

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_KV_KERNELS_H_
