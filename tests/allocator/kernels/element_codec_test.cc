// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/element_codec.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace pagedkv {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Evaluated by the compiler, as on a device.
static_assert(Fp16::Encode(1.5F) == 0x3e00);
static_assert(Bf16::Encode(-1.0F) == 0xbf80);
static_assert(Fp8E4m3::Encode(-448) == 0xfe);
static_assert(Fp8E5m2::Decode(0x7b) == 57344);

// A format by its definition: value = mantissa * 2^exponent.
struct Definition {
  int exponent_bits;
  int mantissa_bits;
  std::uint32_t max;  // the code of the largest finite number
  bool saturates;
  std::uint32_t nan;

  [[nodiscard]] double Value(std::uint32_t code) const {
    const std::uint32_t mantissa = code & ((1U << mantissa_bits) - 1);
    const auto exponent = static_cast<int>(code >> mantissa_bits);
    const int bias = (1 << (exponent_bits - 1)) - 1;
    return exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                         : std::ldexp((1U << mantissa_bits) + mantissa,
                                      exponent - bias - mantissa_bits);
  }
};

constexpr Definition kFp16 = {5, 10, 0x7bff, false, 0x7fff};
constexpr Definition kBf16 = {8, 7, 0x7f7f, false, 0x7fff};
constexpr Definition kE4m3 = {4, 3, 0x7e, true, 0x7f};
constexpr Definition kE5m2 = {5, 2, 0x7b, true, 0x7f};

// Every finite code, and what lies just below, at, and just above the middle
// between it and the next: all that rounding can get wrong.
template <class Format>
void CheckFormat(const Definition& definition) {
  const int sign_shift = definition.exponent_bits + definition.mantissa_bits;
  for (const std::uint32_t sign : {0U, 1U << sign_shift}) {
    const float factor = sign != 0 ? -1.0F : 1.0F;
    for (std::uint32_t code = 0; code <= definition.max; ++code) {
      const double value = definition.Value(code);
      const auto number = factor * static_cast<float>(value);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(Format::Decode(sign | code)),
                std::bit_cast<std::uint32_t>(number));
      ASSERT_EQ(Format::Encode(number), sign | code);
      // Past the largest number, as if there were one more.
      const double middle = (value + definition.Value(code + 1)) / 2;
      const auto half = static_cast<float>(middle);
      ASSERT_EQ(half, middle) << "a middle is a float";
      const std::uint32_t next =
          code < definition.max || !definition.saturates ? code + 1 : code;
      ASSERT_EQ(Format::Encode(factor * std::nextafter(half, 0.0F)),
                sign | code);
      ASSERT_EQ(Format::Encode(factor * half),
                sign | (code % 2 == 0 ? code : next))
          << "ties go to even";
      ASSERT_EQ(Format::Encode(factor * std::nextafter(half, kInf)),
                sign | next);
    }
    const std::uint32_t overflow =
        definition.saturates ? definition.max : definition.max + 1;
    ASSERT_EQ(Format::Encode(factor * kInf), sign | overflow);
    ASSERT_EQ(Format::Encode(factor * kFloatMax), sign | overflow);
    ASSERT_EQ(Format::Encode(factor * std::bit_cast<float>(1U)), sign);
    ASSERT_EQ(Format::Encode(factor * kNan), definition.nan);
    ASSERT_TRUE(std::isnan(Format::Decode(sign | definition.nan)));
  }
}

TEST(ElementCodecTest, Fp16RoundsEveryNumberToTheNearest) {
  CheckFormat<Fp16>(kFp16);
  EXPECT_EQ(Fp16::Decode(0x7c00), kInf);
  EXPECT_EQ(Fp16::Decode(0xfc00), -kInf);
}

TEST(ElementCodecTest, Bf16RoundsEveryNumberToTheNearest) {
  // Steps of subnormal numbers have half steps as floats, so all is the same.
  CheckFormat<Bf16>(kBf16);
  EXPECT_EQ(Bf16::Decode(0xff80), -kInf);
}

TEST(ElementCodecTest, E4m3RoundsEveryNumberToTheNearestAndSaturates) {
  CheckFormat<Fp8E4m3>(kE4m3);
  EXPECT_EQ(Fp8E4m3::Decode(0x7e), 448);
}

TEST(ElementCodecTest, E5m2RoundsEveryNumberToTheNearestAndSaturates) {
  CheckFormat<Fp8E5m2>(kE5m2);
  EXPECT_EQ(Fp8E5m2::Decode(0x7c), kInf);
  EXPECT_TRUE(std::isnan(Fp8E5m2::Decode(0x7d)));
}

KvFormat Integers(KvDtype dtype, std::int32_t bits, bool zero_points) {
  return {.dtype = dtype,
          .scheme = ScaleScheme::kToken,
          .scale_bits = bits,
          .zero_point_bits = zero_points ? bits : 0};
}

TEST(ElementCodecTest, IntegersRoundToTheNearestAndTiesToEven) {
  const KvFormat format = Integers(KvDtype::kInt8, 32, false);
  const auto code = [&](float value) {
    return IntegerOf(format, EncodeElement(format, {.scale = 2}, 0.5F, value));
  };
  EXPECT_EQ(code(3), 2);  // 1.5
  EXPECT_EQ(code(5), 2);  // 2.5
  EXPECT_EQ(code(-5), -2);
  EXPECT_EQ(code(5.01F), 3);
  EXPECT_EQ(code(0), 0);
  EXPECT_EQ(code(1000), 127);
  EXPECT_EQ(code(-1000), -127) << "symmetric";
  EXPECT_EQ(code(kInf), 127);
  EXPECT_EQ(code(-kInf), -127);
  EXPECT_EQ(code(kNan), 0);
}

TEST(ElementCodecTest, EveryCodeOfAnIntegerIsKept) {
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    for (const bool zero_points : {false, true}) {
      const KvFormat format = Integers(dtype, 16, zero_points);
      const ScaleEntry entry{.scale = 0.125F,
                             .zero = zero_points ? -3.5F : 0.0F};
      const std::int32_t bits = KvDtypeBits(dtype);
      EXPECT_EQ(MaxCode(format),
                zero_points ? (1 << bits) - 1 : (1 << (bits - 1)) - 1);
      for (std::int32_t q = MinCode(format); q <= MaxCode(format); ++q) {
        const std::uint32_t code =
            EncodeElement(format, entry, InverseScale(entry.scale),
                          static_cast<float>(q) * entry.scale + entry.zero);
        EXPECT_EQ(code >> bits, 0U);
        EXPECT_EQ(IntegerOf(format, code), q);
        EXPECT_EQ(DecodeElement(format, entry, code),
                  static_cast<float>(q) * entry.scale + entry.zero);
      }
    }
  }
}

// What is said of these in their comments, for numbers of every magnitude.
TEST(ElementCodecTest, ScalesAreRoundedUpAndZeroPointsDown) {
  std::mt19937 random(7);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto number =
        std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!IsFinite(number)) continue;
    const float magnitude = Magnitude(number);
    for (const std::int32_t bits : {16, 32}) {
      const float scale = StoredScale(bits, magnitude);
      ASSERT_TRUE(IsFinite(scale));
      ASSERT_TRUE(IsFinite(InverseScale(scale)));
      ASSERT_EQ(scale > 0, magnitude > 0);
      const float most =
          bits == 16 ? 65504.0F : std::bit_cast<float>(0x7f7fff00);
      ASSERT_TRUE(scale >= magnitude || scale == most) << magnitude;
      ASSERT_EQ(StoredScale(bits, scale), scale) << "an entry holds it";
      if (bits == 32) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(scale) & 0xff, 0U)
            << "a product with a code is exact";
      } else {
        ASSERT_EQ(Fp16::Decode(Fp16::Encode(scale)), scale);
      }
      const float zero = StoredZero(bits, number);
      ASSERT_TRUE(IsFinite(zero));
      ASSERT_TRUE(zero <= number || zero == -65504) << number;
      ASSERT_FALSE(zero == 0 && std::signbit(zero));
      ASSERT_EQ(StoredZero(bits, zero), zero);
      if (bits == 16) {
        ASSERT_EQ(Fp16::Decode(Fp16::Encode(zero)), zero);
        // No more than one step.
        const float step = std::ldexp(
            1.0F,
            std::max(std::ilogb(std::max(magnitude, 0x1p-14F)), -14) - 10);
        ASSERT_TRUE(magnitude > 65504 || number - zero <= step) << number;
      }
    }
  }
}

// Elements as stored and read back, with the scale that is chosen for them.
float StoredAs(const KvFormat& format, float value, float min, float max) {
  ElementRange range;
  range.Add(min);
  range.Add(max);
  const ScaleEntry entry = ChooseScale(format, range);
  return DecodeElement(
      format, entry,
      EncodeElement(format, entry, InverseScale(entry.scale), value));
}

TEST(ElementCodecTest, EqualElementsAreKeptExactly) {
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    for (const float value : {0.0F, -0.0F, 1.0F, -2.25F, 65504.0F, -65504.0F,
                              0x1p-24F, -0x1p-24F}) {
      EXPECT_EQ(StoredAs(Integers(dtype, 16, true), value, value, value),
                value);
    }
    for (const float value :
         {3.14159F, 0x1p126F, -0x1p126F, std::bit_cast<float>(1U)}) {
      EXPECT_EQ(StoredAs(Integers(dtype, 32, true), value, value, value),
                value);
    }
    EXPECT_EQ(StoredAs(Integers(dtype, 16, false), 0, 0, 0), 0);
  }
  const KvFormat fp8{
      .dtype = KvDtype::kFp8, .scheme = ScaleScheme::kToken, .scale_bits = 16};
  EXPECT_EQ(StoredAs(fp8, 0, 0, 0), 0);
}

// Ranges so small that a scale of fp16 would be 0, or the inverse of one of
// fp32 infinite.
TEST(ElementCodecTest, TheSmallestRangesDivideByNothing) {
  const float tiny = std::bit_cast<float>(1U);
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt2, KvDtype::kFp8}) {
    for (const std::int32_t bits : {16, 32}) {
      for (const bool zero_points : {false, true}) {
        if (zero_points && !IsInteger(dtype)) continue;
        KvFormat format = Integers(dtype, bits, zero_points);
        for (const float value : {tiny, -tiny, 1e-30F, -1e-12F}) {
          const float stored = StoredAs(format, value, -0x1p-30F, 0);
          ASSERT_TRUE(IsFinite(stored));
          EXPECT_LE(std::abs(stored - value), 0x1p-24F);
          ASSERT_TRUE(IsFinite(StoredAs(format, value, value, value)));
        }
      }
    }
  }
}

TEST(ElementCodecTest, WhatIsNotFiniteLeavesTheOthersAlone) {
  for (const std::int32_t bits : {16, 32}) {
    const KvFormat format = Integers(KvDtype::kInt8, bits, true);
    ElementRange range;
    for (const float value : {1.0F, kNan, 3.0F, kInf, -kInf}) {
      range.Add(value);
    }
    EXPECT_EQ(range.min, 0) << "counts as 0";
    EXPECT_EQ(range.max, 3);
    EXPECT_NEAR(StoredAs(format, 1, 0, 3), 1, 1.5 / 255 * 1.01);
    EXPECT_EQ(StoredAs(format, kNan, 0, 3), 0);
    EXPECT_NEAR(StoredAs(format, kInf, 0, 3), 3, 1e-2);
    EXPECT_EQ(StoredAs(format, -kInf, 0, 3), 0);
    // Nothing but these.
    EXPECT_EQ(StoredAs(format, kNan, kNan, kNan), 0);
    EXPECT_EQ(StoredAs(format, kInf, kInf, kInf), 0);
  }
  const KvFormat fp8{
      .dtype = KvDtype::kFp8, .scheme = ScaleScheme::kToken, .scale_bits = 32};
  EXPECT_TRUE(std::isnan(StoredAs(fp8, kNan, 0, 3)));
  EXPECT_NEAR(StoredAs(fp8, kInf, 0, 3), 3, 1e-3);
}

TEST(ElementCodecTest, ARangeBeyondWhatAnEntryHoldsSaturates) {
  const KvFormat narrow = Integers(KvDtype::kInt8, 16, true);
  EXPECT_EQ(StoredAs(narrow, -1e30F, -1e30F, -1e30F), -65504);
  EXPECT_EQ(StoredAs(narrow, 1e30F, 1e30F, 1e30F), 65504 + 65504 * 255.0F);
  const KvFormat wide = Integers(KvDtype::kInt8, 32, true);
  EXPECT_EQ(StoredAs(wide, -kFloatMax, -kFloatMax, kFloatMax), -0x1p126F);
  for (const float min : {-kFloatMax, 0.0F, kFloatMax}) {
    EXPECT_NEAR(StoredAs(wide, kFloatMax, min, kFloatMax), 0x1p126,
                0x1p126 * 0x1p-14);
  }
  const KvFormat symmetric = Integers(KvDtype::kInt8, 32, false);
  EXPECT_NEAR(StoredAs(symmetric, kFloatMax, 0, kFloatMax), 0x1p126,
              0x1p126 * 0x1p-14);
}

}  // namespace
}  // namespace pagedkv
