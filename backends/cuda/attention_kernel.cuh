// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_ATTENTION_KERNEL_CUH_
#define BACKENDS_CUDA_ATTENTION_KERNEL_CUH_

/// Paged attention: a thread block takes up to eight rows, (query, query head),
/// of one sequence that read one KV head, so that they share what is read of
/// keys and values. It works split by split (`kSplitTokens` tokens): all
/// logits, then one softmax, then all values.
///
/// Sequences with one query have a thread block for each split, and a second
/// kernel puts the splits together (flash-decoding); with more queries, one
/// thread block goes through all splits and puts them together itself, by the
/// same arithmetic in the same order. So a row has the same bits however it is
/// computed, in whatever company.
///
/// Not tensor cores: they would round weights, and queries of fp32, to 16 bits.
/// Plain CUDA C++: tests run it on the host as well (device_emulation.h).

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "backends/cuda/attention_params.h"
#include "backends/cuda/chunk.cuh"

namespace pagedkv::cuda {

inline constexpr int kWarps = kAttentionThreads / 32;
/// The sums of a softmax are taken by classes of tokens, in an order that does
/// not depend on the number of rows.
inline constexpr int kClasses = 16;
inline constexpr float kNothing = -INFINITY;

/// A softmax, and what has been summed under it, from several splits.
struct MergeFactors {
  float old_sums = 1;
  float new_sums = 0;
};
// Takes a split into a softmax (arXiv 1805.02867): what sums are multiplied
// with.
__device__ inline MergeFactors Merge(SplitHeader& softmax,
                                     const SplitHeader& split) {
  MergeFactors factors;
  if (split.max == kNothing) return factors;  // no token of the split is seen
  const float max = fmaxf(softmax.max, split.max);
  factors.old_sums = softmax.max == kNothing ? 0 : expf(softmax.max - max);
  factors.new_sums = expf(split.max - max);
  softmax.sum =
      fmaf(split.sum, factors.new_sums, softmax.sum * factors.old_sums);
  softmax.max = max;
  return factors;
}
__device__ inline float MergeSums(const MergeFactors& factors, float old_sum,
                                  float new_sum) {
  // No token: what the new sum holds is not looked at, nor the sign of a zero.
  if (factors.old_sums == 1 && factors.new_sums == 0) return old_sum;
  return fmaf(new_sum, factors.new_sums, old_sum * factors.old_sums);
}

__device__ inline SplitHeader FirstSoftmax(const AttentionParams& p,
                                           std::int32_t head) {
  SplitHeader softmax{.max = kNothing, .sum = 0};
  if (p.sink_logits != nullptr && p.sink_logits[head] != kNothing) {
    softmax = {.max = p.sink_logits[head], .sum = 1};
  }
  return softmax;
}

/// Vectors of a dtype that is known, whose chunks are whole and aligned; one
/// scale for each at most; all tokens in blocks.
template <KvDtype kDtype>
struct AlignedSource {
  using Bits = ChunkBits<kDtype>;
  static constexpr int kUnroll = 4;  // loads under way in a thread

  struct Place {
    const std::byte* vector = nullptr;  // null: the token is not read
    ScaleEntry scale;
    __device__ bool is_read() const { return vector != nullptr; }
  };
  __device__ static Place Find(const KvTensorView& view, const BlockId* table,
                               const KernelRows* /*rows*/,
                               std::int32_t /*first*/, std::int32_t token,
                               std::int32_t head) {
    const std::int64_t block = table[token / view.block_size].value();
    const std::int32_t offset = token % view.block_size;
    return {VectorAddress(view, block, offset, head),
            KvDtypeBits(kDtype) > 8 ? ScaleEntry{}
                                    : ScaleOf(view, block, offset, head, 0)};
  }
  __device__ static Bits Load(const KvTensorView& /*view*/, const Place& place,
                              const KernelRows* /*rows*/, std::int32_t /*head*/,
                              std::int32_t chunk) {
    return reinterpret_cast<const Bits*>(place.vector)[chunk];
  }
  __device__ static void Decode(const KvFormat& format, const Place& place,
                                const Bits& bits, float (&out)[kChunk]) {
    DecodeChunk<kDtype>(format, place.scale, bits, out);
  }
};

/// Everything else, an element at a time.
struct AnySource {
  struct Bits {
    float elements[kChunk];
  };
  static constexpr int kUnroll = 1;

  struct Place {
    std::int32_t block = -1;  // -1: the token is not read
    std::int32_t offset = 0;  // in its block
    std::int32_t row = -1;    // if it is not in blocks
    __device__ bool is_read() const { return block >= 0 || row >= 0; }
  };
  __device__ static Place Find(const KvTensorView& view, const BlockId* table,
                               const KernelRows* rows, std::int32_t first,
                               std::int32_t token, std::int32_t /*head*/) {
    Place place;
    if (rows != nullptr && token >= first) {
      place.row = token - first;
    } else {
      place.block = table[token / view.block_size].value();
      place.offset = token % view.block_size;
    }
    return place;
  }
  __device__ static Bits Load(const KvTensorView& view, const Place& place,
                              const KernelRows* rows, std::int32_t head,
                              std::int32_t chunk) {
    Bits bits;
    if (place.row >= 0) {
      LoadRowChunk(*rows, RowBegin(*rows, place.row, head),
                   view.tensor.head_size, chunk, bits.elements);
    } else {
      LoadChunk(view, place.block, place.offset, head, chunk, bits.elements);
    }
    return bits;
  }
  __device__ static void Decode(const KvFormat& /*format*/,
                                const Place& /*place*/, const Bits& bits,
                                float (&out)[kChunk]) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) out[i] = bits.elements[i];
  }
};

/// The row whose sum a thread has after `SumRows`.
template <int kRows, int kLanes>
__device__ int RowOfLane(int lane) {
  return lane / (kLanes / kRows);
}

/// Adds `values` over `kLanes` neighbouring threads. Each thread ends with the
/// sum of one row in values[0]. Each row is added in the same order, whatever
/// kRows is.
template <int kRows, int kLanes>
__device__ void SumRows(float (&values)[kRows], int lane) {
  int left = kRows;
#pragma unroll
  for (int distance = kLanes / 2; distance >= 1; distance /= 2) {
    if (left > 1) {
      left /= 2;
      const bool is_upper = (lane & distance) != 0;
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) {
        if (i >= left) break;
        const float mine = is_upper ? values[i + left] : values[i];
        const float others = is_upper ? values[i] : values[i + left];
        values[i] = mine + __shfl_xor_sync(0xffffffffu, others, distance);
      }
    } else {
      values[0] += __shfl_xor_sync(0xffffffffu, values[0], distance);
    }
  }
}

/// A thread block's work on one tile of rows.
template <typename Source, int kLanes, int kChunks, int kRows>
class AttentionTile {
 public:
  using Place = typename Source::Place;
  static constexpr int kPadded = kLanes * kChunks * kChunk;  // elements
  // Tokens that a warp looks at together.
  static constexpr int kSubs = 32 / kLanes;
  static constexpr int kUnroll = Source::kUnroll;
  static constexpr int kTokensPerRound = kUnroll * kWarps * kSubs;
  static_assert(kSplitTokens % kTokensPerRound == 0);
  static_assert(kLanes >= kRows);

  // What the threads share.
  struct Shared {
    Place keys[kSplitTokens];
    Place values[kSplitTokens];
    alignas(16) float queries[kRows][kPadded];
    alignas(16) float weights[kSplitTokens][kRows];  // logits at first
    alignas(16) float sums[kRows][kPadded];          // of the split
    alignas(16) float all_sums[kRows][kPadded];      // of all splits so far
    float parts[kClasses][kRows];
    SplitHeader split[kRows];
    SplitHeader softmax[kRows];  // of all splits so far
    MergeFactors factors[kRows];
  };

  __device__ AttentionTile(const AttentionParams& p, Shared& shared,
                           std::int32_t sequence, std::int32_t kv_head,
                           std::int32_t first_row)
      : p_(p),
        shared_(shared),
        sequence_(sequence),
        kv_head_(kv_head),
        warp_(static_cast<int>(threadIdx.x) / 32),
        sub_(static_cast<int>(threadIdx.x) % 32 / kLanes),
        part_(static_cast<int>(threadIdx.x) % kLanes),
        first_row_(first_row) {
    const std::int32_t begin = p.query_begin[sequence];
    const std::int32_t num_queries = p.query_begin[sequence + 1] - begin;
    first_query_ = begin;
    first_position_ = p.num_tokens[sequence] - num_queries;
    const std::int32_t kv_begin = kv_head * p.heads_per_kv;
    head_begin_ = p.first_head > kv_begin ? p.first_head : kv_begin;
    const std::int32_t kv_end = kv_begin + p.heads_per_kv;
    num_heads_ = (p.end_head < kv_end ? p.end_head : kv_end) - head_begin_;
    const std::int32_t left = num_queries * num_heads_ - first_row;
    num_rows_ = left < kRows ? left : kRows;
    if (num_rows_ <= 0) return;
    first_visible_ = VisibleOf(0);
    last_visible_ = VisibleOf(num_rows_ - 1);
    all_visible_ = UnionOf(first_visible_, last_visible_);
    if (p.residuals != nullptr) {
      residual_ = &p.residuals[sequence];
    }
  }

  /// Whether there is nothing to do.
  __device__ bool is_empty() const { return num_rows_ <= 0; }
  __device__ bool Sees(std::int32_t split) const {
    return all_visible_.HasAny(split * kSplitTokens,
                               (split + 1) * kSplitTokens - 1);
  }

  __device__ void LoadQueries() {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kPadded;
         i += kAttentionThreads) {
      shared_.queries[i / kPadded][i % kPadded] =
          QueryElement(i / kPadded, i % kPadded);
    }
    __syncthreads();
  }

  /// Leaves a split's softmax and sums in shared memory. With kOneQuery, all
  /// rows are heads of one query, and see the same.
  template <bool kOneQuery>
  __device__ void Attend(std::int32_t split) {
    FindTokens(split);
    __syncthreads();
    ComputeLogits(split);
    __syncthreads();
    ComputeWeights();
    __syncthreads();
    AddValues<!kOneQuery>();
  }

  __device__ void StoreSplit(std::int32_t split) {
    const std::int32_t size = p_.value_size();
    for (int r = 0; r < num_rows_; ++r) {
      float* const to = p_.SplitAt(sequence_, HeadOf(r), split);
      for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < size;
           i += kAttentionThreads) {
        to[2 + i] = shared_.sums[r][i];
      }
      if (threadIdx.x == 0) {
        to[0] = shared_.split[r].max;
        to[1] = shared_.split[r].sum;
      }
    }
  }

  __device__ void BeginMerging() {
    const int t = static_cast<int>(threadIdx.x);
    if (t < num_rows_) {
      shared_.softmax[t] = FirstSoftmax(p_, HeadOf(t));
    }
    for (int i = t; i < kRows * kPadded; i += kAttentionThreads) {
      shared_.all_sums[i / kPadded][i % kPadded] = 0;
    }
    __syncthreads();
  }
  __device__ void MergeSplit() {
    const int t = static_cast<int>(threadIdx.x);
    if (t < num_rows_) {
      shared_.factors[t] = Merge(shared_.softmax[t], shared_.split[t]);
    }
    __syncthreads();
    for (int i = t; i < num_rows_ * kPadded; i += kAttentionThreads) {
      float& sum = shared_.all_sums[i / kPadded][i % kPadded];
      sum = MergeSums(shared_.factors[i / kPadded], sum,
                      shared_.sums[i / kPadded][i % kPadded]);
    }
    __syncthreads();
  }
  __device__ void StoreOutput() {
    const std::int32_t size = p_.value_size();
    for (int r = 0; r < num_rows_; ++r) {
      const float scale = 1 / shared_.softmax[r].sum;
      const std::int64_t begin =
          RowBegin(p_.output, first_query_ + QueryOf(r), HeadOf(r));
      for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < size;
           i += kAttentionThreads) {
        StoreRowElement(p_.output.data, p_.output.dtype, begin + i,
                        shared_.all_sums[r][i] * scale);
      }
    }
  }

 private:
  __device__ std::int32_t QueryOf(int row) const {
    return (first_row_ + row) / num_heads_;
  }
  __device__ std::int32_t HeadOf(int row) const {
    return head_begin_ + (first_row_ + row) % num_heads_;
  }
  __device__ Visible VisibleOf(int row) const {
    return VisibleAt(first_position_ + QueryOf(row), p_.window,
                     p_.num_sink_tokens);
  }
  // Of a key as the kernel lays it out: the rotary part begins a chunk.
  __device__ float QueryElement(int row, int padded) const {
    if (row >= num_rows_) return 0;
    const std::int32_t size = p_.key.tensor.head_size;
    const std::int32_t rotary_begin = NumChunks(size) * kChunk;
    std::int32_t element = padded;
    if (padded >= size) {
      if (!p_.is_latent || padded < rotary_begin ||
          padded - rotary_begin >= p_.value.tensor.head_size) {
        return 0;
      }
      element = padded - rotary_begin + size;
    }
    const std::int64_t begin =
        RowBegin(p_.query, first_query_ + QueryOf(row), HeadOf(row));
    return LoadRowElement(p_.query.data, p_.query.dtype, begin + element);
  }

  __device__ const KernelRows* KeyRows() const {
    return residual_ == nullptr ? nullptr : &residual_->key;
  }
  __device__ const KernelRows* ValueRows() const {
    return residual_ == nullptr ? nullptr : &residual_->value;
  }

  __device__ void FindTokens(std::int32_t split) {
    const BlockId* const table = p_.tables[sequence_];
    const std::int32_t first = residual_ == nullptr ? 0 : residual_->first;
    for (int t = static_cast<int>(threadIdx.x); t < kSplitTokens;
         t += kAttentionThreads) {
      const std::int32_t token = split * kSplitTokens + t;
      Place key;
      Place value;
      if (all_visible_.Has(token)) {
        key = Source::Find(p_.key, table, KeyRows(), first, token, kv_head_);
        if (p_.value.tensor.heads > 0) {
          value = Source::Find(p_.value, table, ValueRows(), first, token,
                               kv_head_);
        }
      }
      shared_.keys[t] = key;
      shared_.values[t] = value;
    }
  }

  // The token in its split that this thread looks at.
  __device__ int TokenAt(int round, int u) const {
    return ((round * kUnroll + u) * kWarps + warp_) * kSubs + sub_;
  }

  using Bits = typename Source::Bits;
  // Whether the chunk is of the rotary part.
  __device__ bool IsRotary(int chunk) const {
    return p_.is_latent && chunk >= NumChunks(p_.key.tensor.head_size);
  }
  __device__ Bits LoadKey(int token, int chunk) const {
    if (IsRotary(chunk)) {
      return Source::Load(p_.value, shared_.values[token], ValueRows(),
                          kv_head_, chunk - NumChunks(p_.key.tensor.head_size));
    }
    return Source::Load(p_.key, shared_.keys[token], KeyRows(), kv_head_,
                        chunk);
  }
  __device__ void DecodeKey(int token, int chunk, const Bits& bits,
                            float (&out)[kChunk]) const {
    if (IsRotary(chunk)) {
      Source::Decode(ElementFormat(p_.value), shared_.values[token], bits, out);
    } else {
      Source::Decode(ElementFormat(p_.key), shared_.keys[token], bits, out);
    }
  }
  // Latents serve as values.
  __device__ const KvTensorView& value_view() const {
    return p_.is_latent ? p_.key : p_.value;
  }
  __device__ const Place& ValuePlace(int token) const {
    return p_.is_latent ? shared_.keys[token] : shared_.values[token];
  }

  __device__ void ComputeLogits(std::int32_t split) {
    float query[kRows][kChunks][kChunk];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
          query[r][c][i] = shared_.queries[r][ElementAt(c) + i];
        }
      }
    }
    // The row whose logits this thread has after a sum. Several threads have
    // the same row: the first of them writes.
    const int row = RowOfLane<kRows, kLanes>(part_);
    const bool is_writer = part_ % (kLanes / kRows) == 0;
    const Visible visible = row < num_rows_ ? VisibleOf(row) : Visible{};
    const std::int32_t num_chunks = p_.key_chunks();
    for (int round = 0; round < kSplitTokens / kTokensPerRound; ++round) {
      Bits bits[kUnroll][kChunks];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int token = TokenAt(round, u);
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          const int chunk = c * kLanes + part_;
          if (shared_.keys[token].is_read() && chunk < num_chunks) {
            bits[u][c] = LoadKey(token, chunk);
          }
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int token = TokenAt(round, u);
        float logits[kRows] = {};
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          const int chunk = c * kLanes + part_;
          if (!shared_.keys[token].is_read() || chunk >= num_chunks) continue;
          float key[kChunk];
          DecodeKey(token, chunk, bits[u][c], key);
#pragma unroll
          for (int i = 0; i < kChunk; ++i) {
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              logits[r] = fmaf(query[r][c][i], key[i], logits[r]);
            }
          }
        }
        SumRows<kRows, kLanes>(logits, part_);
        if (is_writer) {
          shared_.weights[token][row] =
              visible.Has(split * kSplitTokens + token)
                  ? logits[0] * p_.softmax_scale
                  : kNothing;
        }
      }
    }
  }

  // Logits become weights. Thread (class, row) has tokens class,
  // class + kClasses, ...
  __device__ void ComputeWeights() {
    const int t = static_cast<int>(threadIdx.x);
    const bool takes_part = t < kClasses * kRows;
    const int of_class = t / kRows;
    const int row = t % kRows;
    if (takes_part) {
      float max = kNothing;
      for (int token = of_class; token < kSplitTokens; token += kClasses) {
        max = fmaxf(max, shared_.weights[token][row]);
      }
      shared_.parts[of_class][row] = max;
    }
    __syncthreads();
    float max = kNothing;
    if (takes_part) {
      for (int c = 0; c < kClasses; ++c) {
        max = fmaxf(max, shared_.parts[c][row]);
      }
    }
    __syncthreads();
    if (takes_part) {
      // Nothing seen: weights are 0, not exp(-inf + inf).
      const float shift = max == kNothing ? 0 : max;
      float sum = 0;
      for (int token = of_class; token < kSplitTokens; token += kClasses) {
        const float weight = expf(shared_.weights[token][row] - shift);
        shared_.weights[token][row] = weight;
        sum += weight;
      }
      shared_.parts[of_class][row] = sum;
    }
    __syncthreads();
    if (t < kRows) {
      float sum = 0;
      for (int c = 0; c < kClasses; ++c) sum += shared_.parts[c][row];
      shared_.split[row] = {.max = max, .sum = sum};
    }
  }

  // Guarded: a row need not see all that the tile sees. A weight of 0 then
  // keeps away what is no number.
  template <bool kGuarded>
  __device__ void AddValues() {
    float sums[kRows][kChunks][kChunk] = {};
    const KvTensorView& view = value_view();
    const std::int32_t num_chunks = NumChunks(view.tensor.head_size);
    const KvFormat format = ElementFormat(view);
    const KernelRows* const rows = p_.is_latent ? KeyRows() : ValueRows();
    for (int round = 0; round < kSplitTokens / kTokensPerRound; ++round) {
      Bits bits[kUnroll][kChunks];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const Place& place = ValuePlace(TokenAt(round, u));
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          const int chunk = c * kLanes + part_;
          if (place.is_read() && chunk < num_chunks) {
            bits[u][c] = Source::Load(view, place, rows, kv_head_, chunk);
          }
        }
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int token = TokenAt(round, u);
        const Place& place = ValuePlace(token);
        if (!place.is_read()) continue;
        float weights[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) weights[r] = shared_.weights[token][r];
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          if (c * kLanes + part_ >= num_chunks) continue;
          float value[kChunk];
          Source::Decode(format, place, bits[u][c], value);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            if (kGuarded && weights[r] == 0) continue;
#pragma unroll
            for (int i = 0; i < kChunk; ++i) {
              sums[r][c][i] = fmaf(weights[r], value[i], sums[r][c][i]);
            }
          }
        }
      }
    }
    ShareSums(sums);
  }

  // Adds up what the warps' parts and then the warps have.
  __device__ void ShareSums(float (&sums)[kRows][kChunks][kChunk]) {
#pragma unroll
    for (int distance = kLanes; distance < 32; distance *= 2) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
#pragma unroll
          for (int i = 0; i < kChunk; ++i) {
            sums[r][c][i] +=
                __shfl_xor_sync(0xffffffffu, sums[r][c][i], distance);
          }
        }
      }
    }
    for (int w = 0; w < kWarps; ++w) {
      if (warp_ == w && sub_ == 0) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int c = 0; c < kChunks; ++c) {
#pragma unroll
            for (int i = 0; i < kChunk; ++i) {
              float& sum = shared_.sums[r][ElementAt(c) + i];
              sum = w == 0 ? sums[r][c][i] : sum + sums[r][c][i];
            }
          }
        }
      }
      __syncthreads();
    }
  }

  // The first element of this thread's chunk `c`.
  __device__ int ElementAt(int c) const {
    return (c * kLanes + part_) * kChunk;
  }

  const AttentionParams& p_;
  Shared& shared_;
  std::int32_t sequence_;
  std::int32_t kv_head_;
  int warp_;
  int sub_;
  int part_;
  std::int32_t first_row_;
  std::int32_t first_query_ = 0;
  std::int32_t first_position_ = 0;
  std::int32_t head_begin_ = 0;
  std::int32_t num_heads_ = 0;
  std::int32_t num_rows_ = 0;
  Visible first_visible_;
  Visible last_visible_;
  Visible all_visible_;
  const KernelResidual* residual_ = nullptr;
};

__device__ inline bool IsSplit(const AttentionParams& p,
                               std::int32_t sequence) {
  return p.workspace != nullptr &&
         p.query_begin[sequence + 1] - p.query_begin[sequence] == 1;
}

/// One split of one tile of a sequence with one query. Thread blocks:
/// [sequences][KV heads][tiles][splits].
template <typename Source, int kLanes, int kChunks, int kRows>
__global__ void __launch_bounds__(kAttentionThreads)
    SplitAttentionKernel(AttentionParams p) {
  using Tile = AttentionTile<Source, kLanes, kChunks, kRows>;
  alignas(16) __shared__ unsigned char bytes[sizeof(typename Tile::Shared)];
  auto& shared = *reinterpret_cast<typename Tile::Shared*>(bytes);
  std::int64_t place = blockIdx.x;
  const auto take = [&place](std::int64_t count) {
    const std::int64_t index = place % count;
    place /= count;
    return static_cast<std::int32_t>(index);
  };
  const std::int32_t split = take(p.max_splits);
  const std::int32_t tile_index = take(p.MaxTiles(kRows, 1));
  const std::int32_t kv_head = p.first_kv_head() + take(p.num_kv_heads());
  const auto sequence = static_cast<std::int32_t>(place);
  if (!IsSplit(p, sequence)) return;
  Tile tile(p, shared, sequence, kv_head, tile_index * kRows);
  if (tile.is_empty() || !tile.Sees(split)) return;
  tile.LoadQueries();
  tile.template Attend<true>(split);
  tile.StoreSplit(split);
}

/// All splits of one tile of a sequence with several queries. Thread blocks:
/// [sequences][KV heads][tiles].
template <typename Source, int kLanes, int kChunks, int kRows>
__global__ void __launch_bounds__(kAttentionThreads)
    WholeAttentionKernel(AttentionParams p) {
  using Tile = AttentionTile<Source, kLanes, kChunks, kRows>;
  alignas(16) __shared__ unsigned char bytes[sizeof(typename Tile::Shared)];
  auto& shared = *reinterpret_cast<typename Tile::Shared*>(bytes);
  const std::int64_t tiles = p.MaxTiles(kRows, p.max_queries);
  const std::int64_t place = blockIdx.x;
  const auto sequence =
      static_cast<std::int32_t>(place / tiles / p.num_kv_heads());
  if (IsSplit(p, sequence)) return;
  const auto kv_head = static_cast<std::int32_t>(
      p.first_kv_head() + place / tiles % p.num_kv_heads());
  Tile tile(p, shared, sequence, kv_head,
            static_cast<std::int32_t>(place % tiles) * kRows);
  if (tile.is_empty()) return;
  tile.LoadQueries();
  tile.BeginMerging();
  const std::int32_t num_splits = NumSplits(p.num_tokens[sequence]);
  for (std::int32_t split = 0; split < num_splits; ++split) {
    if (!tile.Sees(split)) continue;
    tile.template Attend<false>(split);
    tile.MergeSplit();
  }
  tile.StoreOutput();
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_ATTENTION_KERNEL_CUH_
