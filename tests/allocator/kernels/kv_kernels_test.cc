// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

#include "allocator/kernels/vector_codec.h"
#include "tests/allocator/kernels/kernel_data.h"

namespace pagedkv {
namespace {

using ::testing::HasSubstr;

constexpr std::int32_t kBlockSize = 16;
constexpr std::int32_t kNumBlocks = 6;
constexpr KvDtype kRowDtypes[] = {KvDtype::kFp32, KvDtype::kFp16,
                                  KvDtype::kBf16};

// One combination of what a kernel is called with.
struct Case {
  KvTensor tensor;
  KvOrder order = KvOrder::kNhd;
  KvDtype row_dtype = KvDtype::kFp32;
  std::int64_t gap = 0;
  Elements elements = Elements::kOrdinary;
};

std::string NameOf(const Case& c) {
  return absl::StrFormat(
      "%s, %d heads of %d, %s, rows %s with gaps of %d, elements %d",
      NameOf(c.tensor.format), c.tensor.heads, c.tensor.head_size,
      c.order == KvOrder::kNhd ? "NHD" : "HND",
      std::string(KvDtypeName(c.row_dtype)), c.gap,
      static_cast<int>(c.elements));
}

// Every format with every type of rows; the rest is drawn.
std::vector<Case> Cases(std::mt19937& random) {
  std::vector<Case> cases;
  for (const KvFormat& format : AllFormats()) {
    for (const KvDtype row_dtype : kRowDtypes) {
      constexpr std::int32_t kHeadSizes[] = {64, 128, 8, 20, 80, 132, 36, 4};
      cases.push_back(
          {.tensor = {static_cast<std::int32_t>(1 + random() % 3),
                      kHeadSizes[random() % std::size(kHeadSizes)], format},
           .order = random() % 2 == 0 ? KvOrder::kNhd : KvOrder::kHnd,
           .row_dtype = row_dtype,
           .gap = static_cast<std::int64_t>(random() % 2 * 3),
           .elements = static_cast<Elements>(random() % 3)});
    }
  }
  return cases;
}

PoisonedBlocks BlocksFor(const Case& c) {
  PoisonedBlocks blocks(c.tensor, kBlockSize, kNumBlocks, c.order);
  blocks.view().scale = 0.0625F + 0x1p-20F;
  return blocks;
}

// The kernels run with each set of vector instructions that this machine has.
class KvKernelsTest : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(GetParam());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }

  std::mt19937 random_{20240607};
};

// Whole runs of 8 tokens, in some order, with padding between them.
std::vector<std::int64_t> RandomSlots(std::mt19937& random) {
  std::vector<std::int64_t> runs(kBlockSize * kNumBlocks / 8);
  std::iota(runs.begin(), runs.end(), 0);
  std::shuffle(runs.begin(), runs.end(), random);
  std::vector<std::int64_t> slots;
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::int64_t t = 0; t < 8; ++t) slots.push_back(runs[i] * 8 + t);
    slots.insert(slots.end(), random() % 3, -1);
  }
  return slots;
}

// By the functors alone.
void ScatterReference(const KvTensorView& view, PoisonedRows& rows,
                      KvDtype row_dtype,
                      const std::vector<std::int64_t>& slots) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] < 0) continue;
    const std::int64_t block = slots[i] / kBlockSize;
    const std::int64_t token = slots[i] % kBlockSize;
    for (std::int64_t head = 0; head < view.tensor.heads; ++head) {
      const auto element = [&](std::int32_t t, std::int32_t e) {
        return LoadElement(row_dtype,
                           rows.row(static_cast<std::int64_t>(i) + t, head), e);
      };
      if (view.tensor.format.dtype == row_dtype) {
        std::memcpy(VectorAddress(view, block, token, head),
                    rows.row(static_cast<std::int64_t>(i), head),
                    static_cast<std::size_t>(view.tensor.head_size *
                                             KvDtypeBits(row_dtype) / 8));
      } else if (view.tensor.format.scheme != ScaleScheme::kChannel) {
        EncodeVector(view, block, token, head,
                     [&](std::int32_t e) { return element(0, e); });
      } else if (token % view.channel_run == 0) {
        EncodeChannelRun(view, block, token / view.channel_run, head, element);
      }
    }
  }
}

TEST_P(KvKernelsTest, ScatterWritesTheBytesOfTheFunctorsAndNoOthers) {
  for (const Case& c : Cases(random_)) {
    SCOPED_TRACE(NameOf(c));
    const std::vector<std::int64_t> slots = RandomSlots(random_);
    const auto num_rows = static_cast<std::int64_t>(slots.size());
    PoisonedRows rows(c.row_dtype, c.tensor, num_rows, c.gap);
    FillRows(rows, c.row_dtype, c.tensor, num_rows, c.elements, random_);
    PoisonedBlocks blocks = BlocksFor(c);
    PoisonedBlocks expected = blocks;

    ScatterReference(expected.view(), rows, c.row_dtype, slots);
    ASSERT_TRUE(ScatterKv(blocks.view(), rows.const_rows(), slots).ok());
    ASSERT_TRUE(blocks.bytes() == expected.bytes());
  }
}

// Any bytes at all in the blocks: codes and scales that nobody wrote, too.
TEST_P(KvKernelsTest, GatherReadsWhatTheFunctorsReadAndWritesNothingElse) {
  for (const Case& c : Cases(random_)) {
    SCOPED_TRACE(NameOf(c));
    PoisonedBlocks blocks = BlocksFor(c);
    const KvTensorView& view = blocks.view();
    for (std::byte& byte : blocks.bytes()) {
      byte = static_cast<std::byte>(random_());
    }
    if (c.tensor.format.scale_bits == 32) {
      // 32 bits of scale are written with 16 of them in use (StoredScale).
      PoisonedRows all(KvDtype::kFp32, c.tensor, kBlockSize * kNumBlocks, 0);
      FillRows(all, KvDtype::kFp32, c.tensor, kBlockSize * kNumBlocks,
               c.elements, random_);
      std::vector<std::int64_t> slots(kBlockSize * kNumBlocks);
      std::iota(slots.begin(), slots.end(), 0);
      ScatterReference(view, all, KvDtype::kFp32, slots);
    }
    const std::vector<BlockId> table = {BlockId(4), BlockId(1), BlockId(5)};
    const auto first = static_cast<std::int64_t>(random_() % 20);
    const auto num_tokens = static_cast<std::int64_t>(random_() % 28);
    PoisonedRows rows(c.row_dtype, c.tensor, num_tokens, c.gap);
    PoisonedRows expected = rows;
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const std::int64_t block =
          table[static_cast<std::size_t>((first + t) / kBlockSize)].value();
      const std::int64_t token = (first + t) % kBlockSize;
      for (std::int64_t head = 0; head < c.tensor.heads; ++head) {
        std::byte* row = expected.row(t, head);
        if (c.row_dtype == c.tensor.format.dtype) {
          std::memcpy(row, VectorAddress(view, block, token, head),
                      static_cast<std::size_t>(c.tensor.head_size *
                                               KvDtypeBits(c.row_dtype) / 8));
          continue;
        }
        std::vector<float> elements(
            static_cast<std::size_t>(c.tensor.head_size));
        DecodeVector(view, block, token, head, elements.data());
        for (std::size_t e = 0; e < elements.size(); ++e) {
          StoreElement(c.row_dtype, row, static_cast<std::int64_t>(e),
                       elements[e]);
        }
      }
    }
    ASSERT_TRUE(GatherKv(view, table, first, num_tokens, rows.rows()).ok());
    ASSERT_TRUE(rows.bytes() == expected.bytes());
  }
}

// Codes `begin`, `begin` + 1, ... in a block are read as the functors read
// them, and written again as they were: there are so many that a step of vector
// instructions must meet each one.
void CheckAllCodes(KvDtype dtype) {
  const std::int32_t num_codes = KvDtypeBits(dtype) == 8 ? 256 : 65536;
  const KvTensor tensor{1, num_codes, {.dtype = dtype}};
  PoisonedBlocks blocks(tensor, 1, 2, KvOrder::kNhd);
  std::byte* vector = VectorAddress(blocks.view(), 1, 0, 0);
  for (std::int32_t i = 0; i < num_codes; ++i) {
    StoreElementBits(dtype, vector, i, static_cast<std::uint32_t>(i));
  }
  PoisonedRows rows(KvDtype::kFp32, tensor, 1, 0);
  const std::vector<BlockId> table = {BlockId(1)};
  ASSERT_TRUE(GatherKv(blocks.view(), table, 0, 1, rows.rows()).ok());
  PoisonedBlocks expected = blocks;
  for (std::int32_t i = 0; i < num_codes; ++i) {
    const float element = LoadElement(blocks.view(), 1, 0, 0, i);
    ASSERT_EQ(LoadElementBits(KvDtype::kFp32, rows.row(0, 0), i),
              std::bit_cast<std::uint32_t>(element))
        << "code " << i;
    StoreElementBits(dtype, VectorAddress(expected.view(), 1, 0, 0), i,
                     EncodeElement({.dtype = dtype}, {}, 1, element));
  }
  const std::vector<std::int64_t> slots = {1};
  ASSERT_TRUE(ScatterKv(blocks.view(), rows.const_rows(), slots).ok());
  EXPECT_TRUE(blocks.bytes() == expected.bytes());
}

TEST_P(KvKernelsTest, EveryCodeIsReadAndWrittenAsTheFunctorsDo) {
  for (const KvDtype dtype :
       {KvDtype::kFp16, KvDtype::kBf16, KvDtype::kFp8, KvDtype::kFp8E5m2}) {
    SCOPED_TRACE(std::string(KvDtypeName(dtype)));
    CheckAllCodes(dtype);
  }
}

// Rows of fp16 and bf16 are converted on the way in by other code than elements
// of blocks on the way out: every one of them, to a wider and a narrower type.
TEST_P(KvKernelsTest, EveryElementOfARowIsConvertedAsTheFunctorsDo) {
  for (const KvDtype from : {KvDtype::kFp16, KvDtype::kBf16}) {
    for (const KvDtype to : kKvDtypes) {
      if (to == from) continue;
      SCOPED_TRACE(absl::StrFormat("%s to %s", std::string(KvDtypeName(from)),
                                   std::string(KvDtypeName(to))));
      const KvTensor tensor{1, 65536, {.dtype = to}};
      PoisonedRows rows(from, tensor, 1, 0);
      for (std::uint32_t i = 0; i < 65536; ++i) {
        StoreElementBits(from, rows.row(0, 0), i, i);
      }
      PoisonedBlocks blocks(tensor, 1, 2, KvOrder::kNhd);
      blocks.view().scale = 0.37F;
      PoisonedBlocks expected = blocks;
      EncodeVector(expected.view(), 1, 0, 0, [&](std::int32_t i) {
        return LoadElement(from, rows.row(0, 0), i);
      });
      const std::vector<std::int64_t> slots = {1};
      ASSERT_TRUE(ScatterKv(blocks.view(), rows.const_rows(), slots).ok());
      EXPECT_TRUE(blocks.bytes() == expected.bytes());
    }
  }
}

// Numbers with `mantissa` bits behind the point, and exponents from
// `min_exponent` up, have neighbours at this distance from `value` at most.
struct FloatGrid {
  int mantissa = 23;
  int min_exponent = -126;
  [[nodiscard]] double Spacing(double value) const {
    return std::max(std::ldexp(std::abs(value), -mantissa),
                    std::ldexp(1.0, min_exponent - mantissa));
  }
};

FloatGrid GridOf(KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kFp16:
      return {10, -14};
    case KvDtype::kBf16:
      return {7, -126};
    case KvDtype::kFp8:
      return {3, -6};
    case KvDtype::kFp8E5m2:
      return {2, -14};
    default:
      return {};
  }
}

// The most that `value` may have moved, in real numbers: half a step. `min` and
// `max` are those of the elements that share its scale.
double Bound(const KvFormat& format, double value, double min, double max,
             double tensor_scale) {
  const FloatGrid grid = GridOf(format.dtype);
  if (KvDtypeBits(format.dtype) > 8) return grid.Spacing(value) / 2;
  const FloatGrid fp16 = GridOf(KvDtype::kFp16);
  const double reach = std::max(std::abs(min), std::abs(max));
  const bool has_zero =
      format.scheme != ScaleScheme::kTensor && format.zero_point_bits != 0;

  double range = reach;
  double codes = format.dtype == KvDtype::kFp8 ? 448 : 57344;
  if (IsInteger(format.dtype)) {
    codes = (1 << (KvDtypeBits(format.dtype) - (has_zero ? 0 : 1))) - 1;
    if (has_zero) {
      // A zero point of fp16 is rounded down.
      range =
          max - min + (format.zero_point_bits == 16 ? fp16.Spacing(reach) : 0);
    }
  }
  double scale = tensor_scale;
  if (format.scheme != ScaleScheme::kTensor) {
    if (range == 0) return 0;
    // Rounded up: to fp16, or a float with 16 bits.
    scale = range / codes;
    scale += format.scale_bits == 16 ? fp16.Spacing(scale) : scale * 0x1p-15;
  }
  const double step =
      IsInteger(format.dtype) ? scale : scale * grid.Spacing(value / scale);
  // The arithmetic is that of floats: a difference, two products and a sum.
  return step / 2 * (1 + 0x1p-14) + 4 * FloatGrid().Spacing(reach);
}

// Which elements share the scale of (token, element): a number for each set.
std::int64_t ScaleSetOf(const KvFormat& format, std::int64_t token,
                        std::int32_t element) {
  switch (format.scheme) {
    case ScaleScheme::kTensor:
      return 0;
    case ScaleScheme::kToken:
      return token;
    case ScaleScheme::kChannel:
      return token / format.group * 200 + element;
    case ScaleScheme::kGroup:
      return token * 200 + element / format.group;
  }
  return 0;
}

// Against real numbers, without any of the code under test.
TEST_P(KvKernelsTest, WhatIsReadBackDiffersByHalfAStepAtMost) {
  constexpr std::int64_t kTokens = 24;
  for (const Case& drawn : Cases(random_)) {
    Case c = drawn;
    // Elements that a scale for the whole tensor, and fp16, can hold.
    c.elements = c.tensor.format.scale_bits == 0 || random_() % 2 == 0
                     ? Elements::kOrdinary
                     : Elements::kVaried;
    c.row_dtype = KvDtype::kFp32;
    SCOPED_TRACE(NameOf(c));
    PoisonedBlocks blocks = BlocksFor(c);
    // So that 4 is the largest element.
    const double scale = c.tensor.format.dtype == KvDtype::kFp8       ? 0.01
                         : c.tensor.format.dtype == KvDtype::kFp8E5m2 ? 0.0001
                         : c.tensor.format.dtype == KvDtype::kInt8 ? 4.0 / 127
                         : c.tensor.format.dtype == KvDtype::kInt4 ? 4.0 / 7
                                                                   : 4.0;
    blocks.view().scale = static_cast<float>(scale) * (1 + 0x1p-20F);
    PoisonedRows rows(c.row_dtype, c.tensor, kTokens, c.gap);
    FillRows(rows, c.row_dtype, c.tensor, kTokens, c.elements, random_);
    std::vector<std::int64_t> slots(kTokens);
    std::iota(slots.begin(), slots.end(), kBlockSize);
    ASSERT_TRUE(ScatterKv(blocks.view(), rows.const_rows(), slots).ok());
    PoisonedRows read(KvDtype::kFp32, c.tensor, kTokens, c.gap);
    const std::vector<BlockId> table = {BlockId(1), BlockId(2)};
    ASSERT_TRUE(GatherKv(blocks.view(), table, 0, kTokens, read.rows()).ok());

    const auto element = [&](PoisonedRows& of, std::int64_t t, std::int64_t h,
                             std::int32_t e) {
      float value = 0;
      std::memcpy(&value, of.row(t, h) + e * 4, 4);
      return static_cast<double>(value);
    };
    for (std::int64_t h = 0; h < c.tensor.heads; ++h) {
      std::vector<double> min(kTokens * 200, 1e300);
      std::vector<double> max(kTokens * 200, -1e300);
      for (const bool check : {false, true}) {
        for (std::int64_t t = 0; t < kTokens; ++t) {
          for (std::int32_t e = 0; e < c.tensor.head_size; ++e) {
            const auto set =
                static_cast<std::size_t>(ScaleSetOf(c.tensor.format, t, e));
            const double value = element(rows, t, h, e);
            if (!check) {
              min[set] = std::min(min[set], value);
              max[set] = std::max(max[set], value);
              continue;
            }
            ASSERT_LE(std::abs(element(read, t, h, e) - value),
                      Bound(c.tensor.format, value, min[set], max[set],
                            blocks.view().scale))
                << "token " << t << ", head " << h << ", element " << e
                << " is " << value << ", of " << min[set] << " to " << max[set];
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, KvKernelsTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const testing::TestParamInfo<std::int64_t>& info) {
                           return hwy::TargetName(info.param);
                         });

// ---- Arguments.

class KvKernelArgumentsTest : public testing::Test {
 protected:
  KvKernelArgumentsTest()
      : blocks_({2, 8, {.dtype = KvDtype::kFp16}}, 4, 3, KvOrder::kNhd),
        rows_(KvDtype::kFp16, {2, 8}, 4, 0) {}

  // What both kernels say of the view.
  void ExpectRefused(const KvTensorView& view, const std::string& words) {
    const std::vector<std::int64_t> slots = {0};
    const std::vector<BlockId> table = {BlockId(1)};
    const auto before = blocks_.bytes();
    for (const absl::Status& status :
         {ScatterKv(view, rows_.const_rows(), slots),
          GatherKv(view, table, 0, 1, rows_.rows())}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr("view"));
      EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    }
    EXPECT_TRUE(blocks_.bytes() == before);
  }

  PoisonedBlocks blocks_;
  PoisonedRows rows_;
};

TEST_F(KvKernelArgumentsTest, ViewsThatNoKernelCanReadAreRefused) {
  KvTensorView view = blocks_.view();
  view.base = nullptr;
  ExpectRefused(view, "address");

  view = blocks_.view();
  view.tensor.head_size = 3;
  view.tensor.format.dtype = KvDtype::kInt4;
  ExpectRefused(view, "whole bytes");

  view = blocks_.view();
  view.tensor.format.dtype = KvDtype::kFp8;
  for (const float scale : {0.0F, -1.0F, std::nanf(""), INFINITY}) {
    view.scale = scale;
    ExpectRefused(view, "no positive number");
  }

  view = blocks_.view();
  view.tensor.format.scheme = ScaleScheme::kToken;
  ExpectRefused(view, "only fp8, int8, int4 and int2");
  view.tensor.format.dtype = KvDtype::kInt8;
  ExpectRefused(view, "scales of 16 or 32 bits");
  view.tensor.format.scale_bits = 16;
  view.tensor.format.zero_point_bits = 8;
  ExpectRefused(view, "zero points of 16 or 32 bits");
  view.tensor.format.zero_point_bits = 16;
  view.tensor.format.dtype = KvDtype::kFp8;
  ExpectRefused(view, "only integers");
  view.tensor.format.zero_point_bits = 0;
  view.tensor.format.scheme = ScaleScheme::kGroup;
  ExpectRefused(view, "groups");
  view.tensor.format.scheme = ScaleScheme::kChannel;
  view.channel_run = 3;
  ExpectRefused(view, "divide the block size");
}

TEST_F(KvKernelArgumentsTest, RowsAreOfFloats) {
  const std::vector<std::int64_t> slots = {0};
  ConstKvRows rows = rows_.const_rows();
  rows.dtype = KvDtype::kInt8;
  EXPECT_EQ(ScatterKv(blocks_.view(), rows, slots).message(),
            "rows must be fp32, fp16 or bf16");
  rows.data = nullptr;
  EXPECT_EQ(ScatterKv(blocks_.view(), rows, slots).message(),
            "rows have no address");
}

TEST_F(KvKernelArgumentsTest, ATableMustHaveTheTokens) {
  const std::vector<BlockId> table = {BlockId(1), BlockId(2)};
  EXPECT_TRUE(GatherKv(blocks_.view(), table, 5, 3, rows_.rows()).ok());
  EXPECT_EQ(GatherKv(blocks_.view(), table, 5, 4, rows_.rows()).message(),
            "table has 8 slots, and 4 tokens from 5 on are wanted");
  EXPECT_FALSE(GatherKv(blocks_.view(), table, -1, 1, rows_.rows()).ok());
  EXPECT_FALSE(GatherKv(blocks_.view(), table, 0, -1, rows_.rows()).ok());
  EXPECT_FALSE(GatherKv(blocks_.view(), table,
                        std::numeric_limits<std::int64_t>::max(), 2,
                        rows_.rows())
                   .ok());
}

TEST_F(KvKernelArgumentsTest, ChannelsWithOneScaleAreWrittenInWholeRuns) {
  const KvFormat format{.dtype = KvDtype::kInt8,
                        .scheme = ScaleScheme::kChannel,
                        .group = 2,
                        .scale_bits = 16};
  PoisonedBlocks blocks({2, 8, format}, 4, 3, KvOrder::kNhd);
  const auto before = blocks.bytes();
  using Slots = std::vector<std::int64_t>;
  for (const Slots& slots : {Slots{4}, Slots{5, 6}, Slots{4, 6}, Slots{4, -1},
                             Slots{4, 5, 6}, Slots{-1, 4, 5, 3, 4}}) {
    const absl::Status status =
        ScatterKv(blocks.view(), rows_.const_rows(), slots);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("from a multiple of 2"));
  }
  EXPECT_TRUE(blocks.bytes() == before);
  EXPECT_TRUE(
      ScatterKv(blocks.view(), rows_.const_rows(), Slots{-1, 6, 7, -1}).ok());
}

TEST_F(KvKernelArgumentsTest, NothingIsDoneWithoutHeadsOrTokens) {
  const auto before = blocks_.bytes();
  KvTensorView none;
  none.tensor.heads = 0;
  const std::vector<std::int64_t> slots = {0};
  EXPECT_TRUE(ScatterKv(none, rows_.const_rows(), slots).ok());
  EXPECT_TRUE(GatherKv(none, {}, 0, 7, rows_.rows()).ok());
  EXPECT_TRUE(ScatterKv(blocks_.view(), {}, {}).ok());
  EXPECT_TRUE(GatherKv(blocks_.view(), {}, 0, 0, {}).ok());
  EXPECT_TRUE(blocks_.bytes() == before);
}

}  // namespace
}  // namespace pagedkv
