// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_TENSOR_H_
#define PAGEDKV_KV_TENSOR_H_

/// The keys, or the values, of one layer: what their elements are, and where in
/// memory they lie. Plain data that kernels of any device read; needs nothing
/// but the standard library.

#include <array>
#include <cstddef>
#include <cstdint>

namespace pagedkv {

/// The type of a stored element.
enum class KvDtype : std::uint8_t {
  kFp32,
  kFp16,
  kBf16,
  kFp8,      ///< e4m3: 4 bits of exponent, 3 of mantissa, no infinity
  kFp8E5m2,  ///< 5 bits of exponent, 2 of mantissa
  kInt8,
  kInt4,
  kInt2
};
inline constexpr std::array kKvDtypes = {
    KvDtype::kFp32,    KvDtype::kFp16, KvDtype::kBf16, KvDtype::kFp8,
    KvDtype::kFp8E5m2, KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2};

/// Bits of one element, without scales.
[[nodiscard]] constexpr std::int32_t KvDtypeBits(KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kFp32:
      return 32;
    case KvDtype::kFp16:
    case KvDtype::kBf16:
      return 16;
    case KvDtype::kFp8:
    case KvDtype::kFp8E5m2:
    case KvDtype::kInt8:
      return 8;
    case KvDtype::kInt4:
      return 4;
    case KvDtype::kInt2:
      return 2;
  }
  return 0;
}
/// Whether elements are integers, which usually have zero points.
[[nodiscard]] constexpr bool IsInteger(KvDtype dtype) {
  return dtype == KvDtype::kInt8 || dtype == KvDtype::kInt4 ||
         dtype == KvDtype::kInt2;
}

/// Which elements share one scale (and one zero point).
enum class ScaleScheme : std::uint8_t {
  /// All of a layer's K, or V. That one number is a constant of the model and
  /// lies outside the pool: no overhead. The only scheme of fp32, fp16, bf16.
  kTensor,
  /// One vector: the elements of one head of one token.
  kToken,
  /// One channel of one head, over a run of `KvFormat::group` tokens.
  kChannel,
  /// A run of `KvFormat::group` elements of a vector; the last may be shorter.
  kGroup,
};

/// How the elements of a K or V vector are stored.
struct KvFormat {
  KvDtype dtype = KvDtype::kFp16;
  ScaleScheme scheme = ScaleScheme::kTensor;
  /// kGroup: elements, at least 1. kChannel: tokens, a divisor of the block
  /// size; 0 is a whole block. Otherwise 0.
  std::int32_t group = 0;
  std::int32_t scale_bits = 0;       ///< per scale
  std::int32_t zero_point_bits = 0;  ///< beside each scale; 0: symmetric

  /// What is usual for `dtype`. Integers have a 16-bit scale and a 16-bit zero
  /// point per token; fp8 has one scale per tensor, the others have none.
  [[nodiscard]] static KvFormat For(KvDtype dtype);
  friend bool operator==(const KvFormat&, const KvFormat&) = default;
};

/// What one layer stores of one token: `heads` vectors of `head_size` elements.
struct KvTensor {
  std::int32_t heads = 0;
  std::int32_t head_size = 0;
  KvFormat format{};
  friend bool operator==(const KvTensor&, const KvTensor&) = default;
};

/// Where keys, or values, of one layer lie in the blocks of a storage, in
/// bytes.
///
/// The vector of (block, token in the block, head) begins at
///   base + block * block_stride
///        + token * token_stride + head * head_stride
/// and its elements follow one another, those of less than a byte from the low
/// bits up: element i of an int4 vector is in bits 4 * (i % 2) of byte i / 2.
///
/// Scales, and zero points behind each, stand in the block as well, unless
/// there is one for the whole tensor. Entry (token, head, i) begins at
///   base + block * block_stride + scale_offset
///        + token * scale_token_stride + head * scale_head_stride
///        + i * scale_bytes()
/// where i counts groups of elements (kGroup, from 0 for kToken), or is the
/// channel (kChannel, and `token` then counts runs of `channel_run` tokens).
struct KvTensorView {
  /// Where the vectors of block 0 begin: an address of the device, if it is
  /// one.
  std::byte* base = nullptr;
  std::int64_t block_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t scale_offset = 0;
  std::int64_t scale_token_stride = 0;
  std::int64_t scale_head_stride = 0;
  KvTensor tensor{};
  std::int32_t block_size = 1;   ///< tokens
  std::int32_t channel_run = 0;  ///< kChannel: tokens with one scale; else 0
  /// kTensor: what a stored element of fp8 or an integer is multiplied with.
  float scale = 1;

  /// Of one scale with its zero point.
  [[nodiscard]] constexpr std::int32_t scale_bytes() const {
    return (tensor.format.scale_bits + tensor.format.zero_point_bits) / 8;
  }
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_TENSOR_H_
