// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_KV_MOVE_PARAMS_H_
#define BACKENDS_CUDA_KV_MOVE_PARAMS_H_

/// What the kernels that scatter and gather rows are told.

#include <cstdint>

#include "backends/cuda/kernel_rows.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv::cuda {

struct ScatterParams {
  KvTensorView view;
  KernelRows rows;
  const std::int64_t* slots = nullptr;
  std::int64_t num_rows = 0;
};

struct GatherParams {
  KvTensorView view;
  const BlockId* table = nullptr;
  std::int64_t first = 0;
  std::int64_t num_rows = 0;
  KernelOutputRows rows;
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_KV_MOVE_PARAMS_H_
