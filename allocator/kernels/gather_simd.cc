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
#include "pagedkv/types.h"

// This file is compiled once for each instruction set. Not SVE: vectors without
// a size cannot stand in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "allocator/kernels/gather_simd.cc"
#include "hwy/foreach_target.h"
// Behind foreach_target.h, as it must be.
#include "allocator/kernels/element_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagedkv {
namespace HWY_NAMESPACE {

template <KvDtype kRow, KvDtype kStored>
class Gather {
 public:
  Gather(const KvTensorView& view, const KvRows& rows)
      : view_(view),
        rows_(rows),
        format_(ElementFormat(view)),
        integers_(format_) {}

  HWY_INLINE void Run(std::span<const BlockId> table, std::int64_t first,
                      std::int64_t num_tokens) const {
    const bool per_channel = format_.scheme == ScaleScheme::kChannel;
    // Tokens that are read together: in one block, and with one set of scales.
    const std::int64_t run = per_channel ? view_.channel_run : view_.block_size;
    for (std::int64_t i = 0; i < num_tokens;) {
      const std::int64_t position = first + i;
      const std::int64_t block =
          table[static_cast<std::size_t>(position / view_.block_size)].value();
      const std::int64_t token = position % view_.block_size;
      const std::int64_t count = std::min(run - position % run, num_tokens - i);
      for (std::int64_t head = 0; head < view_.tensor.heads; ++head) {
        std::byte* row =
            rows_.data +
            (i * rows_.token_stride + head * rows_.head_stride) * kRowElement;
        if (per_channel) {
          ReadChannelRun(block, token, count, head, row);
        } else {
          for (std::int64_t t = 0; t < count; ++t) {
            ReadVector(block, token + t, head, row + t * row_stride());
          }
        }
      }
      i += count;
    }
  }

 private:
  static constexpr std::int64_t kRowElement = KvDtypeBits(kRow) / 8;
  // Channels that are dealt with together: their scales are on the stack.
  static constexpr std::int32_t kChannels = 128;

  [[nodiscard]] std::int64_t row_stride() const {
    return rows_.token_stride * kRowElement;
  }

  HWY_INLINE void ReadVector(std::int64_t block, std::int64_t token,
                             std::int64_t head, std::byte* row) const {
    const std::byte* vector = VectorAddress(view_, block, token, head);
    const std::int32_t size = view_.tensor.head_size;
    const std::int32_t per_scale = ElementsPerScale(view_);
    for (std::int32_t begin = 0; begin < size; begin += per_scale) {
      const ScaleEntry entry = ScaleOf(view_, block, token, head, begin);
      DecodeRun<kRow, kStored>(
          vector + std::int64_t{begin} * KvDtypeBits(kStored) / 8,
          static_cast<std::size_t>(std::min(per_scale, size - begin)),
          SharedScale{Float(entry.scale), Float(entry.zero)}, integers_,
          row + begin * kRowElement);
    }
  }

  // `count` tokens of one run.
  HWY_INLINE void ReadChannelRun(std::int64_t block, std::int64_t token,
                                 std::int64_t count, std::int64_t head,
                                 std::byte* rows) const {
    const std::int32_t size = view_.tensor.head_size;
    for (std::int32_t begin = 0; begin < size; begin += kChannels) {
      const std::int32_t end = std::min(begin + kChannels, size);
      float scale[kChannels] = {};
      float zero[kChannels] = {};
      for (std::int32_t i = begin; i < end; ++i) {
        const ScaleEntry entry = ScaleOf(view_, block, token, head, i);
        scale[i - begin] = entry.scale;
        zero[i - begin] = entry.zero;
      }
      for (std::int64_t t = 0; t < count; ++t) {
        DecodeRun<kRow, kStored>(
            VectorAddress(view_, block, token + t, head) +
                std::int64_t{begin} * KvDtypeBits(kStored) / 8,
            static_cast<std::size_t>(end - begin), ElementScales{scale, zero},
            integers_, rows + t * row_stride() + begin * kRowElement);
      }
    }
  }

  const KvTensorView& view_;
  const KvRows& rows_;
  KvFormat format_;
  IntegerCodes integers_;
};

template <KvDtype kRow>
void GatherTo(const KvTensorView& view, std::span<const BlockId> table,
              std::int64_t first, std::int64_t num_tokens, const KvRows& rows) {
  const auto run = [&]<KvDtype kStored>() HWY_ATTR {
    Gather<kRow, kStored>(view, rows).Run(table, first, num_tokens);
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

void GatherAny(const KvTensorView& view, std::span<const BlockId> table,
               std::int64_t first, std::int64_t num_tokens,
               const KvRows& rows) {
  if (rows.dtype == KvDtype::kFp32) {
    GatherTo<KvDtype::kFp32>(view, table, first, num_tokens, rows);
  } else if (rows.dtype == KvDtype::kFp16) {
    GatherTo<KvDtype::kFp16>(view, table, first, num_tokens, rows);
  } else {
    GatherTo<KvDtype::kBf16>(view, table, first, num_tokens, rows);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagedkv
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagedkv {

HWY_EXPORT(GatherAny);

void GatherSimd(const KvTensorView& view, std::span<const BlockId> table,
                std::int64_t first, std::int64_t num_tokens,
                const KvRows& rows) {
  HWY_DYNAMIC_DISPATCH(GatherAny)(view, table, first, num_tokens, rows);
}

}  // namespace pagedkv
#endif  // HWY_ONCE
