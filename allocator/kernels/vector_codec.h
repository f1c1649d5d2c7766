// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KERNELS_VECTOR_CODEC_H_
#define ALLOCATOR_KERNELS_VECTOR_CODEC_H_

/// Where vectors and scales lie in blocks, and how a vector is written there
/// and read back: what each kernel does, in its plainest form. Host and device
/// compile the same text. Indices are trusted.

#include <cstddef>
#include <cstdint>

#include "allocator/kernels/element_codec.h"
#include "pagedkv/kv_tensor.h"

namespace pagedkv {

/// Of a vector.
[[nodiscard]] constexpr std::byte* VectorAddress(const KvTensorView& view,
                                                 std::int64_t block,
                                                 std::int64_t token,
                                                 std::int64_t head) {
  return view.base + block * view.block_stride + token * view.token_stride +
         head * view.head_stride;
}
/// Of entry `index` of a vector, or with kChannel of a run of tokens: `row` is
/// the token or the run, `index` the group or the channel.
[[nodiscard]] constexpr std::byte* ScaleAddress(const KvTensorView& view,
                                                std::int64_t block,
                                                std::int64_t row,
                                                std::int64_t head,
                                                std::int64_t index) {
  return view.base + block * view.block_stride + view.scale_offset +
         row * view.scale_token_stride + head * view.scale_head_stride +
         index * view.scale_bytes();
}

/// Integers of 1, 2 or 4 bytes, from the low byte up, at any address.
[[nodiscard]] constexpr std::uint32_t LoadBytes(const std::byte* from,
                                                int bytes) {
  const auto byte = [from](int i) {
    return std::to_integer<std::uint32_t>(from[i]) << (8 * i);
  };
  // No loop: compilers make one load of it.
  if (bytes == 1) return byte(0);
  if (bytes == 2) return byte(0) | byte(1);
  return byte(0) | byte(1) | byte(2) | byte(3);
}
constexpr void StoreBytes(std::byte* to, int bytes, std::uint32_t value) {
  to[0] = static_cast<std::byte>(value & 0xff);
  if (bytes == 1) return;
  to[1] = static_cast<std::byte>(value >> 8 & 0xff);
  if (bytes == 2) return;
  to[2] = static_cast<std::byte>(value >> 16 & 0xff);
  to[3] = static_cast<std::byte>(value >> 24);
}

/// The bits of element `index` of a vector.
[[nodiscard]] constexpr std::uint32_t LoadElementBits(KvDtype dtype,
                                                      const std::byte* vector,
                                                      std::int64_t index) {
  const int bits = KvDtypeBits(dtype);
  if (bits >= 8) return LoadBytes(vector + index * (bits / 8), bits / 8);
  const int per_byte = 8 / bits;
  return std::to_integer<std::uint32_t>(vector[index / per_byte]) >>
             (bits * static_cast<int>(index % per_byte)) &
         ((1U << bits) - 1);
}
/// Elements of less than a byte are written beside their neighbours: a byte is
/// for one thread only.
constexpr void StoreElementBits(KvDtype dtype, std::byte* vector,
                                std::int64_t index, std::uint32_t value) {
  const int bits = KvDtypeBits(dtype);
  if (bits >= 8) {
    StoreBytes(vector + index * (bits / 8), bits / 8, value);
    return;
  }
  const int per_byte = 8 / bits;
  const int shift = bits * static_cast<int>(index % per_byte);
  std::byte& byte = vector[index / per_byte];
  const auto others =
      std::to_integer<std::uint32_t>(byte) & ~(((1U << bits) - 1) << shift);
  byte = static_cast<std::byte>(others | value << shift);
}

/// An element of fp32, fp16 or bf16, which have no scale.
[[nodiscard]] constexpr float LoadElement(KvDtype dtype,
                                          const std::byte* vector,
                                          std::int64_t index) {
  return DecodeElement({.dtype = dtype}, {},
                       LoadElementBits(dtype, vector, index));
}
constexpr void StoreElement(KvDtype dtype, std::byte* vector,
                            std::int64_t index, float value) {
  StoreElementBits(dtype, vector, index,
                   EncodeElement({.dtype = dtype}, {}, 1, value));
}

/// A scale, and the zero point behind it, at `entry`.
[[nodiscard]] constexpr ScaleEntry LoadScale(const KvFormat& format,
                                             const std::byte* entry) {
  const auto load = [entry](std::int32_t begin, std::int32_t bits) {
    const std::uint32_t value = LoadBytes(entry + begin / 8, bits / 8);
    return bits == 16 ? Fp16::Decode(value) : std::bit_cast<float>(value);
  };
  ScaleEntry loaded{.scale = load(0, format.scale_bits)};
  if (format.zero_point_bits != 0) {
    loaded.zero = load(format.scale_bits, format.zero_point_bits);
  }
  return loaded;
}
/// `value` as `ChooseScale` gives it: the entry holds it exactly.
constexpr void StoreScale(const KvFormat& format, std::byte* entry,
                          const ScaleEntry& value) {
  const auto store = [entry](std::int32_t begin, std::int32_t bits,
                             float number) {
    StoreBytes(entry + begin / 8, bits / 8,
               bits == 16 ? Fp16::Encode(number)
                          : std::bit_cast<std::uint32_t>(number));
  };
  store(0, format.scale_bits, value.scale);
  if (format.zero_point_bits != 0) {
    store(format.scale_bits, format.zero_point_bits, value.zero);
  }
}

/// The format as the codec of elements sees it: of a scale for the whole tensor
/// there is no zero point.
[[nodiscard]] constexpr KvFormat ElementFormat(const KvTensorView& view) {
  KvFormat format = view.tensor.format;
  if (format.scheme == ScaleScheme::kTensor) format.zero_point_bits = 0;
  return format;
}

/// How many elements of a vector, one behind the other, share a scale.
[[nodiscard]] constexpr std::int32_t ElementsPerScale(
    const KvTensorView& view) {
  switch (view.tensor.format.scheme) {
    case ScaleScheme::kTensor:
    case ScaleScheme::kToken:
      return view.tensor.head_size;
    case ScaleScheme::kChannel:
      return 1;
    case ScaleScheme::kGroup:
      return view.tensor.format.group;
  }
  return 1;
}

/// The scale of element `index` of a vector.
[[nodiscard]] constexpr ScaleEntry ScaleOf(const KvTensorView& view,
                                           std::int64_t block,
                                           std::int64_t token,
                                           std::int64_t head,
                                           std::int64_t index) {
  const KvFormat& format = view.tensor.format;
  if (format.scheme == ScaleScheme::kTensor) return {.scale = view.scale};
  const std::int64_t row =
      format.scheme == ScaleScheme::kChannel ? token / view.channel_run : token;
  return LoadScale(format, ScaleAddress(view, block, row, head,
                                        index / ElementsPerScale(view)));
}

/// Element `index` of a vector.
[[nodiscard]] constexpr float LoadElement(const KvTensorView& view,
                                          std::int64_t block,
                                          std::int64_t token, std::int64_t head,
                                          std::int64_t index) {
  return DecodeElement(
      ElementFormat(view), ScaleOf(view, block, token, head, index),
      LoadElementBits(view.tensor.format.dtype,
                      VectorAddress(view, block, token, head), index));
}

/// Writes a vector and its scales; `element(i)` is its element i. Not for a
/// scale per channel, which `EncodeChannelRun` writes.
template <typename Element>
constexpr void EncodeVector(const KvTensorView& view, std::int64_t block,
                            std::int64_t token, std::int64_t head,
                            const Element& element) {
  const KvFormat format = ElementFormat(view);
  std::byte* vector = VectorAddress(view, block, token, head);
  const std::int32_t size = view.tensor.head_size;
  const std::int32_t per_scale = ElementsPerScale(view);
  for (std::int32_t begin = 0; begin < size; begin += per_scale) {
    const std::int32_t end =
        size - begin < per_scale ? size : begin + per_scale;
    ScaleEntry entry{.scale = view.scale};
    if (format.scheme != ScaleScheme::kTensor) {
      ElementRange range;
      for (std::int32_t i = begin; i < end; ++i) range.Add(element(i));
      entry = ChooseScale(format, range);
      StoreScale(format,
                 ScaleAddress(view, block, token, head, begin / per_scale),
                 entry);
    }
    const float inverse = InverseScale(entry.scale);
    for (std::int32_t i = begin; i < end; ++i) {
      StoreElementBits(format.dtype, vector, i,
                       EncodeElement(format, entry, inverse, element(i)));
    }
  }
}
constexpr void EncodeVector(const KvTensorView& view, std::int64_t block,
                            std::int64_t token, std::int64_t head,
                            const float* elements) {
  EncodeVector(view, block, token, head,
               [elements](std::int32_t i) { return elements[i]; });
}

/// Writes the vectors of one head of run `run` of a block, `view.channel_run`
/// tokens, and the scales of its channels; `element(t, i)` is element i of
/// token t of the run.
template <typename Element>
constexpr void EncodeChannelRun(const KvTensorView& view, std::int64_t block,
                                std::int64_t run, std::int64_t head,
                                const Element& element) {
  const KvFormat& format = view.tensor.format;
  for (std::int32_t i = 0; i < view.tensor.head_size; ++i) {
    ElementRange range;
    for (std::int32_t t = 0; t < view.channel_run; ++t) {
      range.Add(element(t, i));
    }
    const ScaleEntry entry = ChooseScale(format, range);
    const float inverse = InverseScale(entry.scale);
    StoreScale(format, ScaleAddress(view, block, run, head, i), entry);
    for (std::int32_t t = 0; t < view.channel_run; ++t) {
      StoreElementBits(
          format.dtype,
          VectorAddress(view, block, run * view.channel_run + t, head), i,
          EncodeElement(format, entry, inverse, element(t, i)));
    }
  }
}

/// Reads a vector: `head_size` floats.
constexpr void DecodeVector(const KvTensorView& view, std::int64_t block,
                            std::int64_t token, std::int64_t head,
                            float* elements) {
  const KvFormat format = ElementFormat(view);
  const std::byte* vector = VectorAddress(view, block, token, head);
  const std::int32_t size = view.tensor.head_size;
  const std::int32_t per_scale = ElementsPerScale(view);
  for (std::int32_t begin = 0; begin < size; begin += per_scale) {
    const std::int32_t end =
        size - begin < per_scale ? size : begin + per_scale;
    const ScaleEntry entry = ScaleOf(view, block, token, head, begin);
    for (std::int32_t i = begin; i < end; ++i) {
      elements[i] = DecodeElement(format, entry,
                                  LoadElementBits(format.dtype, vector, i));
    }
  }
}

}  // namespace pagedkv

#endif  // ALLOCATOR_KERNELS_VECTOR_CODEC_H_
