// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_CHUNK_CUH_
#define BACKENDS_CUDA_CHUNK_CUH_

/// Eight elements of a vector, which one thread loads and decodes at once.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#endif

#include "allocator/kernels/element_codec.h"
#include "allocator/kernels/vector_codec.h"
#include "backends/cuda/kernel_rows.h"
#include "pagedkv/kv_tensor.h"

namespace pagedkv::cuda {

inline constexpr int kChunk = 8;

/// Chunks that hold `size` elements; the last one may be in part.
[[nodiscard]] constexpr std::int32_t NumChunks(std::int32_t size) {
  return (size + kChunk - 1) / kChunk;
}

/// The bytes of a chunk of `kDtype`, loaded at once.
template <KvDtype kDtype>
using ChunkBits = std::conditional_t<
    KvDtypeBits(kDtype) == 16, uint4,
    std::conditional_t<KvDtypeBits(kDtype) == 8, uint2, std::uint32_t>>;

/// The value of a chunk of a dtype that is known.
template <KvDtype kDtype>
__device__ void DecodeChunk(const KvFormat& view_format,
                            const ScaleEntry& entry,
                            const ChunkBits<kDtype>& bits,
                            float (&out)[kChunk]) {
  static_assert(KvDtypeBits(kDtype) == 16 || KvDtypeBits(kDtype) == 8);
#ifdef __CUDA_ARCH__
  // The instructions that the device has for it: the same numbers.
  if constexpr (kDtype == KvDtype::kFp16) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      __half2_raw raw;
      raw.x = static_cast<unsigned short>(words[k] & 0xffff);
      raw.y = static_cast<unsigned short>(words[k] >> 16);
      const float2 pair = __half22float2(__half2(raw));
      out[2 * k] = pair.x;
      out[2 * k + 1] = pair.y;
    }
    return;
  }
  if constexpr (kDtype == KvDtype::kBf16) {
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      out[2 * k] = __uint_as_float(words[k] << 16);
      out[2 * k + 1] = __uint_as_float(words[k] & 0xffff0000u);
    }
    return;
  }
  if constexpr (kDtype == KvDtype::kFp8 || kDtype == KvDtype::kFp8E5m2) {
    constexpr __nv_fp8_interpretation_t kKind =
        kDtype == KvDtype::kFp8 ? __NV_E4M3 : __NV_E5M2;
    const std::uint32_t words[2] = {bits.x, bits.y};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const auto two = static_cast<__nv_fp8x2_storage_t>(
          words[k / 2] >> (16 * (k % 2)) & 0xffff);
      const float2 pair =
          __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(two, kKind)));
      out[2 * k] = pair.x * entry.scale;
      out[2 * k + 1] = pair.y * entry.scale;
    }
    return;
  }
#endif
  KvFormat format = view_format;
  format.dtype = kDtype;
  constexpr int kBits = KvDtypeBits(kDtype);
  std::uint32_t words[sizeof(bits) / 4];
  if constexpr (kBits == 16) {
    words[0] = bits.x;
    words[1] = bits.y;
    words[2] = bits.z;
    words[3] = bits.w;
  } else {
    words[0] = bits.x;
    words[1] = bits.y;
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const std::uint32_t element =
        words[i * kBits / 32] >> (i * kBits % 32) & ((1u << kBits) - 1);
    out[i] = DecodeElement(format, entry, element);
  }
}

/// Chunk `chunk` of a vector of any format, wherever it lies: one element at a
/// time. What is beyond the vector is 0.
__device__ inline __noinline__ void LoadChunk(
    const KvTensorView& view, std::int64_t block, std::int64_t token,
    std::int64_t head, std::int32_t chunk, float (&out)[kChunk]) {
#pragma unroll 1
  for (int i = 0; i < kChunk; ++i) {
    const std::int32_t element = chunk * kChunk + i;
    out[i] = element < view.tensor.head_size
                 ? LoadElement(view, block, token, head, element)
                 : 0;
  }
}

/// Element `index` of `data`, which is aligned to elements.
__device__ inline float LoadRowElement(const std::byte* data, KvDtype dtype,
                                       std::int64_t index) {
  if (dtype == KvDtype::kFp32) {
    return reinterpret_cast<const float*>(data)[index];
  }
  const std::uint32_t bits =
      reinterpret_cast<const std::uint16_t*>(data)[index];
  return dtype == KvDtype::kFp16 ? Fp16::Decode(bits) : Bf16::Decode(bits);
}
__device__ inline void StoreRowElement(std::byte* data, KvDtype dtype,
                                       std::int64_t index, float value) {
  if (dtype == KvDtype::kFp32) {
    reinterpret_cast<float*>(data)[index] = value;
    return;
  }
  reinterpret_cast<std::uint16_t*>(data)[index] = static_cast<std::uint16_t>(
      dtype == KvDtype::kFp16 ? Fp16::Encode(value) : Bf16::Encode(value));
}

/// A chunk of a row of `size` elements that begins at `begin`.
__device__ inline __noinline__ void LoadRowChunk(const KernelRows& rows,
                                                 std::int64_t begin,
                                                 std::int32_t size,
                                                 std::int32_t chunk,
                                                 float (&out)[kChunk]) {
#pragma unroll 1
  for (int i = 0; i < kChunk; ++i) {
    const std::int32_t element = chunk * kChunk + i;
    out[i] = element < size
                 ? LoadRowElement(rows.data, rows.dtype, begin + element)
                 : 0;
  }
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_CHUNK_CUH_
