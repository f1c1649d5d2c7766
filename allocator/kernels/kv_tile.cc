// SPDX-License-Identifier: Apache-2.0
#include "allocator/kernels/kv_tile.h"

#include <algorithm>
#include <cstring>

namespace pagedkv {
namespace {
void DecodeVector(const KvTensorView& view, BlockId block, std::int32_t token,
                  std::int32_t head, float* out) {
  std::memcpy(out,
              view.base + block.value() * view.block_stride +
                  token * view.token_stride + head * view.head_stride,
              static_cast<std::size_t>(view.tensor.head_size) * sizeof(float));
}
}  // namespace

void LoadTile(const KvTensorView& view, const BlockId* table, std::int32_t head,
              std::int64_t first, TokenRange range, float* tile,
              std::int32_t stride) {
  if (range.empty()) return;
  const std::int32_t size = view.tensor.head_size;
  const std::int64_t position = first + range.begin;
  const BlockId* block = table + position / view.block_size;
  auto token = static_cast<std::int32_t>(position % view.block_size);
  for (std::int32_t row = range.begin; row < range.end; ++row) {
    float* vector = tile + static_cast<std::ptrdiff_t>(row) * stride;
    DecodeVector(view, *block, token, head, vector);
    std::fill(vector + size, vector + PaddedSize(size), 0.0F);
    if (++token == view.block_size) {
      token = 0;
      ++block;
    }
  }
}

}  // namespace pagedkv
