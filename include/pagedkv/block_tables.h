// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_BLOCK_TABLES_H_
#define PAGEDKV_BLOCK_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// Block tables as kernels read them: int32 block ids, row-major. Row r holds
/// the table of the sequence in row r from its start, then null blocks.
struct DenseBlockTables {
  const std::int32_t* data = nullptr;  ///< [num_rows, row_stride]
  std::int32_t num_rows = 0;
  std::int32_t row_stride = 0;  ///< in entries
};

/// Entries [begin, end) of one row, changed since the last `ClearDirty`.
struct DirtyRange {
  std::int32_t row = 0;
  std::int32_t begin = 0;
  std::int32_t end = 0;
  friend bool operator==(const DirtyRange&, const DirtyRange&) = default;
};

/// The tables of a batch in compressed rows, the form of FlashInfer's paged KV
/// cache: the blocks of sequence i of the batch are
/// `indices[indptr[i]] ... indices[indptr[i + 1] - 1]`, and the last of them
/// holds `last_page_len[i]` tokens. Reused from step to step, the vectors do
/// not allocate once they have grown to the batch.
struct CsrBlockTables {
  std::vector<std::int32_t> indptr;         ///< [batch + 1]
  std::vector<std::int32_t> indices;        ///< [indptr[batch]]
  std::vector<std::int32_t> last_page_len;  ///< [batch], 0 if it has no tokens
};

/// The block tables of one KV cache group, for all sequences of a manager, kept
/// in the form that a device wants: rows of one dense matrix, with a record of
/// what changed, so that an upload copies only that. A sequence keeps its row
/// from its creation to its release.
///
/// Invariants: entries past a row's length are null blocks; a copy of the
/// matrix to which every dirty range was applied equals the matrix.
/// Thread-compatible. Filled by `KvCacheManager`; a client reads it.
class BlockTables {
 public:
  /// An empty matrix. REQUIRES: blocks_per_row >= 1.
  explicit BlockTables(std::int32_t blocks_per_row);

  /// The matrix. It moves when rows are added and no spare one is left; valid
  /// until the next change.
  [[nodiscard]] DenseBlockTables dense() const {
    return {RawIds(entries_.data()), static_cast<std::int32_t>(lengths_.size()),
            row_stride_};
  }
  /// The table in `row`, without the padding; valid until the next change.
  /// REQUIRES: 0 <= row < dense().num_rows.
  [[nodiscard]] std::span<const BlockId> row(std::int32_t row) const {
    return {entries_.data() + Offset(row),
            static_cast<std::size_t>(lengths_[static_cast<std::size_t>(row)])};
  }
  [[nodiscard]] std::int32_t length(std::int32_t row) const {
    return lengths_[static_cast<std::size_t>(row)];
  }
  [[nodiscard]] std::int32_t max_blocks_per_row() const {
    return blocks_per_row_;
  }

  /// What changed since the last `ClearDirty`: at most one range for each row,
  /// which covers all its changes. Appending to k rows costs k small ranges,
  /// independent of the lengths of the tables.
  [[nodiscard]] std::span<const DirtyRange> dirty_ranges() const {
    return dirty_;
  }
  void ClearDirty();

  // Changes, made by the manager.

  /// Adds empty rows until there are `num_rows`.
  void GrowTo(std::int32_t num_rows);
  /// Lengthens the table in `row` by `count` entries and returns them, to be
  /// filled by the caller before anything else is called.
  /// REQUIRES: length(row) + count <= max_blocks_per_row().
  std::span<BlockId> Extend(std::int32_t row, std::int32_t count);
  /// Replaces one entry. REQUIRES: index < length(row).
  void Set(std::int32_t row, std::int32_t index, BlockId block);
  /// Shortens the table in `row` to `length` entries; the rest becomes null.
  /// REQUIRES: length <= length(row).
  void Shrink(std::int32_t row, std::int32_t length);

  /// Internal, naming the row, if an invariant is broken. O(matrix).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static const std::int32_t* RawIds(const BlockId* ids) {
    static_assert(sizeof(BlockId) == sizeof(std::int32_t));
    return reinterpret_cast<const std::int32_t*>(ids);
  }
  [[nodiscard]] std::size_t Offset(std::int32_t row) const {
    return static_cast<std::size_t>(row) *
           static_cast<std::size_t>(row_stride_);
  }
  void MarkDirty(std::int32_t row, std::int32_t begin, std::int32_t end);

  std::int32_t blocks_per_row_;
  std::int32_t row_stride_;
  std::vector<BlockId> entries_;           // [rows, row_stride_]
  std::vector<std::int32_t> lengths_;      // [rows]
  std::vector<std::int32_t> dirty_index_;  // [rows], into dirty_, or -1
  std::vector<DirtyRange> dirty_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_TABLES_H_
