// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_ELEMENT_CODEC_H_
#define ALLOCATOR_KERNELS_ELEMENT_CODEC_H_

/// From float to a stored element and back, one at a time: the definition of
/// every number format. Host and device compile the same text.
///
/// Conversions round to nearest, ties to even, subnormals included. They give
/// the same bits everywhere, whether or not a compiler fuses a product and a
/// sum: no product is added to anything, unless it is exact.

#include <bit>
#include <cstddef>
#include <cstdint>

#include "pagedkv/kv_tensor.h"

namespace pagedkv {

inline constexpr std::uint32_t kFloatInfinity = 0x7f800000;  // its bits
inline constexpr std::uint32_t kFloatNan = 0x7fc00000;
inline constexpr float kFloatMax = std::bit_cast<float>(0x7f7fffffU);

[[nodiscard]] constexpr float Magnitude(float value) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0x7fffffff);
}
[[nodiscard]] constexpr bool IsFinite(float value) {
  return Magnitude(value) <= kFloatMax;
}

/// A binary floating-point format with a sign, of at most 16 bits and less than
/// 8 bits of exponent. Codes from `kMax` + 1 up are NaN, but for the first of
/// them where there is an infinity.
///
/// Encode: what exceeds the largest finite number becomes `kOverflow`: an
/// infinity, or that number where the format saturates (then infinities do as
/// well). NaN becomes `kNan`.
/// Decode: exact; NaN becomes quiet and keeps its payload, as of instructions.
template <int kExponent, int kMantissa, std::uint32_t kMaxCode,
          bool kHasInfinity, std::uint32_t kOverflowCode,
          std::uint32_t kNanCode>
struct SmallFloat {
  static constexpr int kExponentBits = kExponent;
  static constexpr int kMantissaBits = kMantissa;
  static constexpr std::uint32_t kMax = kMaxCode;
  static constexpr std::uint32_t kOverflow = kOverflowCode;
  static constexpr std::uint32_t kNan = kNanCode;
  static constexpr bool kInfinity = kHasInfinity;

  static constexpr int kSignBit = kExponent + kMantissa;
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr int kShift = 23 - kMantissa;
  /// Added to the exponent of a code: the bits of that of a float.
  static constexpr std::uint32_t kRebias =
      static_cast<std::uint32_t>(127 - kBias) << 23;
  /// The smallest normal number, as the bits of a float.
  static constexpr std::uint32_t kMinNormal = kRebias + (1U << 23);
  /// A float whose last bit counts steps of subnormal numbers: adding it rounds
  /// to one of these.
  static constexpr std::uint32_t kStepCounter =
      static_cast<std::uint32_t>(127 + 1 - kBias - kMantissa + 23) << 23;

  [[nodiscard]] static constexpr std::uint32_t Encode(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > kFloatInfinity) return kNan;
    std::uint32_t code = 0;
    if (magnitude < kMinNormal) {
      code = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) +
                                          std::bit_cast<float>(kStepCounter)) -
             kStepCounter;
    } else {
      const std::uint32_t odd = (magnitude >> kShift) & 1;
      const std::uint32_t below_half = (1U << (kShift - 1)) - 1;
      code = (magnitude - kRebias + below_half + odd) >> kShift;
    }
    return (bits >> 31 << kSignBit) | (code > kMax ? kOverflow : code);
  }

  [[nodiscard]] static constexpr float Decode(std::uint32_t code) {
    const std::uint32_t magnitude = code & ((1U << kSignBit) - 1);
    std::uint32_t bits = 0;
    if (magnitude > kMax) {
      bits = (magnitude << kShift) + kRebias;
      bits |= kInfinity && magnitude == kMax + 1 ? kFloatInfinity : kFloatNan;
    } else if (magnitude < (1U << kMantissa)) {
      bits = std::bit_cast<std::uint32_t>(
          std::bit_cast<float>((magnitude << kShift) + kMinNormal) -
          std::bit_cast<float>(kMinNormal));
    } else {
      bits = (magnitude << kShift) + kRebias;
    }
    return std::bit_cast<float>(bits | ((code >> kSignBit & 1) << 31));
  }
};

using Fp16 = SmallFloat<5, 10, 0x7bff, true, 0x7c00, 0x7fff>;
/// OCP 8-bit floating point, revision 1.0, saturating conversion.
using Fp8E4m3 = SmallFloat<4, 3, 0x7e, false, 0x7e, 0x7f>;  // up to 448
using Fp8E5m2 = SmallFloat<5, 2, 0x7b, true, 0x7b, 0x7f>;   // up to 57344

/// The upper half of a float.
struct Bf16 {
  static constexpr std::uint32_t kNan = 0x7fff;

  [[nodiscard]] static constexpr std::uint32_t Encode(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffff) > kFloatInfinity) return kNan;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  }
  [[nodiscard]] static constexpr float Decode(std::uint32_t code) {
    return std::bit_cast<float>(code << 16);
  }
};

/// What the codes of some elements share: element = code * scale + zero.
struct ScaleEntry {
  float scale = 1;
  float zero = 0;
};

/// What `x - zero` is multiplied with on the way to a code. A scale of 0 stands
/// for elements that are all equal to `zero`: code 0.
[[nodiscard]] constexpr float InverseScale(float scale) {
  return scale > 0 ? 1 / scale : 1;
}

/// The codes of an integer format: from 0 where it has zero points, else two's
/// complement and symmetric, so that -x is stored as the negative of x.
[[nodiscard]] constexpr std::int32_t MaxCode(const KvFormat& format) {
  const int bits = KvDtypeBits(format.dtype);
  const std::uint32_t end = 1U
                            << (format.zero_point_bits != 0 ? bits : bits - 1);
  return static_cast<std::int32_t>(end - 1);  // also asked of other formats
}
[[nodiscard]] constexpr std::int32_t MinCode(const KvFormat& format) {
  return format.zero_point_bits != 0 ? 0 : -MaxCode(format);
}

/// `inverse` is `InverseScale(entry.scale)`, computed once. Elements beyond
/// what codes reach become the last code, infinities too; NaN is stored as 0.
[[nodiscard]] constexpr std::int32_t EncodeInteger(float value, float zero,
                                                   float inverse,
                                                   float min_code,
                                                   float max_code) {
  const float number = value == value ? value : 0.0F;
  const float steps = (number - zero) * inverse;
  const float limited = steps < min_code   ? min_code
                        : steps > max_code ? max_code
                                           : steps;
  // Its last bit counts ones: adding it rounds to an integer, ties to even.
  constexpr float kOneCounter = 12582912.0F;  // 1.5 * 2^23
  return std::bit_cast<std::int32_t>(limited + kOneCounter) -
         std::bit_cast<std::int32_t>(kOneCounter);
}

/// The bits of an element, in the low `KvDtypeBits(format.dtype)`.
[[nodiscard]] constexpr std::uint32_t EncodeElement(const KvFormat& format,
                                                    const ScaleEntry& entry,
                                                    float inverse,
                                                    float value) {
  switch (format.dtype) {
    case KvDtype::kFp32:
      return std::bit_cast<std::uint32_t>(value);
    case KvDtype::kFp16:
      return Fp16::Encode(value);
    case KvDtype::kBf16:
      return Bf16::Encode(value);
    case KvDtype::kFp8:
      return Fp8E4m3::Encode(value * inverse);
    case KvDtype::kFp8E5m2:
      return Fp8E5m2::Encode(value * inverse);
    case KvDtype::kInt8:
    case KvDtype::kInt4:
    case KvDtype::kInt2:
      break;
  }
  const std::int32_t code = EncodeInteger(value, entry.zero, inverse,
                                          static_cast<float>(MinCode(format)),
                                          static_cast<float>(MaxCode(format)));
  return static_cast<std::uint32_t>(code) &
         ((1U << KvDtypeBits(format.dtype)) - 1);
}

/// The integer that `bits`, the low ones of a code, stand for.
[[nodiscard]] constexpr std::int32_t IntegerOf(const KvFormat& format,
                                               std::uint32_t bits) {
  const int unused = 32 - KvDtypeBits(format.dtype);
  return format.zero_point_bits != 0
             ? static_cast<std::int32_t>(bits)
             : static_cast<std::int32_t>(bits << unused) >> unused;
}

/// The element whose bits `EncodeElement` gives.
[[nodiscard]] constexpr float DecodeElement(const KvFormat& format,
                                            const ScaleEntry& entry,
                                            std::uint32_t bits) {
  switch (format.dtype) {
    case KvDtype::kFp32:
      return std::bit_cast<float>(bits);
    case KvDtype::kFp16:
      return Fp16::Decode(bits);
    case KvDtype::kBf16:
      return Bf16::Decode(bits);
    case KvDtype::kFp8:
      return Fp8E4m3::Decode(bits) * entry.scale;
    case KvDtype::kFp8E5m2:
      return Fp8E5m2::Decode(bits) * entry.scale;
    case KvDtype::kInt8:
    case KvDtype::kInt4:
    case KvDtype::kInt2:
      break;
  }
  // Exact products: a code has at most 8 bits, and a scale 16 (StoredScale).
  return static_cast<float>(IntegerOf(format, bits)) * entry.scale + entry.zero;
}

/// The largest number that is stored with scale 1.
[[nodiscard]] constexpr float MaxStored(const KvFormat& format) {
  switch (format.dtype) {
    case KvDtype::kFp8:
      return Fp8E4m3::Decode(Fp8E4m3::kMax);
    case KvDtype::kFp8E5m2:
      return Fp8E5m2::Decode(Fp8E5m2::kMax);
    default:
      return static_cast<float>(MaxCode(format));
  }
}

/// The scale (>= 0) as it is kept in 16 bits (fp16) or 32 (a float of which 16
/// bits of mantissa are used). Rounded up, so that the elements it was chosen
/// for stay within reach, and never from more than 0 to 0; at most the largest
/// finite one.
[[nodiscard]] constexpr float StoredScale(std::int32_t scale_bits,
                                          float scale) {
  if (!(scale > 0)) return 0;
  if (scale_bits == 16) {
    std::uint32_t code = Fp16::Encode(scale);
    if (Fp16::Decode(code) < scale) ++code;
    return Fp16::Decode(code < Fp16::kMax ? code : Fp16::kMax);
  }
  constexpr std::uint32_t kMinNormal = 1U << 23;  // its inverse is finite
  constexpr std::uint32_t kUnused = 0xff;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(scale);
  const std::uint32_t rounded = (bits + kUnused) & ~kUnused;
  const std::uint32_t most = (kFloatInfinity - 1) & ~kUnused;
  return std::bit_cast<float>(rounded < kMinNormal ? kMinNormal
                              : rounded > most     ? most
                                                   : rounded);
}

/// The zero point as it is kept in 16 bits (fp16, rounded down, within its
/// finite numbers) or 32 (float). Never -0.
[[nodiscard]] constexpr float StoredZero(std::int32_t zero_point_bits,
                                         float zero) {
  if (zero_point_bits != 16) return zero + 0.0F;
  const std::uint32_t sign = 1U << Fp16::kSignBit;
  std::uint32_t code = Fp16::Encode(zero);
  if (Fp16::Decode(code) > zero) {
    if ((code & sign) != 0) {
      ++code;
    } else {
      code = code == 0 ? sign + 1 : code - 1;
    }
  }
  if ((code & ~sign) > Fp16::kMax) code = (code & sign) | Fp16::kMax;
  return Fp16::Decode(code) + 0.0F;
}

/// The least and the greatest of some elements. One that is not finite counts
/// as 0.
struct ElementRange {
  float min = kFloatMax;
  float max = -kFloatMax;

  constexpr void Add(float value) {
    const float counted = IsFinite(value) ? value : 0.0F;
    if (counted < min) min = counted;
    if (counted > max) max = counted;
  }
};

/// The scale and zero point, as kept, of elements with this range. Decoded, an
/// element differs from what was encoded by half a step at most, which is
/// `scale` for integers and the distance of neighbours times `scale` for fp8;
/// unless a 16-bit entry is at its limit, or the element exceeds 2^126. A range
/// of one number that the zero point can hold (symmetric: 0) is kept exactly,
/// with a scale of 0.
[[nodiscard]] constexpr ScaleEntry ChooseScale(const KvFormat& format,
                                               const ElementRange& range) {
  // No code and scale give an infinity.
  constexpr float kLimit = std::bit_cast<float>(253U << 23);  // 2^126
  const float min = range.min < -kLimit ? -kLimit : range.min;
  const float max = range.max > kLimit ? kLimit : range.max;
  ScaleEntry entry;
  float reach = -min > max ? -min : max;
  if (format.zero_point_bits != 0) {
    entry.zero = StoredZero(format.zero_point_bits, min < max ? min : max);
    reach = max - entry.zero;
  }
  entry.scale = StoredScale(format.scale_bits, reach / MaxStored(format));
  return entry;
}

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_ELEMENT_CODEC_H_
