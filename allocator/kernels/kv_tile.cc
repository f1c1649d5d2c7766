// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/kv_tile.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr BlockId kOnlyBlock[] = {BlockId(0)};

// Dequantises the only head of `view`.
void Read(const KvTensorView& view, std::span<const BlockId> table,
          std::int64_t first, std::int64_t num_tokens, float* vectors,
          std::int32_t stride) {
  // The arguments were checked for the whole of the call.
  const absl::Status status =
      GatherKv(view, table, first, num_tokens,
               {.data = reinterpret_cast<std::byte*>(vectors),
                .dtype = KvDtype::kFp32,
                .token_stride = stride,
                .head_stride = stride});
  PAGEDKV_DCHECK(status.ok());
}

}  // namespace

KvTensorView HeadOf(const KvTensorView& view, std::int32_t head) {
  KvTensorView one = view;
  const std::int64_t vectors = head * view.head_stride;
  one.base += vectors;
  // Scales are found from the base as well.
  one.scale_offset += head * view.scale_head_stride - vectors;
  one.tensor.heads = 1;
  return one;
}

KvTensorView AsBlock(const ConstKvRows& rows, std::int32_t heads,
                     std::int32_t head_size) {
  const std::int64_t element = KvDtypeBits(rows.dtype) / 8;
  KvTensorView view;
  // Read only; but views are of what can be written.
  view.base = const_cast<std::byte*>(rows.data);
  view.token_stride = rows.token_stride * element;
  view.head_stride = rows.head_stride * element;
  view.tensor = {heads, head_size, KvFormat::For(rows.dtype)};
  view.block_size = std::numeric_limits<std::int32_t>::max();
  return view;
}

void LoadTile(const KvSource& source, std::int64_t first, TokenRange range,
              float* tile, std::int32_t stride) {
  if (range.empty()) return;
  const KvTensorView& view = source.blocks;
  const std::int64_t begin = first + range.begin;
  const std::int64_t end = first + range.end;
  const std::int64_t in_blocks =
      std::clamp(source.first_residual, begin, end) - begin;
  float* vectors = tile + std::ptrdiff_t{range.begin} * stride;
  if (in_blocks > 0) {
    const std::int64_t covering =
        (begin + in_blocks + view.block_size - 1) / view.block_size;
    Read(view, {source.table, static_cast<std::size_t>(covering)}, begin,
         in_blocks, vectors, stride);
  }
  if (begin + in_blocks < end) {
    Read(source.residual, kOnlyBlock, begin + in_blocks - source.first_residual,
         end - begin - in_blocks, vectors + in_blocks * stride, stride);
  }
  const std::int32_t size = view.tensor.head_size;
  if (size == PaddedSize(size)) return;
  for (std::int32_t t = range.begin; t < range.end; ++t) {
    float* vector = tile + std::ptrdiff_t{t} * stride;
    std::fill(vector + size, vector + PaddedSize(size), 0.0F);
  }
}

void LoadRow(const ConstKvRows& rows, std::int64_t row, std::int32_t head,
             std::int32_t first, std::int32_t size, float* elements) {
  if (size == 0) return;
  KvTensorView view = HeadOf(AsBlock(rows, head + 1, size), head);
  view.base += first * (KvDtypeBits(rows.dtype) / 8);
  Read(view, kOnlyBlock, row, 1, elements, size);
}

void StoreRow(const KvRows& rows, std::int64_t row, std::int32_t head,
              std::int32_t size, const float* elements) {
  const KvTensorView view = HeadOf(
      AsBlock({rows.data, rows.dtype, rows.token_stride, rows.head_stride},
              head + 1, size),
      head);
  const std::int64_t slots[] = {row};
  const absl::Status status =
      ScatterKv(view,
                {.data = reinterpret_cast<const std::byte*>(elements),
                 .dtype = KvDtype::kFp32,
                 .token_stride = size,
                 .head_stride = size},
                slots);
  PAGEDKV_DCHECK(status.ok());
}

}  // namespace pagedkv
