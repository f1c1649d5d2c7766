// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_BACKENDS_CUDA_DEVICE_EMULATION_H_
#define TESTS_BACKENDS_CUDA_DEVICE_EMULATION_H_

/// Runs CUDA kernels on the host, so that what a GPU would do is tested without
/// one: memory by the address sanitizer, missing barriers by an order of
/// threads that changes at each of them. Included before a .cuh file, as nvcc
/// includes its runtime's header before any source.
///
/// Thread blocks run one after the other. Each thread has a stack of its own
/// and runs until it comes to a barrier or to an exchange within its warp. A
/// thread block that waits for ever aborts the program.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "backends/cuda/cuda_stream.h"

// What the language adds to C++.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
// Shared memory: thread blocks do not overlap, so each may have the same.
#define __shared__ static

struct uint2 {  // NOLINT(readability-identifier-naming)
  std::uint32_t x = 0, y = 0;
};
struct alignas(16) uint4 {  // NOLINT(readability-identifier-naming)
  std::uint32_t x = 0, y = 0, z = 0, w = 0;
};

namespace pagedkv::emulation {

struct Index {
  unsigned x = 0;
};

inline constexpr int kWarpSize = 32;

/// The thread under way.
extern Index thread_index;  // NOLINT(readability-identifier-naming)
extern Index block_index;   // NOLINT(readability-identifier-naming)

/// Runs `kernel` once for each thread of `num_blocks` thread blocks of
/// `num_threads`. The order of threads is drawn from `seed`.
void Run(std::int64_t num_blocks, int num_threads, std::uint64_t seed,
         const std::function<void()>& kernel);
/// The same for kernels without barriers and exchanges; faster.
void RunWithoutBarriers(std::int64_t num_blocks, int num_threads,
                        const std::function<void()>& kernel);

/// Waits for all threads of the thread block that have not ended.
void SyncBlock();
/// Gives eight bytes to the warp, and takes those of another lane. All lanes
/// must be there.
std::uint64_t Exchange(std::uint64_t value, int source_lane);

template <typename T>
T ExchangeAs(T value, int source_lane) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = Exchange(bits, source_lane);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace pagedkv::emulation

#define threadIdx (::pagedkv::emulation::thread_index)
#define blockIdx (::pagedkv::emulation::block_index)

inline void __syncthreads() { ::pagedkv::emulation::SyncBlock(); }

template <typename T>
T __shfl_xor_sync(unsigned /*mask*/, T value, int lane_mask) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return ::pagedkv::emulation::ExchangeAs(value, lane ^ lane_mask);
}

// What launch_kernel.cuh defines for nvcc.
namespace pagedkv::cuda {

template <typename Params>
int LaunchKernel(void (*kernel)(Params), std::int64_t num_blocks,
                 int num_threads, const Params& params, Stream /*stream*/) {
  emulation::Run(num_blocks, num_threads, 20241125,
                 [kernel, &params] { kernel(params); });
  return 0;
}

template <typename Params>
int LaunchPlainKernel(void (*kernel)(Params), std::int64_t num_blocks,
                      int num_threads, const Params& params,
                      Stream /*stream*/) {
  emulation::RunWithoutBarriers(num_blocks, num_threads,
                                [kernel, &params] { kernel(params); });
  return 0;
}

}  // namespace pagedkv::cuda

#endif  // TESTS_BACKENDS_CUDA_DEVICE_EMULATION_H_
