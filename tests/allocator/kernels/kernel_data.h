// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_ALLOCATOR_KERNELS_KERNEL_DATA_H_
#define TESTS_ALLOCATOR_KERNELS_KERNEL_DATA_H_

// What tests of kernels run on: formats, blocks full of poison, random rows.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"

#include "allocator/kernels/vector_codec.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_layout.h"
#include "pagedkv/kv_tensor.h"

namespace pagedkv {

/// What no kernel writes by chance: as fp32, fp16, bf16 and fp8 it is NaN.
inline constexpr std::byte kPoison{0xff};

/// Every dtype with every scheme that it can have, scales in 16 and 32 bits,
/// with and without zero points. Runs of channels are 8 tokens.
inline std::vector<KvFormat> AllFormats() {
  std::vector<KvFormat> formats;
  for (const KvDtype dtype : kKvDtypes) {
    formats.push_back({.dtype = dtype});
    if (KvDtypeBits(dtype) > 8) continue;
    for (const std::int32_t bits : {16, 32}) {
      for (const std::int32_t zero_bits : {0, bits}) {
        if (zero_bits != 0 && !IsInteger(dtype)) continue;
        const auto add = [&](ScaleScheme scheme, std::int32_t group) {
          formats.push_back({.dtype = dtype,
                             .scheme = scheme,
                             .group = group,
                             .scale_bits = bits,
                             .zero_point_bits = zero_bits});
        };
        add(ScaleScheme::kToken, 0);
        add(ScaleScheme::kChannel, 8);
        add(ScaleScheme::kGroup, 16);
        add(ScaleScheme::kGroup, 7);
      }
    }
  }
  return formats;
}

inline std::string NameOf(const KvFormat& format) {
  static constexpr const char* kSchemes[] = {"tensor", "token", "channel",
                                             "group"};
  return absl::StrFormat("%s per %s %d, scale %d, zero point %d bits",
                         std::string(KvDtypeName(format.dtype)),
                         kSchemes[static_cast<std::size_t>(format.scheme)],
                         format.group, format.scale_bits,
                         format.zero_point_bits);
}

/// Blocks of one tensor, at an odd address, poisoned.
class PoisonedBlocks {
 public:
  PoisonedBlocks(const KvTensor& tensor, std::int32_t block_size,
                 std::int32_t num_blocks, KvOrder order) {
    KvLayer layer;
    layer.key = tensor;
    const auto layout =
        KvLayout::Create({.num_blocks = BlockCount(num_blocks),
                          .groups = {{BlockSize(block_size), {layer}}},
                          .order = order})
            .value();
    const std::int64_t bytes =
        layout.storage_layout().groups[0].layers[0].bytes_per_block.value();
    bytes_.assign(static_cast<std::size_t>(1 + num_blocks * bytes + 64),
                  kPoison);
    view_ = layout.View(bytes_.data() + 1, 0, 0, KvRole::kKey);
  }
  PoisonedBlocks(const PoisonedBlocks& other)
      : bytes_(other.bytes_), view_(other.view_) {
    view_.base = bytes_.data() + 1;
  }
  PoisonedBlocks& operator=(const PoisonedBlocks&) = delete;

  [[nodiscard]] KvTensorView& view() { return view_; }
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  KvTensorView view_;
};

/// Rows with gaps between tokens and heads, poisoned.
class PoisonedRows {
 public:
  PoisonedRows(KvDtype dtype, const KvTensor& tensor, std::int64_t num_tokens,
               std::int64_t gap)
      : dtype_(dtype),
        head_stride_(tensor.head_size + gap),
        token_stride_(tensor.heads * head_stride_ + gap) {
    bytes_.assign(static_cast<std::size_t>(1 + num_tokens * token_stride_ *
                                                   KvDtypeBits(dtype) / 8),
                  kPoison);
  }

  [[nodiscard]] KvRows rows() {
    return {bytes_.data() + 1, dtype_, token_stride_, head_stride_};
  }
  [[nodiscard]] ConstKvRows const_rows() const {
    return {bytes_.data() + 1, dtype_, token_stride_, head_stride_};
  }
  [[nodiscard]] std::byte* row(std::int64_t token, std::int64_t head) {
    return bytes_.data() + 1 +
           (token * token_stride_ + head * head_stride_) * KvDtypeBits(dtype_) /
               8;
  }
  [[nodiscard]] std::vector<std::byte>& bytes() { return bytes_; }

 private:
  KvDtype dtype_;
  std::int64_t head_stride_;
  std::int64_t token_stride_;
  std::vector<std::byte> bytes_;
};

/// The rows of elements that tests are about.
enum class Elements {
  kOrdinary,  ///< between -4 and 4, as keys and values are
  kAnyBits,   ///< any number there is, infinities and NaN among them
  kVaried,    ///< of one magnitude in a vector, of any between vectors
};

inline float RandomElement(std::mt19937& random, Elements elements, int scale) {
  const auto word = static_cast<std::uint32_t>(random());
  if (elements == Elements::kAnyBits) return std::bit_cast<float>(word);
  const float ordinary =
      static_cast<float>(static_cast<std::int32_t>(word)) * 0x1p-29F;
  if (elements == Elements::kOrdinary) return ordinary;
  return word % 16 == 0
             ? 0.0F
             : ordinary * std::bit_cast<float>(
                              static_cast<std::uint32_t>(127 + scale) << 23);
}

inline void FillRows(PoisonedRows& rows, KvDtype dtype, const KvTensor& tensor,
                     std::int64_t num_tokens, Elements elements,
                     std::mt19937& random) {
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    for (std::int64_t head = 0; head < tensor.heads; ++head) {
      // Up to 2^14: a zero point in 16 bits holds it.
      const int scale = static_cast<int>(random() % 40) - 27;
      for (std::int32_t i = 0; i < tensor.head_size; ++i) {
        StoreElement(dtype, rows.row(t, head), i,
                     RandomElement(random, elements, scale));
      }
    }
  }
}

}  // namespace pagedkv

#endif  // TESTS_ALLOCATOR_KERNELS_KERNEL_DATA_H_
