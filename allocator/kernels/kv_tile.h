// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_KV_TILE_H_
#define ALLOCATOR_KERNELS_KV_TILE_H_

/// What attention reads and writes, as fp32 with whole vectors of SIMD.

#include <cstdint>

#include "allocator/kernels/attention_math.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// The keys, or the values, of one head of a sequence: in blocks, and from
/// position `first_residual` on in a row for each token.
struct KvSource {
  KvTensorView blocks{};  ///< of that head alone
  const BlockId* table = nullptr;
  KvTensorView residual{};  ///< rows as one block
  std::int64_t first_residual = 0;
};

/// The vectors of one head of `view`.
KvTensorView HeadOf(const KvTensorView& view, std::int32_t head);

/// Rows as one block of a sequence that has no other.
KvTensorView AsBlock(const ConstKvRows& rows, std::int32_t heads,
                     std::int32_t head_size);

/// Dequantises the tokens that `range` names from position `first` on into rows
/// begin, ..., end - 1 of `tile`, which is [tokens][stride]. Pads them with
/// zeros.
void LoadTile(const KvSource& source, std::int64_t first, TokenRange range,
              float* tile, std::int32_t stride);

/// Reads elements first, ..., first + size - 1 of a row's head.
void LoadRow(const ConstKvRows& rows, std::int64_t row, std::int32_t head,
             std::int32_t first, std::int32_t size, float* elements);
/// Writes the elements of a row's head.
void StoreRow(const KvRows& rows, std::int64_t row, std::int32_t head,
              std::int32_t size, const float* elements);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_KV_TILE_H_
