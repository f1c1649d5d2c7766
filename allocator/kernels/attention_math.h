// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_ATTENTION_MATH_H_
#define ALLOCATOR_KERNELS_ATTENTION_MATH_H_

/// The arithmetic of attention on one tile: a few tokens that follow one
/// another, whose keys or values have been dequantised to fp32. One query at a
/// time, so that nothing depends on what other queries there are.
///
/// Each function uses the best instructions of the machine, and adds in an
/// order that depends on the size of a vector and on the token's place in its
/// tile, on nothing else: the same numbers give the same bits.
///
/// Vectors begin at multiples of `kVectorAlignment` floats, and are padded with
/// zeros to whole ones.

#include <cstdint>

namespace pagedkv {

inline constexpr std::int32_t kTileTokens = 32;
inline constexpr std::int32_t kVectorAlignment = 16;

/// Floats that a vector takes.
[[nodiscard]] constexpr std::int32_t PaddedSize(std::int32_t size) {
  return (size + kVectorAlignment - 1) / kVectorAlignment * kVectorAlignment;
}

/// Tokens begin, ..., end - 1; none if these are equal.
struct TokenRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  [[nodiscard]] bool empty() const { return begin == end; }
};

/// A softmax whose logits come tile by tile (arXiv 1805.02867).
struct SoftmaxState {
  float max = 0;  ///< of the logits so far
  float sum = 0;  ///< of exp(logit - max)
};

/// logits[t] = scale * dot(query, keys[t]) for `num_tokens` tokens and those
/// that follow up to a multiple of `kVectorAlignment`. `keys` is
/// [tokens][size]. REQUIRES: `size` is padded.
void ComputeLogits(const float* query, const float* keys, std::int32_t size,
                   std::int32_t num_tokens, float scale, float* logits);

/// Takes a tile of logits into the softmax, -inf for tokens that take no part,
/// and makes them weights, exp(logit - max). Returns what to multiply with all
/// that was weighted so far.
float UpdateSoftmax(SoftmaxState& state, float* logits);

/// sum = factor * sum + weights[t] * values[t], over the tokens of `first` and
/// then of `second`. Those of others are not read. `values` is
/// [tokens][stride]. REQUIRES: `size` and `stride` are padded.
void AddValues(const float* weights, const float* values, std::int32_t stride,
               std::int32_t size, TokenRange first, TokenRange second,
               float factor, float* sum);

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_ATTENTION_MATH_H_
