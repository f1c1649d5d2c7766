// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_SIMD_KERNELS_H_
#define ALLOCATOR_KERNELS_SIMD_KERNELS_H_

/// Scatter and gather with the best vector instructions of this machine. They
/// give the bits of the functors of vector_codec.h.

#include <cstdint>
#include <span>

#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Whether they take `view`: each scale belongs to whole bytes of a vector.
[[nodiscard]] constexpr bool HasSimdKernels(const KvTensorView& view) {
  const KvFormat& format = view.tensor.format;
  return format.scheme != ScaleScheme::kGroup ||
         std::int64_t{format.group} * KvDtypeBits(format.dtype) % 8 == 0;
}

/// Arguments as of `ScatterKv` and `GatherKv`, checked.
/// REQUIRES: HasSimdKernels(view).
void ScatterSimd(const KvTensorView& view, const ConstKvRows& rows,
                 std::span<const std::int64_t> slots);
void GatherSimd(const KvTensorView& view, std::span<const BlockId> table,
                std::int64_t first, std::int64_t num_tokens,
                const KvRows& rows);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_SIMD_KERNELS_H_
