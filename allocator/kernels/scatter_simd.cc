// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/kernels/element_codec.h"
#include "allocator/kernels/simd_kernels.h"
#include "allocator/kernels/vector_codec.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_tensor.h"

// This file is compiled once for each instruction set. Not SVE: vectors without
// a size cannot stand in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "allocator/kernels/scatter_simd.cc"
#include "hwy/foreach_target.h"
// Behind foreach_target.h, as it must be.
#include "allocator/kernels/element_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagedkv {
namespace HWY_NAMESPACE {

// Scales and zero points of kLanes ranges, as an entry keeps them.
class ScaleWriter {
 public:
  HWY_INLINE ScaleWriter(const KvFormat& format, const ChosenScales& scales)
      : format_(format) {
    hn::StoreU(Kept(format.scale_bits, scales.scale), IntTag(), scale_);
    hn::StoreU(Kept(format.zero_point_bits, scales.zero), IntTag(), zero_);
  }
  HWY_INLINE void Write(std::size_t lane, std::byte* entry) const {
    StoreBytes(entry, format_.scale_bits / 8,
               static_cast<std::uint32_t>(scale_[lane]));
    if (format_.zero_point_bits != 0) {
      StoreBytes(entry + format_.scale_bits / 8, format_.zero_point_bits / 8,
                 static_cast<std::uint32_t>(zero_[lane]));
    }
  }

 private:
  static HWY_INLINE Ints Kept(std::int32_t bits, Floats value) {
    return bits == 16 ? EncodeSmallFloat<Fp16>(value) : BitsOf(value);
  }

  const KvFormat& format_;
  std::int32_t scale_[kLanes];
  std::int32_t zero_[kLanes];
};

template <KvDtype kRow, KvDtype kStored>
class Scatter {
 public:
  Scatter(const KvTensorView& view, const ConstKvRows& rows)
      : view_(view),
        rows_(rows),
        format_(ElementFormat(view)),
        integers_(format_) {}

  HWY_INLINE void Run(std::span<const std::int64_t> slots) {
    const bool per_channel = format_.scheme == ScaleScheme::kChannel;
    const auto step =
        static_cast<std::size_t>(per_channel ? view_.channel_run : 1);
    for (std::size_t i = 0; i < slots.size();) {
      if (slots[i] < 0) {
        ++i;
        continue;
      }
      const std::int64_t block = slots[i] / view_.block_size;
      const std::int64_t token = slots[i] % view_.block_size;
      for (std::int64_t head = 0; head < view_.tensor.heads; ++head) {
        const std::byte* row =
            rows_.data + (static_cast<std::int64_t>(i) * rows_.token_stride +
                          head * rows_.head_stride) *
                             kRowElement;
        if (per_channel) {
          WriteChannelRun(block, token, head, row);
        } else if (format_.scheme == ScaleScheme::kTensor) {
          const SharedScale scales{Float(InverseScale(view_.scale)),
                                   hn::Zero(FloatTag())};
          EncodeRun<kRow, kStored>(
              row, static_cast<std::size_t>(view_.tensor.head_size), scales,
              integers_, VectorAddress(view_, block, token, head));
        } else {
          AddVector(block, token, head, row);
        }
      }
      i += step;
    }
    WriteBatch();
  }

 private:
  static constexpr std::int64_t kRowElement = KvDtypeBits(kRow) / 8;
  // Channels that are dealt with together: their scales are on the stack.
  static constexpr std::int32_t kChannels = 128;

  // Elements that share a scale.
  struct ScaleSet {
    const std::byte* row;
    std::size_t count;
    std::byte* codes;
    std::byte* entry;
  };

  // The scales of kLanes sets are chosen together.
  HWY_INLINE void AddVector(std::int64_t block, std::int64_t token,
                            std::int64_t head, const std::byte* row) {
    std::byte* vector = VectorAddress(view_, block, token, head);
    std::byte* entry = ScaleAddress(view_, block, token, head, 0);
    const std::int32_t size = view_.tensor.head_size;
    const std::int32_t per_scale = ElementsPerScale(view_);
    for (std::int32_t begin = 0; begin < size; begin += per_scale) {
      const auto count =
          static_cast<std::size_t>(std::min(per_scale, size - begin));
      const ScaleSet set{
          row + begin * kRowElement, count,
          vector + std::int64_t{begin} * KvDtypeBits(kStored) / 8, entry};
      const ElementRange range = RangeOf<kRow>(set.row, count);
      min_[num_sets_] = range.min;
      max_[num_sets_] = range.max;
      sets_[num_sets_++] = set;
      if (num_sets_ == kLanes) WriteBatch();
      entry += view_.scale_bytes();
    }
  }

  void WriteBatch() {
    if (num_sets_ == 0) return;
    const ChosenScales scales(format_, hn::LoadU(FloatTag(), min_),
                              hn::LoadU(FloatTag(), max_));
    const ScaleWriter writer(format_, scales);
    float inverse[kLanes];
    float zero[kLanes];
    hn::StoreU(scales.inverse, FloatTag(), inverse);
    hn::StoreU(scales.zero, FloatTag(), zero);
    for (std::size_t i = 0; i < num_sets_; ++i) {
      writer.Write(i, sets_[i].entry);
      EncodeRun<kRow, kStored>(sets_[i].row, sets_[i].count,
                               SharedScale{Float(inverse[i]), Float(zero[i])},
                               integers_, sets_[i].codes);
    }
    num_sets_ = 0;
  }

  void WriteChannelRun(std::int64_t block, std::int64_t token,
                       std::int64_t head, const std::byte* rows) const {
    const std::int64_t row_stride = rows_.token_stride * kRowElement;
    const std::int32_t size = view_.tensor.head_size;
    for (std::int32_t begin = 0; begin < size; begin += kChannels) {
      const auto count =
          static_cast<std::size_t>(std::min(kChannels, size - begin));
      const std::byte* source = rows + begin * kRowElement;
      std::byte* entries =
          ScaleAddress(view_, block, token / view_.channel_run, head, begin);
      float inverse[kChannels] = {};
      float zero[kChannels] = {};
      for (std::size_t i = 0; i < count; i += kLanes) {
        const std::size_t here = std::min(kLanes, count - i);
        const ChosenScales scales = ScalesOfChannels(
            source + static_cast<std::int64_t>(i) * kRowElement, row_stride,
            here);
        const ScaleWriter writer(format_, scales);
        for (std::size_t lane = 0; lane < here; ++lane) {
          writer.Write(lane, entries);
          entries += view_.scale_bytes();
        }
        hn::StoreU(scales.inverse, FloatTag(), inverse + i);
        hn::StoreU(scales.zero, FloatTag(), zero + i);
      }
      for (std::int32_t t = 0; t < view_.channel_run; ++t) {
        EncodeRun<kRow, kStored>(
            source + t * row_stride, count, ElementScales{inverse, zero},
            integers_,
            VectorAddress(view_, block, token + t, head) +
                std::int64_t{begin} * KvDtypeBits(kStored) / 8);
      }
    }
  }

  // Of `count` channels, kLanes at most.
  HWY_INLINE ChosenScales ScalesOfChannels(const std::byte* rows,
                                           std::int64_t row_stride,
                                           std::size_t count) const {
    Floats min = Float(kFloatMax);
    Floats max = Float(-kFloatMax);
    for (std::int32_t t = 0; t < view_.channel_run; ++t) {
      const std::byte* row = rows + t * row_stride;
      std::byte padded[StepBytes<kRow, 1>()] = {};
      if (count < kLanes) {
        std::memcpy(padded, row, count * static_cast<std::size_t>(kRowElement));
        row = padded;
      }
      Floats step[1];
      LoadRow<kRow>(row, step);
      const Floats counted = FiniteOrZero(step[0]);
      min = hn::Min(min, counted);
      max = hn::Max(max, counted);
    }
    return ChosenScales(format_, min, max);
  }

  const KvTensorView& view_;
  const ConstKvRows& rows_;
  KvFormat format_;
  IntegerCodes integers_;
  ScaleSet sets_[kLanes];
  float min_[kLanes] = {};
  float max_[kLanes] = {};
  std::size_t num_sets_ = 0;
};

template <KvDtype kRow>
void ScatterFrom(const KvTensorView& view, const ConstKvRows& rows,
                 std::span<const std::int64_t> slots) {
  const auto run = [&]<KvDtype kStored>() HWY_ATTR {
    Scatter<kRow, kStored>(view, rows).Run(slots);
  };
  switch (view.tensor.format.dtype) {
    case KvDtype::kFp32:
      return run.template operator()<KvDtype::kFp32>();
    case KvDtype::kFp16:
      return run.template operator()<KvDtype::kFp16>();
    case KvDtype::kBf16:
      return run.template operator()<KvDtype::kBf16>();
    case KvDtype::kFp8:
      return run.template operator()<KvDtype::kFp8>();
    case KvDtype::kFp8E5m2:
      return run.template operator()<KvDtype::kFp8E5m2>();
    case KvDtype::kInt8:
      return run.template operator()<KvDtype::kInt8>();
    case KvDtype::kInt4:
      return run.template operator()<KvDtype::kInt4>();
    case KvDtype::kInt2:
      return run.template operator()<KvDtype::kInt2>();
  }
}

void ScatterAny(const KvTensorView& view, const ConstKvRows& rows,
                std::span<const std::int64_t> slots) {
  if (rows.dtype == KvDtype::kFp32) {
    ScatterFrom<KvDtype::kFp32>(view, rows, slots);
  } else if (rows.dtype == KvDtype::kFp16) {
    ScatterFrom<KvDtype::kFp16>(view, rows, slots);
  } else {
    ScatterFrom<KvDtype::kBf16>(view, rows, slots);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagedkv
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagedkv {

HWY_EXPORT(ScatterAny);

void ScatterSimd(const KvTensorView& view, const ConstKvRows& rows,
                 std::span<const std::int64_t> slots) {
  HWY_DYNAMIC_DISPATCH(ScatterAny)(view, rows, slots);
}

}  // namespace pagedkv
#endif  // HWY_ONCE
