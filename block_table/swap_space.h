// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_SWAP_SPACE_H_
#define BLOCK_TABLE_SWAP_SPACE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_pool.h"
#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// The swap space of one manager: which of its blocks hold what of which
/// sequence, and the moves that are asked for. It has blocks of its own, with
/// ids from 1; which blocks of the pool they stand for is the manager's
/// business.
///
/// A swap block is referenced once for each table entry that names it, and
/// once for each that did until a move out of it was asked for in the step
/// under way: nothing else may be written there before that is done.
///
/// Invariant, tested by `CheckInvariants`:
///   ref_count(b) == number of table entries and reads that name b
/// Thread-compatible.
class SwapSpace {
 public:
  /// `num_blocks` blocks, for sequences of `num_groups` KV cache groups.
  /// InvalidArgument if there are too many.
  static absl::StatusOr<std::unique_ptr<SwapSpace>> Create(
      BlockCount num_blocks, std::size_t num_groups);

  [[nodiscard]] BlockCount num_blocks() const {
    return pool_.num_blocks() - BlockCount(1);
  }
  [[nodiscard]] BlockCount num_free() const { return pool_.num_free(); }
  /// What the sequence in `row` has in one group, by block index; null where it
  /// has nothing. Empty if it is not swapped.
  [[nodiscard]] std::span<const BlockId> table(std::size_t row,
                                               std::size_t group) const {
    const std::size_t index = row * num_groups_ + group;
    if (index >= tables_.size()) return {};
    return tables_[index];
  }

  /// Fills `blocks` with free ones. REQUIRES: there are enough.
  void Take(std::span<BlockId> blocks);
  /// The table of a sequence that is swapped out: each block was taken, and is
  /// referenced once more for each further entry that names it.
  void SetTable(std::size_t row, std::size_t group,
                std::vector<BlockId> table) {
    const std::size_t index = row * num_groups_ + group;
    if (index >= tables_.size()) tables_.resize(index + 1);
    tables_[index] = std::move(table);
  }
  void Share(std::span<const BlockId> blocks);
  /// The sequence is swapped in: its blocks stay taken until `BeginStep`.
  void MoveOut(std::size_t row);
  /// The sequence is gone.
  void Drop(std::size_t row);

  /// The moves of the step under way.
  std::vector<BlockSwap>& swap_outs() { return swap_outs_; }
  std::vector<BlockSwap>& swap_ins() { return swap_ins_; }
  [[nodiscard]] std::span<const BlockSwap> swap_outs() const {
    return swap_outs_;
  }
  [[nodiscard]] std::span<const BlockSwap> swap_ins() const {
    return swap_ins_;
  }
  /// The moves were taken over, to be done before any that comes after.
  void BeginStep();

  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  SwapSpace(BlockPool pool, std::size_t num_groups)
      : pool_(std::move(pool)), num_groups_(num_groups) {}

  BlockPool pool_;
  std::size_t num_groups_;
  std::vector<std::vector<BlockId>> tables_;  // [rows * groups]
  std::vector<BlockId> read_;                 // in the step under way
  std::vector<BlockSwap> swap_outs_;
  std::vector<BlockSwap> swap_ins_;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_SWAP_SPACE_H_
