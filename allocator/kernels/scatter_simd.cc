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

template <KvDtype kRow, KvDtype kStored>
class Scatter {
 public:
  Scatter(const KvTensorView& view, const ConstKvRows& rows)
      : view_(view),
        rows_(rows),
        format_(ElementFormat(view)),
        integers_(format_) {}

  HWY_INLINE void Run(std::span<const std::int64_t> slots) const {
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
        } else {
          WriteVector(block, token, head, row);
        }
      }
      i += step;
    }
  }

 private:
  static constexpr std::int64_t kRowElement = KvDtypeBits(kRow) / 8;
  // Channels that are dealt with together: their scales are on the stack.
  static constexpr std::int32_t kChannels = 128;

  HWY_INLINE void WriteVector(std::int64_t block, std::int64_t token,
                              std::int64_t head, const std::byte* row) const {
    std::byte* vector = VectorAddress(view_, block, token, head);
    const std::int32_t size = view_.tensor.head_size;
    const std::int32_t per_scale = ElementsPerScale(view_);
    for (std::int32_t begin = 0; begin < size; begin += per_scale) {
      const auto count =
          static_cast<std::size_t>(std::min(per_scale, size - begin));
      const std::byte* source = row + begin * kRowElement;
      ScaleEntry entry{.scale = view_.scale};
      if (format_.scheme != ScaleScheme::kTensor) {
        entry = ChooseScale(format_, RangeOf<kRow>(source, count));
        StoreScale(format_,
                   ScaleAddress(view_, block, token, head, begin / per_scale),
                   entry);
      }
      const SharedScale scales{Float(InverseScale(entry.scale)),
                               Float(entry.zero)};
      EncodeRun<kRow, kStored>(
          source, count, scales, integers_,
          vector + std::int64_t{begin} * KvDtypeBits(kStored) / 8);
    }
  }

  HWY_INLINE void WriteChannelRun(std::int64_t block, std::int64_t token,
                                  std::int64_t head,
                                  const std::byte* rows) const {
    const std::int64_t row_stride = rows_.token_stride * kRowElement;
    const std::int32_t size = view_.tensor.head_size;
    for (std::int32_t begin = 0; begin < size; begin += kChannels) {
      const auto count =
          static_cast<std::size_t>(std::min(kChannels, size - begin));
      const std::byte* source = rows + begin * kRowElement;
      float min[kChannels];
      float max[kChannels];
      ChannelRanges(source, row_stride, count, min, max);
      float inverse[kChannels] = {};
      float zero[kChannels] = {};
      std::byte* entries =
          ScaleAddress(view_, block, token / view_.channel_run, head, begin);
      for (std::size_t i = 0; i < count; ++i) {
        const ScaleEntry entry =
            ChooseScale(format_, {.min = min[i], .max = max[i]});
        StoreScale(format_, entries, entry);
        entries += view_.scale_bytes();
        inverse[i] = InverseScale(entry.scale);
        zero[i] = entry.zero;
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

  // Ranges of `count` channels; min and max have room for whole steps.
  HWY_INLINE void ChannelRanges(const std::byte* rows, std::int64_t row_stride,
                                std::size_t count, float* min,
                                float* max) const {
    for (std::size_t begin = 0; begin < count; begin += kLanes) {
      const std::size_t here = std::min(kLanes, count - begin);
      Floats least = Float(kFloatMax);
      Floats most = Float(-kFloatMax);
      for (std::int32_t t = 0; t < view_.channel_run; ++t) {
        const std::byte* row = rows + t * row_stride +
                               static_cast<std::int64_t>(begin) * kRowElement;
        std::byte padded[StepBytes<kRow, 1>()] = {};
        if (here < kLanes) {
          std::memcpy(padded, row,
                      here * static_cast<std::size_t>(kRowElement));
          row = padded;
        }
        Floats step[1];
        LoadRow<kRow>(row, step);
        const Floats counted = FiniteOrZero(step[0]);
        least = hn::Min(least, counted);
        most = hn::Max(most, counted);
      }
      hn::StoreU(least, FloatTag(), min + begin);
      hn::StoreU(most, FloatTag(), max + begin);
    }
  }

  const KvTensorView& view_;
  const ConstKvRows& rows_;
  KvFormat format_;
  IntegerCodes integers_;
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
