// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_ATTENTION_PARAMS_H_
#define BACKENDS_CUDA_ATTENTION_PARAMS_H_

/// What the attention kernels are told, and the arithmetic of which tokens a
/// query sees. Host and device share it.

#include <cstddef>
#include <cstdint>

#include "backends/cuda/kernel_rows.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv::cuda {

/// A softmax is taken over so many tokens at once, from multiples of it on, and
/// these parts are put together in order: whoever does it, the bits are the
/// same.
inline constexpr int kSplitTokens = 256;
inline constexpr int kAttentionThreads = 128;
inline constexpr int kMaxKeySize = 768;  ///< the rotary part included
/// Rows of the batch that a thread block takes at most.
inline constexpr int kMaxRows = 8;

[[nodiscard]] constexpr std::int32_t NumSplits(std::int32_t num_tokens) {
  return (num_tokens + kSplitTokens - 1) / kSplitTokens;
}

/// What a query at a position sees: tokens 0 to sinks - 1, and begin to end
/// - 1.
struct Visible {
  std::int32_t sinks = 0;  ///< at most `begin`
  std::int32_t begin = 0;
  std::int32_t end = 0;
  [[nodiscard]] constexpr bool Has(std::int32_t token) const {
    return token < end && (token >= begin || token < sinks);
  }
  /// Whether there is any of tokens first to last.
  [[nodiscard]] constexpr bool HasAny(std::int32_t first,
                                      std::int32_t last) const {
    return first < sinks || (first < end && last >= begin);
  }
};
[[nodiscard]] constexpr Visible VisibleAt(std::int32_t position,
                                          std::int32_t window,
                                          std::int32_t num_sink_tokens) {
  Visible visible{.end = position + 1};
  if (window > 0 && window < visible.end) {
    visible.begin = visible.end - window;
    visible.sinks =
        num_sink_tokens < visible.begin ? num_sink_tokens : visible.begin;
  }
  return visible;
}
/// What any of several queries at consecutive positions sees.
[[nodiscard]] constexpr Visible UnionOf(const Visible& first,
                                        const Visible& last) {
  return {.sinks = last.sinks < first.begin ? last.sinks : first.begin,
          .begin = first.begin,
          .end = last.end};
}

/// Of a row's split in the workspace, before its sums.
struct SplitHeader {
  float max = 0;
  float sum = 0;
};

struct AttentionParams {
  KvTensorView key;
  KvTensorView value;  ///< with `is_latent` the rotary part
  bool is_latent = false;
  const std::int32_t* query_begin = nullptr;
  const std::int32_t* num_tokens = nullptr;
  const BlockId* const* tables = nullptr;
  const KernelResidual* residuals = nullptr;  ///< null: none
  KernelRows query;
  KernelOutputRows output;
  const float* sink_logits = nullptr;  ///< null: none
  /// [sequences][query heads][max_splits][header, sums]; null: no splits.
  float* workspace = nullptr;
  std::int32_t num_sequences = 0;
  std::int32_t num_query_heads = 0;
  std::int32_t heads_per_kv = 0;
  std::int32_t first_head = 0;
  std::int32_t end_head = 0;
  std::int32_t max_splits = 0;   ///< of a sequence with one query
  std::int32_t max_queries = 0;  ///< of a sequence
  float softmax_scale = 0;
  std::int32_t window = 0;
  std::int32_t num_sink_tokens = 0;

  [[nodiscard]] constexpr std::int32_t value_size() const {
    return is_latent ? key.tensor.head_size : value.tensor.head_size;
  }
  /// With the rotary part, which begins a chunk.
  [[nodiscard]] constexpr std::int32_t key_chunks() const {
    const std::int32_t first = (key.tensor.head_size + 7) / 8;
    return is_latent ? first + (value.tensor.head_size + 7) / 8 : first;
  }
  /// KV heads that the query heads read.
  [[nodiscard]] constexpr std::int32_t first_kv_head() const {
    return first_head / heads_per_kv;
  }
  [[nodiscard]] constexpr std::int32_t num_kv_heads() const {
    return (end_head + heads_per_kv - 1) / heads_per_kv - first_kv_head();
  }
  /// Rows of a tile: (query, head) by query, then head. At most so many tiles.
  [[nodiscard]] constexpr std::int32_t max_heads() const {
    const std::int32_t heads = end_head - first_head;
    return heads < heads_per_kv ? heads : heads_per_kv;
  }
  [[nodiscard]] constexpr std::int64_t MaxTiles(std::int32_t rows,
                                                std::int32_t queries) const {
    return (std::int64_t{queries} * max_heads() + rows - 1) / rows;
  }
  /// Floats of a split in the workspace.
  [[nodiscard]] constexpr std::int64_t split_floats() const {
    return 2 + value_size();
  }
  [[nodiscard]] constexpr float* SplitAt(std::int64_t sequence,
                                         std::int64_t head,
                                         std::int64_t split) const {
    return workspace +
           ((sequence * num_query_heads + head) * max_splits + split) *
               split_floats();
  }
};

/// The kernels come in these sizes: 8, 16 or 32 threads share a vector, each
/// with `chunks` chunks of it.
struct AttentionShape {
  std::int32_t lanes = 0;
  std::int32_t chunks = 0;
  friend bool operator==(const AttentionShape&,
                         const AttentionShape&) = default;
};
/// For keys and values of so many chunks. REQUIRES: at most kMaxKeySize
/// elements.
[[nodiscard]] constexpr AttentionShape ShapeFor(std::int32_t num_chunks) {
  return {.lanes = num_chunks <= 8    ? 8
                   : num_chunks <= 16 ? 16
                                      : 32,
          .chunks = num_chunks <= 32 ? 1 : 3};
}
/// Rows of a tile with this shape, where a sequence has so many.
[[nodiscard]] constexpr std::int32_t RowsFor(const AttentionShape& shape,
                                             std::int64_t num_rows) {
  const std::int32_t rows = num_rows <= 1 ? 1 : num_rows <= 4 ? 4 : kMaxRows;
  return shape.chunks == 1 || rows == 1 ? rows : 2;
}

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_ATTENTION_PARAMS_H_
