// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/kv_tile.h"

#include <algorithm>
#include <cstddef>

#include "allocator/kernels/vector_codec.h"

namespace pagedkv {
namespace {

std::ptrdiff_t ByteOffset(KvDtype dtype, std::int64_t elements) {
  return elements * (KvDtypeBits(dtype) / 8);
}

}  // namespace

void LoadRow(const ConstKvRows& rows, std::int64_t row, std::int32_t head,
             std::int32_t first, std::int32_t size, float* elements) {
  const std::byte* vector =
      rows.data + ByteOffset(rows.dtype, row * rows.token_stride +
                                             head * rows.head_stride + first);
  for (std::int32_t i = 0; i < size; ++i) {
    elements[i] = LoadElement(rows.dtype, vector, i);
  }
}

void StoreRow(const KvRows& rows, std::int64_t row, std::int32_t head,
              std::int32_t size, const float* elements) {
  std::byte* vector =
      rows.data +
      ByteOffset(rows.dtype, row * rows.token_stride + head * rows.head_stride);
  for (std::int32_t i = 0; i < size; ++i) {
    StoreElement(rows.dtype, vector, i, elements[i]);
  }
}

void LoadTile(const KvSource& source, std::int32_t head, std::int64_t first,
              TokenRange range, float* tile, std::int32_t stride) {
  const KvTensorView& view = *source.view;
  const std::int32_t size = view.tensor.head_size;
  for (std::int32_t t = range.begin; t < range.end; ++t) {
    const std::int64_t position = first + t;
    float* vector = tile + std::ptrdiff_t{t} * stride;
    if (source.residual != nullptr && position >= source.first_residual) {
      LoadRow(*source.residual, position - source.first_residual, head, 0, size,
              vector);
    } else {
      const std::int64_t block = position / view.block_size;
      DecodeVector(view, source.table[block].value(),
                   position - block * view.block_size, head, vector);
    }
    std::fill(vector + size, vector + PaddedSize(size), 0.0F);
  }
}

}  // namespace pagedkv
