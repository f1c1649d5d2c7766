// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_SLOT_SANITIZER_H_
#define PAGEDKV_SLOT_SANITIZER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Finds reads of slots that were never written since their block was issued:
/// of another owner's bytes, or of none. It follows what an engine does, and
/// touches no memory but its own, so that it serves for any device. In each
/// step: `OnStep` with what comes before the writes, `OnWrite` with the slot
/// mapping of each group, then `CheckRead` for each sequence that attends.
/// Needs `KvCacheManagerOptions::list_fresh_blocks`.
///
/// One bit for each slot of the largest block size, whatever the group. For
/// tests and for the search of a mistake: a check costs O(tokens read).
/// Thread-compatible.
class SlotSanitizer {
 public:
  /// `num_blocks` as the pool has at most, the null block included;
  /// `block_sizes` those of the groups, in their order. InvalidArgument for
  /// fewer than one of either.
  static absl::StatusOr<SlotSanitizer> Create(
      BlockCount num_blocks, std::span<const BlockSize> block_sizes);

  /// The lists of a step, in the order of `BlockStorage::PrepareStep`:
  /// `swap_space` is the sanitizer of the swap space, and may be null where
  /// nothing is swapped. InvalidArgument for what the lists name and is not
  /// there; then nothing is known of the step.
  absl::Status OnStep(const StepMoves& moves,
                      SlotSanitizer* swap_space = nullptr);
  /// The step writes these slots, as in `StepPlan::slot_mapping`; negative ones
  /// are padding. InvalidArgument for a slot that is not there.
  absl::Status OnWrite(int group, std::span<const std::int64_t> slots);

  /// Whether the tokens from `first` up to `num_tokens` of a sequence were
  /// written, where `table` says that they lie; entries that are null are not
  /// looked at. FailedPrecondition, naming sequence, group, block and offset,
  /// for the first that was not, or lies behind the table.
  [[nodiscard]] absl::Status CheckRead(SequenceId sequence, int group,
                                       std::span<const BlockId> table,
                                       TokenCount num_tokens,
                                       TokenCount first = {}) const;

  /// Whether a slot of a block was written since the block was issued.
  /// REQUIRES: both are there.
  [[nodiscard]] bool is_written(BlockId block, std::int32_t offset) const;

 private:
  static constexpr std::int32_t kBits = 64;

  SlotSanitizer(BlockCount num_blocks, std::span<const BlockSize> block_sizes);

  [[nodiscard]] std::span<std::uint64_t> Words(BlockId block);
  [[nodiscard]] bool Has(BlockId block) const {
    return block.value() >= 0 && block.value() < num_blocks_;
  }
  [[nodiscard]] absl::Status CheckMove(const char* what, std::size_t index,
                                       int group, bool has_blocks,
                                       std::int32_t num_tokens) const;
  absl::Status Swap(SlotSanitizer* swap_space, std::span<const BlockSwap> swaps,
                    SwapDirection direction);
  absl::Status Clear(std::span<const FreshBlock> fresh,
                     std::int32_t after_copies);
  static void Copy(std::span<const std::uint64_t> from,
                   std::span<std::uint64_t> to, std::int32_t num_tokens);

  std::int64_t num_blocks_;
  std::vector<BlockSize> block_sizes_;  // [groups]
  std::size_t words_per_block_ = 1;
  std::vector<std::uint64_t> written_;  // [blocks][words_per_block]
};

}  // namespace pagedkv

#endif  // PAGEDKV_SLOT_SANITIZER_H_
