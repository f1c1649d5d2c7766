// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_KV_TILE_H_
#define ALLOCATOR_KERNELS_KV_TILE_H_

#include <cstdint>

#include "allocator/kernels/attention_math.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Dequantises the vectors of one head, of the tokens that `range` names from
/// position `first` on, into rows begin, ..., end - 1 of `tile`, which is
/// [tokens][stride]. Pads them with zeros.
void LoadTile(const KvTensorView& view, const BlockId* table, std::int32_t head,
              std::int64_t first, TokenRange range, float* tile,
              std::int32_t stride);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_KV_TILE_H_
