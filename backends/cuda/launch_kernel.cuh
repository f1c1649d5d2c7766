// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_LAUNCH_KERNEL_CUH_
#define BACKENDS_CUDA_LAUNCH_KERNEL_CUH_

/// The one place that launches kernels. Where a source is compiled for the host
/// instead (device_emulation.h), that defines the same functions.

#ifdef __CUDACC__

#include <cstdint>

#include "backends/cuda/cuda_stream.h"

namespace pagedkv::cuda {

/// Queues a kernel; a cudaError_t. REQUIRES: fewer than 2^31 thread blocks.
template <typename Params>
int LaunchKernel(void (*kernel)(Params), std::int64_t num_blocks,
                 int num_threads, const Params& params, Stream stream) {
  if (num_blocks <= 0) return cudaSuccess;
  kernel<<<static_cast<unsigned>(num_blocks),
           static_cast<unsigned>(num_threads), 0, stream>>>(params);
  return cudaGetLastError();
}

/// For kernels without barriers and exchanges, which are cheaper to emulate.
template <typename Params>
int LaunchPlainKernel(void (*kernel)(Params), std::int64_t num_blocks,
                      int num_threads, const Params& params, Stream stream) {
  return LaunchKernel(kernel, num_blocks, num_threads, params, stream);
}

}  // namespace pagedkv::cuda

#endif  // __CUDACC__

#endif  // BACKENDS_CUDA_LAUNCH_KERNEL_CUH_
