// SPDX-License-Identifier: Apache-2.0

/// element_codec.h for whole vectors of floats: the same operations in the same
/// order, so the same bits. Compiled once for each instruction set, which is
/// why its guard is switched on and off (see hwy/foreach_target.h).

#if defined(ALLOCATOR_KERNELS_ELEMENT_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ALLOCATOR_KERNELS_ELEMENT_SIMD_INL_H_
#undef ALLOCATOR_KERNELS_ELEMENT_SIMD_INL_H_
#else
#define ALLOCATOR_KERNELS_ELEMENT_SIMD_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

#include "allocator/kernels/element_codec.h"
#include "pagedkv/kv_tensor.h"

HWY_BEFORE_NAMESPACE();
namespace pagedkv {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Not wider: a step of int2 takes four vectors, and groups of 32 elements are
// common.
using FloatTag = hn::CappedTag<float, 8>;
using IntTag = hn::RebindToSigned<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;
using HalfTag = hn::Rebind<std::uint16_t, FloatTag>;
using ByteTag = hn::Rebind<std::uint8_t, FloatTag>;
using Floats = hn::Vec<FloatTag>;
using Ints = hn::Vec<IntTag>;
using Words = hn::Vec<WordTag>;

constexpr std::size_t kLanes = hn::MaxLanes(FloatTag());

HWY_INLINE Floats Float(float value) { return hn::Set(FloatTag(), value); }
HWY_INLINE Ints Int(std::uint32_t value) {
  return hn::Set(IntTag(), static_cast<std::int32_t>(value));
}
HWY_INLINE Ints BitsOf(Floats value) { return hn::BitCast(IntTag(), value); }
HWY_INLINE Floats FloatOf(Ints bits) { return hn::BitCast(FloatTag(), bits); }

template <class Format>
HWY_INLINE Ints EncodeSmallFloat(Floats value) {
  // Past the largest number comes the code for what exceeds it, if any.
  static_assert(Format::kOverflow - Format::kMax <= 1);
  constexpr std::uint32_t kBelowHalf = (1U << (Format::kShift - 1)) - 1;
  const Ints bits = BitsOf(value);
  const Ints magnitude = hn::And(bits, Int(0x7fffffff));
  const Ints counter = Int(Format::kStepCounter);
  const Ints subnormal =
      hn::Sub(BitsOf(hn::Add(FloatOf(magnitude), FloatOf(counter))), counter);
  const Ints odd = hn::And(hn::ShiftRight<Format::kShift>(magnitude), Int(1));
  const Ints normal = hn::ShiftRight<Format::kShift>(
      hn::Add(hn::Add(magnitude, Int(kBelowHalf - Format::kRebias)), odd));
  const Ints code =
      hn::Min(hn::IfThenElse(hn::Lt(magnitude, Int(Format::kMinNormal)),
                             subnormal, normal),
              Int(Format::kOverflow));
  const Ints sign = hn::And(hn::ShiftRight<31 - Format::kSignBit>(bits),
                            Int(1U << Format::kSignBit));
  return hn::IfThenElse(hn::Gt(magnitude, Int(kFloatInfinity)),
                        Int(Format::kNan), hn::Or(code, sign));
}

template <class Format>
HWY_INLINE Floats DecodeSmallFloat(Ints code) {
  const Ints magnitude = hn::And(code, Int((1U << Format::kSignBit) - 1));
  const Ints shifted = hn::ShiftLeft<Format::kShift>(magnitude);
  const Ints step = Int(Format::kMinNormal);
  const Ints subnormal =
      BitsOf(hn::Sub(FloatOf(hn::Add(shifted, step)), FloatOf(step)));
  const Ints normal = hn::Add(shifted, Int(Format::kRebias));
  Ints bits = hn::IfThenElse(
      hn::Lt(magnitude, Int(1U << Format::kMantissaBits)), subnormal, normal);
  Ints special = Int(kFloatNan);
  if constexpr (Format::kInfinity) {
    special = hn::IfThenElse(hn::Eq(magnitude, Int(Format::kMax + 1)),
                             Int(kFloatInfinity), special);
  }
  bits = hn::IfThenElse(hn::Gt(magnitude, Int(Format::kMax)),
                        hn::Or(normal, special), bits);
  const Ints sign = hn::ShiftLeft<31 - Format::kSignBit>(
      hn::And(code, Int(1U << Format::kSignBit)));
  return FloatOf(hn::Or(bits, sign));
}

HWY_INLINE Ints EncodeBf16(Floats value) {
  const Ints bits = BitsOf(value);
  const Words word = hn::BitCast(WordTag(), bits);
  const Words odd =
      hn::And(hn::ShiftRight<16>(word), hn::Set(WordTag(), std::uint32_t{1}));
  const Words rounded = hn::ShiftRight<16>(
      hn::Add(hn::Add(word, hn::Set(WordTag(), std::uint32_t{0x7fff})), odd));
  return hn::IfThenElse(
      hn::Gt(hn::And(bits, Int(0x7fffffff)), Int(kFloatInfinity)),
      Int(Bf16::kNan), hn::BitCast(IntTag(), rounded));
}

HWY_INLINE Floats DecodeBf16(Ints code) {
  return FloatOf(hn::ShiftLeft<16>(code));
}

/// Whether there are instructions for fp16. Highway's own code for other
/// machines does not round, and knows no infinities.
constexpr bool kHasFp16 = HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 ||
                          HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON;
using Fp16Tag = hn::Rebind<hwy::float16_t, FloatTag>;

HWY_INLINE Floats DecodeFp16(hn::Vec<HalfTag> codes) {
  if constexpr (kHasFp16) {
    return hn::PromoteTo(FloatTag(), hn::BitCast(Fp16Tag(), codes));
  } else {
    return DecodeSmallFloat<Fp16>(
        hn::BitCast(IntTag(), hn::PromoteTo(WordTag(), codes)));
  }
}

HWY_INLINE hn::Vec<HalfTag> EncodeFp16(Floats value) {
  if constexpr (kHasFp16) {
    // The NaN that becomes Fp16::kNan.
    const Floats nan = FloatOf(Int(0x7fffe000));
    const Floats number = hn::IfThenElse(hn::Eq(value, value), value, nan);
    return hn::BitCast(HalfTag(), hn::DemoteTo(Fp16Tag(), number));
  } else {
    return hn::TruncateTo(
        HalfTag(), hn::BitCast(WordTag(), EncodeSmallFloat<Fp16>(value)));
  }
}

HWY_INLINE Ints EncodeInteger(Floats value, Floats zero, Floats inverse,
                              Floats min_code, Floats max_code) {
  const Floats number = hn::IfThenElseZero(hn::Eq(value, value), value);
  const Floats steps = hn::Mul(hn::Sub(number, zero), inverse);
  const Floats limited = hn::Min(hn::Max(steps, min_code), max_code);
  const Floats counter = Float(12582912.0F);  // as in element_codec.h
  return hn::Sub(BitsOf(hn::Add(limited, counter)), BitsOf(counter));
}

HWY_INLINE Floats FiniteOrZero(Floats value) {
  return hn::IfThenElseZero(hn::Le(hn::Abs(value), Float(kFloatMax)), value);
}

// ---- Rows and codes in memory.

/// How many elements of `dtype` share a byte: a step of `kPer` vectors of
/// floats, element i of which is in vector i % kPer, is `kLanes` whole bytes.
constexpr int PerByte(KvDtype dtype) {
  return KvDtypeBits(dtype) < 8 ? 8 / KvDtypeBits(dtype) : 1;
}

template <int kPer, class Tag>
HWY_INLINE void LoadStep(Tag tag, const std::byte* from,
                         hn::Vec<Tag> (&to)[kPer]) {
  const auto* source = reinterpret_cast<const hn::TFromD<Tag>*>(from);
  if constexpr (kPer == 1) to[0] = hn::LoadU(tag, source);
  if constexpr (kPer == 2) hn::LoadInterleaved2(tag, source, to[0], to[1]);
  if constexpr (kPer == 4) {
    hn::LoadInterleaved4(tag, source, to[0], to[1], to[2], to[3]);
  }
}

template <int kPer, class Tag>
HWY_INLINE void StoreStep(Tag tag, const hn::Vec<Tag> (&from)[kPer],
                          std::byte* to) {
  auto* target = reinterpret_cast<hn::TFromD<Tag>*>(to);
  if constexpr (kPer == 1) hn::StoreU(from[0], tag, target);
  if constexpr (kPer == 2) {
    hn::StoreInterleaved2(from[0], from[1], tag, target);
  }
  if constexpr (kPer == 4) {
    hn::StoreInterleaved4(from[0], from[1], from[2], from[3], tag, target);
  }
}

/// kPer * kLanes elements of fp32, fp16 or bf16, as floats.
template <KvDtype kRow, int kPer>
HWY_INLINE void LoadRow(const std::byte* from, Floats (&to)[kPer]) {
  if constexpr (kRow == KvDtype::kFp32) {
    LoadStep<kPer>(FloatTag(), from, to);
  } else {
    hn::Vec<HalfTag> halves[kPer];
    LoadStep<kPer>(HalfTag(), from, halves);
    for (int k = 0; k < kPer; ++k) {
      if constexpr (kRow == KvDtype::kFp16) {
        to[k] = DecodeFp16(halves[k]);
      } else {
        to[k] = DecodeBf16(
            hn::BitCast(IntTag(), hn::PromoteTo(WordTag(), halves[k])));
      }
    }
  }
}

template <KvDtype kRow, int kPer>
HWY_INLINE void StoreRow(const Floats (&from)[kPer], std::byte* to) {
  if constexpr (kRow == KvDtype::kFp32) {
    StoreStep<kPer>(FloatTag(), from, to);
  } else {
    hn::Vec<HalfTag> halves[kPer];
    for (int k = 0; k < kPer; ++k) {
      if constexpr (kRow == KvDtype::kFp16) {
        halves[k] = EncodeFp16(from[k]);
      } else {
        halves[k] = hn::TruncateTo(HalfTag(),
                                   hn::BitCast(WordTag(), EncodeBf16(from[k])));
      }
    }
    StoreStep<kPer>(HalfTag(), halves, to);
  }
}

/// The low bits of the lanes of kPer vectors, packed in kLanes bytes.
template <int kPer>
HWY_INLINE void StoreCodes(const Ints (&codes)[kPer], std::byte* to) {
  constexpr int kBits = 8 / kPer;
  const Ints mask = Int((1U << kBits) - 1);
  Ints packed = codes[0];
  if constexpr (kPer == 2) {
    packed = hn::Or(hn::And(packed, mask), hn::ShiftLeft<kBits>(codes[1]));
  }
  if constexpr (kPer == 4) {
    packed = hn::Or(hn::And(packed, mask),
                    hn::ShiftLeft<kBits>(hn::And(codes[1], mask)));
    packed = hn::Or(packed, hn::ShiftLeft<2 * kBits>(hn::And(codes[2], mask)));
    packed = hn::Or(packed, hn::ShiftLeft<3 * kBits>(codes[3]));
  }
  hn::StoreU(hn::TruncateTo(ByteTag(), hn::BitCast(WordTag(), packed)),
             ByteTag(), reinterpret_cast<std::uint8_t*>(to));
}

template <int kPer>
HWY_INLINE void LoadCodes(const std::byte* from, Ints (&codes)[kPer]) {
  constexpr int kBits = 8 / kPer;
  const Ints mask = Int((1U << kBits) - 1);
  const Ints packed = hn::PromoteTo(
      IntTag(),
      hn::LoadU(ByteTag(), reinterpret_cast<const std::uint8_t*>(from)));
  codes[0] = hn::And(packed, mask);
  if constexpr (kPer >= 2) {
    codes[1] = hn::And(hn::ShiftRight<kBits>(packed), mask);
  }
  if constexpr (kPer == 4) {
    codes[2] = hn::And(hn::ShiftRight<2 * kBits>(packed), mask);
    codes[3] = hn::ShiftRight<3 * kBits>(packed);
  }
}

// ---- The scales of a run of elements: `factor` is a scale or its inverse.

/// One for all.
struct SharedScale {
  Floats factor;
  Floats zero;

  template <int kPer>
  HWY_INLINE void Get(std::size_t, Floats (&factors)[kPer],
                      Floats (&zeros)[kPer]) const {
    for (int k = 0; k < kPer; ++k) {
      factors[k] = factor;
      zeros[k] = zero;
    }
  }
};

/// One for each element. Room for whole steps.
struct ElementScales {
  const float* factor;
  const float* zero;

  template <int kPer>
  HWY_INLINE void Get(std::size_t begin, Floats (&factors)[kPer],
                      Floats (&zeros)[kPer]) const {
    LoadStep<kPer>(FloatTag(),
                   reinterpret_cast<const std::byte*>(factor + begin), factors);
    LoadStep<kPer>(FloatTag(), reinterpret_cast<const std::byte*>(zero + begin),
                   zeros);
  }
};

/// What a format says about integers, in every lane.
struct IntegerCodes {
  explicit IntegerCodes(const KvFormat& format)
      : min(Float(static_cast<float>(MinCode(format)))),
        max(Float(static_cast<float>(MaxCode(format)))),
        sign(Int(format.zero_point_bits != 0
                     ? 0
                     : 1U << (KvDtypeBits(format.dtype) - 1))) {}
  Floats min;
  Floats max;
  Ints sign;  // the bit that makes a code negative; 0 if there is none
};

/// `ChooseScale` for kLanes ranges at once.
struct ChosenScales {
  HWY_INLINE ChosenScales(const KvFormat& format, Floats range_min,
                          Floats range_max) {
    const Floats limit = Float(0x1p126F);
    const Floats min = hn::Max(range_min, hn::Neg(limit));
    const Floats max = hn::Min(range_max, limit);
    Floats reach = hn::Max(hn::Neg(min), max);
    zero = hn::Zero(FloatTag());
    if (format.zero_point_bits != 0) {
      const Floats least = hn::Min(min, max);
      // Adding 0 leaves no -0.
      zero = hn::Add(
          format.zero_point_bits == 16 ? LoweredToFp16(least) : least, zero);
      reach = hn::Sub(max, zero);
    }
    const Floats wanted = hn::Div(reach, Float(MaxStored(format)));
    scale =
        hn::IfThenElseZero(hn::Gt(wanted, hn::Zero(FloatTag())),
                           format.scale_bits == 16 ? RaisedToFp16(wanted)
                                                   : RaisedTo16Bits(wanted));
    const Floats one = Float(1);
    inverse = hn::IfThenElse(hn::Gt(scale, hn::Zero(FloatTag())),
                             hn::Div(one, scale), one);
  }

  Floats scale;
  Floats zero;
  Floats inverse;

 private:
  static HWY_INLINE Floats RaisedToFp16(Floats scale) {
    const Ints code = EncodeSmallFloat<Fp16>(scale);
    const auto below =
        hn::RebindMask(IntTag(), hn::Lt(DecodeSmallFloat<Fp16>(code), scale));
    const Ints raised = hn::Add(code, hn::IfThenElseZero(below, Int(1)));
    return DecodeSmallFloat<Fp16>(hn::Min(raised, Int(Fp16::kMax)));
  }
  static HWY_INLINE Floats RaisedTo16Bits(Floats scale) {
    const Ints rounded =
        hn::And(hn::Add(BitsOf(scale), Int(0xff)), Int(0xffffff00));
    return FloatOf(hn::Min(hn::Max(rounded, Int(1U << 23)),
                           Int((kFloatInfinity - 1) & 0xffffff00)));
  }
  static HWY_INLINE Floats LoweredToFp16(Floats zero) {
    const Ints sign = Int(1U << Fp16::kSignBit);
    const Ints code = EncodeSmallFloat<Fp16>(zero);
    const Ints below = hn::IfThenElse(
        hn::Eq(hn::And(code, sign), sign), hn::Add(code, Int(1)),
        hn::IfThenElse(hn::Eq(code, Int(0)), hn::Add(sign, Int(1)),
                       hn::Sub(code, Int(1))));
    const auto above =
        hn::RebindMask(IntTag(), hn::Gt(DecodeSmallFloat<Fp16>(code), zero));
    const Ints lowered = hn::IfThenElse(above, below, code);
    const Ints most = hn::Min(hn::AndNot(sign, lowered), Int(Fp16::kMax));
    return DecodeSmallFloat<Fp16>(hn::Or(hn::And(lowered, sign), most));
  }
};

// ---- Runs of elements.

/// Bytes of a step of kPer * kLanes elements.
template <KvDtype kDtype, int kPer>
constexpr std::size_t StepBytes() {
  return kPer * kLanes * static_cast<std::size_t>(KvDtypeBits(kDtype)) / 8;
}

/// Elements `begin` and following of a run: from a row to codes.
template <KvDtype kRow, KvDtype kStored, class Scales>
HWY_INLINE void EncodeStep(const std::byte* row, std::size_t begin,
                           const Scales& scales, const IntegerCodes& integers,
                           std::byte* codes) {
  constexpr int kPer = PerByte(kStored);
  Floats values[kPer];
  LoadRow<kRow>(row, values);
  if constexpr (KvDtypeBits(kStored) >= 16) {
    StoreRow<kStored>(values, codes);
  } else {
    Floats inverses[kPer];
    Floats zeros[kPer];
    scales.template Get<kPer>(begin, inverses, zeros);
    Ints bits[kPer];
    for (int k = 0; k < kPer; ++k) {
      if constexpr (kStored == KvDtype::kFp8) {
        bits[k] = EncodeSmallFloat<Fp8E4m3>(hn::Mul(values[k], inverses[k]));
      } else if constexpr (kStored == KvDtype::kFp8E5m2) {
        bits[k] = EncodeSmallFloat<Fp8E5m2>(hn::Mul(values[k], inverses[k]));
      } else {
        bits[k] = EncodeInteger(values[k], zeros[k], inverses[k], integers.min,
                                integers.max);
      }
    }
    StoreCodes(bits, codes);
  }
}

/// The reverse.
template <KvDtype kRow, KvDtype kStored, class Scales>
HWY_INLINE void DecodeStep(const std::byte* codes, std::size_t begin,
                           const Scales& scales, const IntegerCodes& integers,
                           std::byte* row) {
  constexpr int kPer = PerByte(kStored);
  Floats values[kPer];
  if constexpr (KvDtypeBits(kStored) >= 16) {
    LoadRow<kStored>(codes, values);
  } else {
    Floats factors[kPer];
    Floats zeros[kPer];
    scales.template Get<kPer>(begin, factors, zeros);
    Ints bits[kPer];
    LoadCodes(codes, bits);
    for (int k = 0; k < kPer; ++k) {
      if constexpr (kStored == KvDtype::kFp8) {
        values[k] = hn::Mul(DecodeSmallFloat<Fp8E4m3>(bits[k]), factors[k]);
      } else if constexpr (kStored == KvDtype::kFp8E5m2) {
        values[k] = hn::Mul(DecodeSmallFloat<Fp8E5m2>(bits[k]), factors[k]);
      } else {
        const Ints number =
            hn::Sub(hn::Xor(bits[k], integers.sign), integers.sign);
        values[k] = hn::Add(
            hn::Mul(hn::ConvertTo(FloatTag(), number), factors[k]), zeros[k]);
      }
    }
  }
  StoreRow<kRow>(values, row);
}

/// Encodes `count` elements, which are whole bytes, of a row. A last step that
/// they do not fill goes through buffers: nothing else is read or written.
template <KvDtype kRow, KvDtype kStored, class Scales>
HWY_INLINE void EncodeRun(const std::byte* row, std::size_t count,
                          const Scales& scales, const IntegerCodes& integers,
                          std::byte* codes) {
  constexpr int kPer = PerByte(kStored);
  constexpr std::size_t kStep = kPer * kLanes;
  constexpr std::size_t kRowBytes = StepBytes<kRow, kPer>();
  constexpr std::size_t kCodeBytes = StepBytes<kStored, kPer>();
  std::size_t begin = 0;
  for (; count - begin >= kStep; begin += kStep) {
    EncodeStep<kRow, kStored>(row, begin, scales, integers, codes);
    row += kRowBytes;
    codes += kCodeBytes;
  }
  if (begin == count) return;
  std::byte row_step[kRowBytes] = {};
  std::byte code_step[kCodeBytes];
  std::memcpy(row_step, row, (count - begin) * kRowBytes / kStep);
  EncodeStep<kRow, kStored>(row_step, begin, scales, integers, code_step);
  std::memcpy(codes, code_step, (count - begin) * kCodeBytes / kStep);
}

template <KvDtype kRow, KvDtype kStored, class Scales>
HWY_INLINE void DecodeRun(const std::byte* codes, std::size_t count,
                          const Scales& scales, const IntegerCodes& integers,
                          std::byte* row) {
  constexpr int kPer = PerByte(kStored);
  constexpr std::size_t kStep = kPer * kLanes;
  constexpr std::size_t kRowBytes = StepBytes<kRow, kPer>();
  constexpr std::size_t kCodeBytes = StepBytes<kStored, kPer>();
  std::size_t begin = 0;
  for (; count - begin >= kStep; begin += kStep) {
    DecodeStep<kRow, kStored>(codes, begin, scales, integers, row);
    row += kRowBytes;
    codes += kCodeBytes;
  }
  if (begin == count) return;
  std::byte row_step[kRowBytes];
  std::byte code_step[kCodeBytes] = {};
  std::memcpy(code_step, codes, (count - begin) * kCodeBytes / kStep);
  DecodeStep<kRow, kStored>(code_step, begin, scales, integers, row_step);
  std::memcpy(row, row_step, (count - begin) * kRowBytes / kStep);
}

/// The range of `count` elements (at least one) of a row.
template <KvDtype kRow>
HWY_INLINE ElementRange RangeOf(const std::byte* row, std::size_t count) {
  constexpr std::size_t kBytes = StepBytes<kRow, 1>();
  constexpr std::size_t kElement = kBytes / kLanes;
  std::byte padded[kBytes];
  if (count < kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      std::memcpy(padded + i * kElement, row + (i < count ? i : 0) * kElement,
                  kElement);
    }
    row = padded;
    count = kLanes;
  }
  Floats step[1];
  LoadRow<kRow>(row, step);
  Floats min = FiniteOrZero(step[0]);
  Floats max = min;
  for (std::size_t begin = kLanes; begin < count; begin += kLanes) {
    // The last step may have elements that were seen.
    LoadRow<kRow>(row + HWY_MIN(begin, count - kLanes) * kElement, step);
    const Floats counted = FiniteOrZero(step[0]);
    min = hn::Min(min, counted);
    max = hn::Max(max, counted);
  }
  return {.min = hn::GetLane(hn::MinOfLanes(FloatTag(), min)),
          .max = hn::GetLane(hn::MaxOfLanes(FloatTag(), max))};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagedkv
HWY_AFTER_NAMESPACE();

#endif  // ALLOCATOR_KERNELS_ELEMENT_SIMD_INL_H_
