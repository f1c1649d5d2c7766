// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_KERNEL_ROWS_H_
#define BACKENDS_CUDA_KERNEL_ROWS_H_

/// Rows outside of blocks as kernels see them, without the headers that
/// kv_kernels.h needs. The same members as `KvRows` and `ConstKvRows`.

#include <cstddef>
#include <cstdint>

#include "pagedkv/kv_tensor.h"

namespace pagedkv::cuda {

struct KernelRows {
  const std::byte* data = nullptr;
  KvDtype dtype = KvDtype::kFp32;
  std::int64_t token_stride = 0;  ///< elements
  std::int64_t head_stride = 0;
};
struct KernelOutputRows {
  std::byte* data = nullptr;
  KvDtype dtype = KvDtype::kFp32;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};
/// As `ResidualRows`, of which there is an array in the device's memory.
struct KernelResidual {
  KernelRows key;
  KernelRows value;
  std::int32_t first = 0;
};

/// The index of a row's first element.
template <typename Rows>
[[nodiscard]] constexpr std::int64_t RowBegin(const Rows& rows,
                                              std::int64_t token,
                                              std::int64_t head) {
  return token * rows.token_stride + head * rows.head_stride;
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_KERNEL_ROWS_H_
