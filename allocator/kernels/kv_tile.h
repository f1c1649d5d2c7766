// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_KV_TILE_H_
#define ALLOCATOR_KERNELS_KV_TILE_H_

#include <cstdint>

#include "allocator/kernels/attention_math.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Where a sequence's keys (or values) are: in blocks, and from a position on
/// in rows, if `residual` is not null.
struct KvSource {
  const KvTensorView* view = nullptr;
  const BlockId* table = nullptr;
  const ConstKvRows* residual = nullptr;
  std::int64_t first_residual = 0;
};

/// Dequantises the vectors of one head, of the tokens that `range` names from
/// position `first` on, into rows begin, ..., end - 1 of `tile`, which is
/// [tokens][stride]. Pads them with zeros.
void LoadTile(const KvSource& source, std::int32_t head, std::int64_t first,
              TokenRange range, float* tile, std::int32_t stride);

/// Reads elements first, ..., first + size - 1 of a row's head.
void LoadRow(const ConstKvRows& rows, std::int64_t row, std::int32_t head,
             std::int32_t first, std::int32_t size, float* elements);
/// Writes the elements of a row's head.
void StoreRow(const KvRows& rows, std::int64_t row, std::int32_t head,
              std::int32_t size, const float* elements);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_KV_TILE_H_
