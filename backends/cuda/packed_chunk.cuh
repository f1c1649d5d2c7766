// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_PACKED_CHUNK_CUH_
#define BACKENDS_CUDA_PACKED_CHUNK_CUH_

/// Eight elements of any dtype as they are stored: in memory, in as few
/// accesses as the address allows, and in registers.

#include <cstddef>
#include <cstdint>

#include "allocator/kernels/element_codec.h"
#include "backends/cuda/chunk.cuh"
#include "pagedkv/kv_tensor.h"

namespace pagedkv::cuda {

/// The low `8 * bits` bits, from the first word's low ones up.
struct PackedChunk {
  std::uint32_t words[8] = {};
};

template <typename Address>
__device__ bool IsMultiple(Address* address, std::uintptr_t of) {
  return reinterpret_cast<std::uintptr_t>(address) % of == 0;
}

/// `bits` is that of one element: as many bytes are loaded.
__device__ inline PackedChunk LoadPacked(const std::byte* from, int bits) {
  PackedChunk chunk;
  if (bits >= 16 && IsMultiple(from, 16)) {
    const uint4 low = reinterpret_cast<const uint4*>(from)[0];
    chunk.words[0] = low.x;
    chunk.words[1] = low.y;
    chunk.words[2] = low.z;
    chunk.words[3] = low.w;
    if (bits == 32) {
      const uint4 high = reinterpret_cast<const uint4*>(from)[1];
      chunk.words[4] = high.x;
      chunk.words[5] = high.y;
      chunk.words[6] = high.z;
      chunk.words[7] = high.w;
    }
  } else if (bits == 8 && IsMultiple(from, 8)) {
    const uint2 all = reinterpret_cast<const uint2*>(from)[0];
    chunk.words[0] = all.x;
    chunk.words[1] = all.y;
  } else if (bits == 4 && IsMultiple(from, 4)) {
    chunk.words[0] = reinterpret_cast<const std::uint32_t*>(from)[0];
  } else {
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (i < bits) {
        chunk.words[i / 4] |= std::to_integer<std::uint32_t>(from[i])
                              << (8 * (i % 4));
      }
    }
  }
  return chunk;
}

/// Stores the first `bytes`: all of the chunk, or the whole elements of a last
/// one.
__device__ inline void StorePacked(std::byte* to, int bits, int bytes,
                                   const PackedChunk& chunk) {
  if (bytes == bits && bits >= 16 && IsMultiple(to, 16)) {
    reinterpret_cast<uint4*>(to)[0] =
        uint4{chunk.words[0], chunk.words[1], chunk.words[2], chunk.words[3]};
    if (bits == 32) {
      reinterpret_cast<uint4*>(to)[1] =
          uint4{chunk.words[4], chunk.words[5], chunk.words[6], chunk.words[7]};
    }
  } else if (bytes == bits && bits == 8 && IsMultiple(to, 8)) {
    reinterpret_cast<uint2*>(to)[0] = uint2{chunk.words[0], chunk.words[1]};
  } else if (bytes == bits && bits == 4 && IsMultiple(to, 4)) {
    reinterpret_cast<std::uint32_t*>(to)[0] = chunk.words[0];
  } else {
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (i < bytes) {
        to[i] =
            static_cast<std::byte>(chunk.words[i / 4] >> (8 * (i % 4)) & 0xff);
      }
    }
  }
}

// Calls `visit(i, word, shift)` with where element i is. Indices of words are
// constants, so that chunks stay in registers.
template <int kBits, typename Visit>
__device__ void ForElements(Visit visit) {
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    visit(i, i * kBits / 32, i * kBits % 32);
  }
}
template <typename Visit>
__device__ void ForElementsOf(int bits, Visit visit) {
  switch (bits) {
    case 32:
      return ForElements<32>(visit);
    case 16:
      return ForElements<16>(visit);
    case 8:
      return ForElements<8>(visit);
    case 4:
      return ForElements<4>(visit);
    default:
      return ForElements<2>(visit);
  }
}

__device__ inline void Decode(const KvFormat& format, const ScaleEntry& entry,
                              const PackedChunk& chunk, float (&out)[kChunk]) {
  const int bits = KvDtypeBits(format.dtype);
  const std::uint32_t mask = bits == 32 ? ~0u : (1u << bits) - 1;
  std::uint32_t codes[kChunk];
  ForElementsOf(bits, [&](int i, int word, int shift) {
    codes[i] = chunk.words[word] >> shift & mask;
  });
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    out[i] = DecodeElement(format, entry, codes[i]);
  }
}

__device__ inline PackedChunk Encode(const KvFormat& format,
                                     const ScaleEntry& entry, float inverse,
                                     const float (&elements)[kChunk]) {
  std::uint32_t codes[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    codes[i] = EncodeElement(format, entry, inverse, elements[i]);
  }
  PackedChunk chunk;
  ForElementsOf(KvDtypeBits(format.dtype), [&](int i, int word, int shift) {
    chunk.words[word] |= codes[i] << shift;
  });
  return chunk;
}

/// A chunk of a row of `size` elements. What is beyond it is 0.
__device__ inline void LoadRowPacked(const KernelRows& rows, std::int64_t begin,
                                     std::int32_t size, std::int32_t chunk,
                                     float (&out)[kChunk]) {
  if ((chunk + 1) * kChunk > size) {
    LoadRowChunk(rows, begin, size, chunk, out);
    return;
  }
  const int bits = KvDtypeBits(rows.dtype);
  const KvFormat format{.dtype = rows.dtype};
  Decode(format, {},
         LoadPacked(rows.data + (begin + chunk * kChunk) * (bits / 8), bits),
         out);
}
__device__ inline void StoreRowPacked(const KernelOutputRows& rows,
                                      std::int64_t begin, std::int32_t size,
                                      std::int32_t chunk,
                                      const float (&elements)[kChunk]) {
  const int bits = KvDtypeBits(rows.dtype);
  const KvFormat format{.dtype = rows.dtype};
  const std::int32_t left = size - chunk * kChunk;
  StorePacked(rows.data + (begin + chunk * kChunk) * (bits / 8), bits,
              (left < kChunk ? left : kChunk) * (bits / 8),
              Encode(format, {}, 1, elements));
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_PACKED_CHUNK_CUH_
