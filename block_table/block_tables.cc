// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_tables.h"

#include <algorithm>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// Rows start on a cache line of their own.
constexpr std::int32_t kRowAlignment = 64 / sizeof(BlockId);

constexpr std::int32_t kClean = -1;

}  // namespace

BlockTables::BlockTables(std::int32_t blocks_per_row)
    : blocks_per_row_(blocks_per_row),
      row_stride_((blocks_per_row + kRowAlignment - 1) / kRowAlignment *
                  kRowAlignment) {
  PAGEDKV_CHECK(blocks_per_row >= 1);
}

void BlockTables::GrowTo(std::int32_t num_rows) {
  const auto rows = static_cast<std::size_t>(num_rows);
  if (rows <= lengths_.size()) return;
  entries_.resize(rows * static_cast<std::size_t>(row_stride_), kNullBlock);
  lengths_.resize(rows, 0);
  dirty_index_.resize(rows, kClean);
  dirty_.reserve(lengths_.capacity());
}

std::span<BlockId> BlockTables::Extend(std::int32_t row, std::int32_t count) {
  std::int32_t& length = lengths_[static_cast<std::size_t>(row)];
  PAGEDKV_CHECK(count <= blocks_per_row_ - length);
  const std::span<BlockId> added(
      entries_.data() + Offset(row) + static_cast<std::size_t>(length),
      static_cast<std::size_t>(count));
  if (count > 0) MarkDirty(row, length, length + count);
  length += count;
  return added;
}

void BlockTables::Set(std::int32_t row, std::int32_t index, BlockId block) {
  PAGEDKV_CHECK(index < length(row));
  entries_[Offset(row) + static_cast<std::size_t>(index)] = block;
  MarkDirty(row, index, index + 1);
}

void BlockTables::Shrink(std::int32_t row, std::int32_t length) {
  std::int32_t& current = lengths_[static_cast<std::size_t>(row)];
  PAGEDKV_CHECK(length <= current);
  if (length == current) return;
  std::fill_n(entries_.data() + Offset(row) + static_cast<std::size_t>(length),
              current - length, kNullBlock);
  MarkDirty(row, length, current);
  current = length;
}

void BlockTables::MarkDirty(std::int32_t row, std::int32_t begin,
                            std::int32_t end) {
  std::int32_t& index = dirty_index_[static_cast<std::size_t>(row)];
  if (index == kClean) {
    index = static_cast<std::int32_t>(dirty_.size());
    dirty_.push_back({row, begin, end});
    return;
  }
  DirtyRange& range = dirty_[static_cast<std::size_t>(index)];
  range.begin = std::min(range.begin, begin);
  range.end = std::max(range.end, end);
}

void BlockTables::ClearDirty() {
  for (const DirtyRange& range : dirty_) {
    dirty_index_[static_cast<std::size_t>(range.row)] = kClean;
  }
  dirty_.clear();
}

absl::Status BlockTables::CheckInvariants() const {
  for (std::int32_t row = 0; row < dense().num_rows; ++row) {
    if (length(row) < 0 || length(row) > blocks_per_row_) {
      return absl::InternalError(
          absl::StrFormat("row %d has %d blocks of at most %d", row,
                          length(row), blocks_per_row_));
    }
    for (std::int32_t i = length(row); i < row_stride_; ++i) {
      if (entries_[Offset(row) + static_cast<std::size_t>(i)] != kNullBlock) {
        return absl::InternalError(
            absl::StrFormat("row %d has %d blocks, yet entry %d is not null",
                            row, length(row), i));
      }
    }
  }
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const DirtyRange& range = dirty_[i];
    if (range.begin >= range.end ||
        dirty_index_[static_cast<std::size_t>(range.row)] !=
            static_cast<std::int32_t>(i)) {
      return absl::InternalError(
          absl::StrFormat("row %d has an unusable dirty range [%d, %d)",
                          range.row, range.begin, range.end));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
