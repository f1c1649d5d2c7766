// SPDX-License-Identifier: Apache-2.0
//
// Rows to slots of blocks, and a sequence's tokens to rows. One kernel for what
// is stored as it is outside of blocks, and others for each way of sharing
// scales.

#include <cstddef>
#include <cstdint>

#include "allocator/kernels/element_codec.h"
#include "allocator/kernels/vector_codec.h"
#include "backends/cuda/chunk.cuh"
#include "backends/cuda/kv_move_params.h"
#include "backends/cuda/launch_kernel.cuh"
#include "backends/cuda/launches.h"
#include "backends/cuda/packed_chunk.cuh"

namespace pagedkv::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWordsInFlight = 4;
/// Threads that share a vector while it is quantised.
constexpr int kVectorThreads = 16;

constexpr std::int64_t NumThreadBlocks(std::int64_t num_items, int per_block) {
  return (num_items + per_block - 1) / per_block;
}

// Item of a grid of kThreads threads, each with one.
__device__ std::int64_t ItemIndex() {
  return std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
}

// Copies as words: thread i of each thread block has words i, i + kThreads, ...
// `place(row, head, word)` gives the two addresses, or null to leave it out.
template <typename Word, typename Place>
__device__ void CopyVectors(std::int64_t num_rows, std::int32_t heads,
                            std::int32_t words, const Place& place) {
  const std::int64_t total = num_rows * heads * words;
  const std::int64_t begin =
      std::int64_t{blockIdx.x} * (kThreads * kWordsInFlight) + threadIdx.x;
  const Word* from[kWordsInFlight];
  Word* to[kWordsInFlight];
  Word values[kWordsInFlight];
#pragma unroll
  for (int k = 0; k < kWordsInFlight; ++k) {
    const std::int64_t i = begin + k * kThreads;
    from[k] = nullptr;
    to[k] = nullptr;
    if (i < total) {
      // All of it fits 32 bits (the launch sees to it), which divide faster.
      const auto index = static_cast<std::uint32_t>(i);
      const std::uint32_t vector = index / static_cast<std::uint32_t>(words);
      place(vector / static_cast<std::uint32_t>(heads),
            vector % static_cast<std::uint32_t>(heads),
            index % static_cast<std::uint32_t>(words), from[k], to[k]);
    }
    if (from[k] != nullptr) values[k] = *from[k];
  }
#pragma unroll
  for (int k = 0; k < kWordsInFlight; ++k) {
    if (to[k] != nullptr) *to[k] = values[k];
  }
}

template <typename Word>
__global__ void __launch_bounds__(kThreads)
    ScatterWordsKernel(ScatterParams p) {
  const std::int64_t element = KvDtypeBits(p.rows.dtype) / 8;
  const auto words = static_cast<std::int32_t>(
      p.view.tensor.head_size * element / std::int64_t{sizeof(Word)});
  CopyVectors<Word>(
      p.num_rows, p.view.tensor.heads, words,
      [&](std::int64_t row, std::int64_t head, std::int64_t word,
          const Word*& from, Word*& to) {
        const std::int64_t slot = p.slots[row];
        if (slot < 0) return;
        from = reinterpret_cast<const Word*>(
                   p.rows.data + RowBegin(p.rows, row, head) * element) +
               word;
        to = reinterpret_cast<Word*>(
                 VectorAddress(p.view, slot / p.view.block_size,
                               slot % p.view.block_size, head)) +
             word;
      });
}

template <typename Word>
__global__ void __launch_bounds__(kThreads) GatherWordsKernel(GatherParams p) {
  const std::int64_t element = KvDtypeBits(p.rows.dtype) / 8;
  const auto words = static_cast<std::int32_t>(
      p.view.tensor.head_size * element / std::int64_t{sizeof(Word)});
  CopyVectors<Word>(
      p.num_rows, p.view.tensor.heads, words,
      [&](std::int64_t row, std::int64_t head, std::int64_t word,
          const Word*& from, Word*& to) {
        const std::int64_t position = p.first + row;
        from = reinterpret_cast<const Word*>(VectorAddress(
                   p.view, p.table[position / p.view.block_size].value(),
                   position % p.view.block_size, head)) +
               word;
        to = reinterpret_cast<Word*>(p.rows.data +
                                     RowBegin(p.rows, row, head) * element) +
             word;
      });
}

// Scales for whole chunks: a half warp quantises a vector.
__global__ void __launch_bounds__(kThreads)
    ScatterChunksKernel(ScatterParams p) {
  const std::int64_t index = ItemIndex() / kVectorThreads;
  const int lane = static_cast<int>(threadIdx.x) % kVectorThreads;
  const std::int64_t row = index / p.view.tensor.heads;
  const std::int64_t head = index % p.view.tensor.heads;
  const std::int64_t slot = row < p.num_rows ? p.slots[row] : -1;
  // The other half of the warp may have work: all take part in exchanges.
  const bool is_ours = slot >= 0;
  const std::int64_t block = is_ours ? slot / p.view.block_size : 0;
  const std::int64_t token = is_ours ? slot % p.view.block_size : 0;
  const KvFormat format = ElementFormat(p.view);
  const int bits = KvDtypeBits(format.dtype);
  const std::int32_t size = p.view.tensor.head_size;
  const std::int32_t per_scale = ElementsPerScale(p.view);
  const std::int64_t row_begin = RowBegin(p.rows, row, head);
  for (std::int32_t begin = 0; begin < size; begin += per_scale) {
    const std::int32_t end =
        size - begin < per_scale ? size : begin + per_scale;
    const std::int32_t first = begin / kChunk + lane;
    const std::int32_t last = NumChunks(end);
    ScaleEntry entry{.scale = p.view.scale};
    float elements[kChunk];
    if (format.scheme != ScaleScheme::kTensor) {
      ElementRange range;
      for (std::int32_t c = first; is_ours && c < last; c += kVectorThreads) {
        LoadRowPacked(p.rows, row_begin, end, c, elements);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
          if (c * kChunk + i < end) range.Add(elements[i]);
        }
      }
#pragma unroll
      for (int distance = kVectorThreads / 2; distance >= 1; distance /= 2) {
        const float min = __shfl_xor_sync(0xffffffffu, range.min, distance);
        const float max = __shfl_xor_sync(0xffffffffu, range.max, distance);
        range.min = min < range.min ? min : range.min;
        range.max = max > range.max ? max : range.max;
      }
      if (is_ours) {
        entry = ChooseScale(format, range);
        if (lane == 0) {
          StoreScale(
              format,
              ScaleAddress(p.view, block, token, head, begin / per_scale),
              entry);
        }
      }
    }
    const float inverse = InverseScale(entry.scale);
    for (std::int32_t c = first; is_ours && c < last; c += kVectorThreads) {
      LoadRowPacked(p.rows, row_begin, end, c, elements);
      const std::int32_t left = end - c * kChunk;
      StorePacked(
          VectorAddress(p.view, block, token, head) + std::int64_t{c} * bits,
          bits, (left < kChunk ? left : kChunk) * bits / 8,
          Encode(format, entry, inverse, elements));
    }
  }
}

// Any other scales within a vector: one thread for each, which is rare.
__global__ void __launch_bounds__(kThreads)
    ScatterVectorsKernel(ScatterParams p) {
  const std::int64_t index = ItemIndex();
  const std::int64_t row = index / p.view.tensor.heads;
  const std::int64_t head = index % p.view.tensor.heads;
  if (row >= p.num_rows || p.slots[row] < 0) return;
  const std::int64_t begin = RowBegin(p.rows, row, head);
  EncodeVector(p.view, p.slots[row] / p.view.block_size,
               p.slots[row] % p.view.block_size, head, [&](std::int32_t i) {
                 return LoadRowElement(p.rows.data, p.rows.dtype, begin + i);
               });
}

// Scales per channel. A thread has the channels of one byte, and all tokens of
// a run: bytes are for one thread only.
__global__ void __launch_bounds__(kThreads)
    ScatterChannelsKernel(ScatterParams p) {
  const KvFormat format = ElementFormat(p.view);
  const int bits = KvDtypeBits(format.dtype);
  const std::int32_t per_byte = bits < 8 ? 8 / bits : 1;
  const std::int32_t units = p.view.tensor.head_size / per_byte;
  const std::int64_t index = ItemIndex();
  const auto unit = static_cast<std::int32_t>(index % units);
  const std::int64_t head = index / units % p.view.tensor.heads;
  const std::int64_t row = index / units / p.view.tensor.heads;
  // The first row of each run does the work.
  if (row >= p.num_rows || p.slots[row] < 0 ||
      p.slots[row] % p.view.channel_run != 0) {
    return;
  }
  const std::int64_t block = p.slots[row] / p.view.block_size;
  const std::int64_t token = p.slots[row] % p.view.block_size;
  const auto element = [&](std::int32_t t, std::int32_t channel) {
    return LoadRowElement(p.rows.data, p.rows.dtype,
                          RowBegin(p.rows, row + t, head) + channel);
  };
  for (std::int32_t k = 0; k < per_byte; ++k) {
    const std::int32_t channel = unit * per_byte + k;
    ElementRange range;
    for (std::int32_t t = 0; t < p.view.channel_run; ++t) {
      range.Add(element(t, channel));
    }
    const ScaleEntry entry = ChooseScale(format, range);
    const float inverse = InverseScale(entry.scale);
    StoreScale(
        format,
        ScaleAddress(p.view, block, token / p.view.channel_run, head, channel),
        entry);
    for (std::int32_t t = 0; t < p.view.channel_run; ++t) {
      StoreElementBits(
          format.dtype, VectorAddress(p.view, block, token + t, head), channel,
          EncodeElement(format, entry, inverse, element(t, channel)));
    }
  }
}

// A thread for each chunk.
__global__ void __launch_bounds__(kThreads) GatherChunksKernel(GatherParams p) {
  const std::int32_t size = p.view.tensor.head_size;
  const std::int32_t chunks = NumChunks(size);
  const std::int64_t index = ItemIndex();
  const auto chunk = static_cast<std::int32_t>(index % chunks);
  const std::int64_t head = index / chunks % p.view.tensor.heads;
  const std::int64_t row = index / chunks / p.view.tensor.heads;
  if (row >= p.num_rows) return;
  const std::int64_t position = p.first + row;
  const std::int64_t block = p.table[position / p.view.block_size].value();
  const std::int64_t token = position % p.view.block_size;
  const KvFormat format = ElementFormat(p.view);
  const int bits = KvDtypeBits(format.dtype);
  const std::int32_t per_scale = ElementsPerScale(p.view);
  float elements[kChunk];
  if ((chunk + 1) * kChunk <= size &&
      (per_scale % kChunk == 0 || per_scale == size)) {
    Decode(format, ScaleOf(p.view, block, token, head, chunk * kChunk),
           LoadPacked(VectorAddress(p.view, block, token, head) +
                          std::int64_t{chunk} * bits,
                      bits),
           elements);
  } else {
    LoadChunk(p.view, block, token, head, chunk, elements);
  }
  StoreRowPacked(p.rows, RowBegin(p.rows, row, head), size, chunk, elements);
}

// Launches for runs of rows, so that the items of a launch can be counted in 31
// bits. `with` gives the parameters for `count` rows from `first` on.
template <typename Params, typename With, typename Launch>
int ForRows(const Params& params, std::int64_t items_per_row, With with,
            Launch launch) {
  constexpr std::int64_t kMostItems = std::int64_t{1} << 30;
  const std::int64_t most =
      items_per_row < kMostItems ? kMostItems / items_per_row : 1;
  int error = 0;
  for (std::int64_t first = 0; first < params.num_rows && error == 0;
       first += most) {
    const std::int64_t left = params.num_rows - first;
    const std::int64_t count = left < most ? left : most;
    error = launch(with(first, count), count * items_per_row);
  }
  return error;
}
template <typename Launch>
int ForRows(const ScatterParams& params, std::int64_t items_per_row,
            Launch launch) {
  return ForRows(
      params, items_per_row,
      [&](std::int64_t first, std::int64_t count) {
        ScatterParams part = params;
        part.slots += first;
        part.rows.data += first * params.rows.token_stride *
                          (KvDtypeBits(params.rows.dtype) / 8);
        part.num_rows = count;
        return part;
      },
      launch);
}
template <typename Launch>
int ForRows(const GatherParams& params, std::int64_t items_per_row,
            Launch launch) {
  return ForRows(
      params, items_per_row,
      [&](std::int64_t first, std::int64_t count) {
        GatherParams part = params;
        part.first += first;
        part.rows.data += first * params.rows.token_stride *
                          (KvDtypeBits(params.rows.dtype) / 8);
        part.num_rows = count;
        return part;
      },
      launch);
}

// One kernel of several, by the width of words.
template <typename Params>
using Kernel = void (*)(Params);
template <typename Params>
Kernel<Params> ForWords(int word_bytes, Kernel<Params> of16, Kernel<Params> of8,
                        Kernel<Params> of4, Kernel<Params> of2,
                        Kernel<Params> of1) {
  return word_bytes == 16  ? of16
         : word_bytes == 8 ? of8
         : word_bytes == 4 ? of4
         : word_bytes == 2 ? of2
                           : of1;
}

template <typename Params>
int LaunchWords(const Params& params, int word_bytes, Kernel<Params> kernel,
                Stream stream) {
  const std::int64_t vector_bytes =
      std::int64_t{params.view.tensor.head_size} *
      KvDtypeBits(params.view.tensor.format.dtype) / 8;
  return ForRows(params, vector_bytes / word_bytes * params.view.tensor.heads,
                 [&](const Params& part, std::int64_t words) {
                   return LaunchPlainKernel(
                       kernel,
                       NumThreadBlocks(words, kThreads * kWordsInFlight),
                       kThreads, part, stream);
                 });
}

}  // namespace

int LaunchScatterWords(const ScatterParams& params, int word_bytes,
                       Stream stream) {
  return LaunchWords(
      params, word_bytes,
      ForWords<ScatterParams>(
          word_bytes, ScatterWordsKernel<uint4>, ScatterWordsKernel<uint2>,
          ScatterWordsKernel<std::uint32_t>, ScatterWordsKernel<std::uint16_t>,
          ScatterWordsKernel<std::uint8_t>),
      stream);
}

int LaunchGatherWords(const GatherParams& params, int word_bytes,
                      Stream stream) {
  return LaunchWords(
      params, word_bytes,
      ForWords<GatherParams>(
          word_bytes, GatherWordsKernel<uint4>, GatherWordsKernel<uint2>,
          GatherWordsKernel<std::uint32_t>, GatherWordsKernel<std::uint16_t>,
          GatherWordsKernel<std::uint8_t>),
      stream);
}

int LaunchScatter(const ScatterParams& params, Stream stream) {
  const KvTensor& tensor = params.view.tensor;
  if (tensor.format.scheme == ScaleScheme::kChannel) {
    const int bits = KvDtypeBits(tensor.format.dtype);
    const std::int64_t units =
        bits < 8 ? std::int64_t{tensor.head_size} * bits / 8 : tensor.head_size;
    // All rows at once, since a run must not be cut.
    return LaunchPlainKernel(
        ScatterChannelsKernel,
        NumThreadBlocks(params.num_rows * tensor.heads * units, kThreads),
        kThreads, params, stream);
  }
  const std::int32_t per_scale = ElementsPerScale(params.view);
  if (per_scale % kChunk != 0 && per_scale != tensor.head_size) {
    return ForRows(params, tensor.heads,
                   [&](const ScatterParams& part, std::int64_t items) {
                     return LaunchPlainKernel(ScatterVectorsKernel,
                                              NumThreadBlocks(items, kThreads),
                                              kThreads, part, stream);
                   });
  }
  return ForRows(params, std::int64_t{tensor.heads} * kVectorThreads,
                 [&](const ScatterParams& part, std::int64_t items) {
                   return LaunchKernel(ScatterChunksKernel,
                                       NumThreadBlocks(items, kThreads),
                                       kThreads, part, stream);
                 });
}

int LaunchGather(const GatherParams& params, Stream stream) {
  return ForRows(params,
                 std::int64_t{params.view.tensor.heads} *
                     NumChunks(params.view.tensor.head_size),
                 [&](const GatherParams& part, std::int64_t items) {
                   return LaunchPlainKernel(GatherChunksKernel,
                                            NumThreadBlocks(items, kThreads),
                                            kThreads, part, stream);
                 });
}

}  // namespace pagedkv::cuda
