// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "allocator/kernels/kernel_arguments.h"
#include "allocator/kernels/simd_kernels.h"
#include "allocator/kernels/vector_codec.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {
namespace {

std::int64_t VectorBytes(const KvTensorView& view) {
  return std::int64_t{view.tensor.head_size} *
         KvDtypeBits(view.tensor.format.dtype) / 8;
}

// Heads that lie one behind the other in rows and blocks, and share their
// scale, are as well one head: fewer and longer runs.
template <typename Rows>
KvTensorView WithMergedHeads(KvTensorView view, const Rows& rows) {
  if (view.tensor.format.scheme == ScaleScheme::kTensor &&
      view.head_stride == VectorBytes(view) &&
      rows.head_stride == view.tensor.head_size) {
    view.tensor.head_size *= view.tensor.heads;
    view.tensor.heads = 1;
  }
  return view;
}

// The same bytes inside of blocks and outside.
bool IsCopy(const KvTensorView& view, KvDtype row_dtype) {
  return view.tensor.format.dtype == row_dtype;
}

// What lies at `source` or `target`: a vector for each token and head.
template <typename Byte>
struct Vectors {
  Byte* data;
  std::int64_t token_stride;  // bytes
  std::int64_t head_stride;   // bytes
};

// `bytes` for each of `tokens` and `heads`.
void CopyVectors(const Vectors<const std::byte>& source,
                 const Vectors<std::byte>& target, std::int64_t tokens,
                 std::int64_t heads, std::int64_t bytes) {
  if (source.token_stride == bytes && target.token_stride == bytes) {
    bytes *= tokens;
    tokens = 1;
  }
  for (std::int64_t head = 0; head < heads; ++head) {
    const std::byte* from = source.data + head * source.head_stride;
    std::byte* to = target.data + head * target.head_stride;
    for (std::int64_t token = 0; token < tokens; ++token) {
      std::memcpy(to, from, static_cast<std::size_t>(bytes));
      from += source.token_stride;
      to += target.token_stride;
    }
  }
}

Vectors<std::byte> InBlock(const KvTensorView& view, std::int64_t block,
                           std::int64_t token) {
  return {VectorAddress(view, block, token, 0), view.token_stride,
          view.head_stride};
}

// Row `index` and those behind it.
template <typename Byte, typename Rows>
Vectors<Byte> InRows(const Rows& rows, std::int64_t index) {
  const std::int64_t element = KvDtypeBits(rows.dtype) / 8;
  return {rows.data + index * rows.token_stride * element,
          rows.token_stride * element, rows.head_stride * element};
}

void ScatterCopies(const KvTensorView& view, const ConstKvRows& rows,
                   std::span<const std::int64_t> slots) {
  const auto num_slots = static_cast<std::int64_t>(slots.size());
  for (std::int64_t i = 0; i < num_slots;) {
    const std::int64_t slot = slots[static_cast<std::size_t>(i)];
    if (slot < 0) {
      ++i;
      continue;
    }
    // Neighbours in a block go together.
    const std::int64_t token = slot % view.block_size;
    const std::int64_t most = std::min(num_slots - i, view.block_size - token);
    std::int64_t count = 1;
    while (count < most &&
           slots[static_cast<std::size_t>(i + count)] == slot + count) {
      ++count;
    }
    CopyVectors(InRows<const std::byte>(rows, i),
                InBlock(view, slot / view.block_size, token), count,
                view.tensor.heads, VectorBytes(view));
    i += count;
  }
}

void GatherCopies(const KvTensorView& view, std::span<const BlockId> table,
                  std::int64_t first, std::int64_t num_tokens,
                  const KvRows& rows) {
  for (std::int64_t i = 0; i < num_tokens;) {
    const std::int64_t position = first + i;
    const std::int64_t token = position % view.block_size;
    const std::int64_t count =
        std::min(num_tokens - i, view.block_size - token);
    const std::int64_t block =
        table[static_cast<std::size_t>(position / view.block_size)].value();
    const Vectors<std::byte> source = InBlock(view, block, token);
    CopyVectors({source.data, source.token_stride, source.head_stride},
                InRows<std::byte>(rows, i), count, view.tensor.heads,
                VectorBytes(view));
    i += count;
  }
}

// Groups of elements that do not fill bytes: rare, so one by one.
void ScatterPlain(const KvTensorView& view, const ConstKvRows& rows,
                  std::span<const std::int64_t> slots) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] < 0) continue;
    const Vectors<const std::byte> row =
        InRows<const std::byte>(rows, static_cast<std::int64_t>(i));
    for (std::int64_t head = 0; head < view.tensor.heads; ++head) {
      const std::byte* vector = row.data + head * row.head_stride;
      EncodeVector(
          view, slots[i] / view.block_size, slots[i] % view.block_size, head,
          [&](std::int32_t e) { return LoadElement(rows.dtype, vector, e); });
    }
  }
}

void GatherPlain(const KvTensorView& view, std::span<const BlockId> table,
                 std::int64_t first, std::int64_t num_tokens,
                 const KvRows& rows) {
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const std::int64_t position = first + i;
    const std::int64_t block =
        table[static_cast<std::size_t>(position / view.block_size)].value();
    const Vectors<std::byte> row = InRows<std::byte>(rows, i);
    for (std::int64_t head = 0; head < view.tensor.heads; ++head) {
      std::byte* vector = row.data + head * row.head_stride;
      for (std::int32_t e = 0; e < view.tensor.head_size; ++e) {
        StoreElement(
            rows.dtype, vector, e,
            LoadElement(view, block, position % view.block_size, head, e));
      }
    }
  }
}

}  // namespace

absl::Status ScatterKv(const KvTensorView& view, const ConstKvRows& rows,
                       std::span<const std::int64_t> slots) {
  absl::Status status = CheckView(view, "view");
  if (!status.ok() || view.tensor.heads == 0 || slots.empty()) return status;
  if (status = CheckRows(rows, "rows"); !status.ok()) return status;
  if (view.tensor.format.scheme == ScaleScheme::kChannel) {
    if (status = CheckChannelSlots(view, slots); !status.ok()) return status;
  }
  const KvTensorView merged = WithMergedHeads(view, rows);
  if (IsCopy(view, rows.dtype)) {
    ScatterCopies(merged, rows, slots);
  } else if (HasSimdKernels(view)) {
    ScatterSimd(merged, rows, slots);
  } else {
    ScatterPlain(view, rows, slots);
  }
  return absl::OkStatus();
}

absl::Status GatherKv(const KvTensorView& view, std::span<const BlockId> table,
                      std::int64_t first, std::int64_t num_tokens,
                      const KvRows& rows) {
  absl::Status status = CheckView(view, "view");
  if (!status.ok()) return status;
  if (first < 0 || num_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "first is %d and num_tokens %d: neither may be negative", first,
        num_tokens));
  }
  if (view.tensor.heads == 0 || num_tokens == 0) return absl::OkStatus();
  const auto slots = static_cast<std::int64_t>(table.size()) * view.block_size;
  if (num_tokens > slots || first > slots - num_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "table has %d slots, and %d tokens from %d on are wanted", slots,
        num_tokens, first));
  }
  if (status = CheckRows(rows, "rows"); !status.ok()) return status;
  const KvTensorView merged = WithMergedHeads(view, rows);
  if (IsCopy(view, rows.dtype)) {
    GatherCopies(merged, table, first, num_tokens, rows);
  } else if (HasSimdKernels(view)) {
    GatherSimd(merged, table, first, num_tokens, rows);
  } else {
    GatherPlain(view, table, first, num_tokens, rows);
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
