// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/slot_sanitizer.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {

absl::StatusOr<SlotSanitizer> SlotSanitizer::Create(
    BlockCount num_blocks, std::span<const BlockSize> block_sizes) {
  if (num_blocks < BlockCount(1) ||
      num_blocks.value() > std::numeric_limits<BlockId::rep>::max() ||
      block_sizes.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d blocks and %d groups; give at least one of each, and at most "
        "2^31 - 1 blocks",
        num_blocks.value(), block_sizes.size()));
  }
  return SlotSanitizer(num_blocks, block_sizes);
}

SlotSanitizer::SlotSanitizer(BlockCount num_blocks,
                             std::span<const BlockSize> block_sizes)
    : num_blocks_(num_blocks.value()),
      block_sizes_(block_sizes.begin(), block_sizes.end()) {
  const BlockSize largest =
      *std::max_element(block_sizes_.begin(), block_sizes_.end());
  words_per_block_ =
      static_cast<std::size_t>((largest.value() + kBits - 1) / kBits);
  written_.resize(static_cast<std::size_t>(num_blocks_) * words_per_block_);
}

std::span<std::uint64_t> SlotSanitizer::Words(BlockId block) {
  return std::span(written_).subspan(
      static_cast<std::size_t>(block.value()) * words_per_block_,
      words_per_block_);
}

bool SlotSanitizer::is_written(BlockId block, std::int32_t offset) const {
  PAGEDKV_DCHECK(Has(block) && offset >= 0);
  const std::uint64_t word =
      written_[static_cast<std::size_t>(block.value()) * words_per_block_ +
               static_cast<std::size_t>(offset / kBits)];
  return (word >> (offset % kBits) & 1) != 0;
}

absl::Status SlotSanitizer::CheckMove(const char* what, std::size_t index,
                                      int group, bool has_blocks,
                                      std::int32_t num_tokens) const {
  if (group >= 0 && static_cast<std::size_t>(group) < block_sizes_.size() &&
      has_blocks && num_tokens >= 0 &&
      num_tokens <= block_sizes_[static_cast<std::size_t>(group)].value()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("%s %d names a group, a block or tokens that are not "
                      "there: there are %d groups and %d blocks",
                      what, index, block_sizes_.size(), num_blocks_));
}

// The first `num_tokens` bits.
void SlotSanitizer::Copy(std::span<const std::uint64_t> from,
                         std::span<std::uint64_t> to, std::int32_t num_tokens) {
  for (std::size_t i = 0; num_tokens > 0; ++i, num_tokens -= kBits) {
    const std::uint64_t mask = num_tokens >= kBits
                                   ? ~std::uint64_t{0}
                                   : (std::uint64_t{1} << num_tokens) - 1;
    to[i] = (to[i] & ~mask) | (from[i] & mask);
  }
}

absl::Status SlotSanitizer::Swap(SlotSanitizer* swap_space,
                                 std::span<const BlockSwap> swaps,
                                 SwapDirection direction) {
  for (std::size_t i = 0; i < swaps.size(); ++i) {
    const BlockSwap& swap = swaps[i];
    const bool has_blocks = swap_space != nullptr && Has(swap.block) &&
                            swap_space->Has(swap.swap_block) &&
                            words_per_block_ == swap_space->words_per_block_;
    absl::Status status =
        CheckMove("swap", i, swap.group, has_blocks, swap.num_tokens);
    if (!status.ok()) return status;
    const std::span<std::uint64_t> here = Words(swap.block);
    const std::span<std::uint64_t> there = swap_space->Words(swap.swap_block);
    const bool is_out = direction == SwapDirection::kOut;
    Copy(is_out ? here : there, is_out ? there : here, swap.num_tokens);
  }
  return absl::OkStatus();
}

absl::Status SlotSanitizer::Clear(std::span<const FreshBlock> fresh,
                                  std::int32_t after_copies) {
  for (const FreshBlock& block : fresh) {
    if (block.after_copies != after_copies) continue;
    if (!Has(block.block)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("fresh block %d is not there: there are %d",
                          block.block.value(), num_blocks_));
    }
    std::ranges::fill(Words(block.block), 0);
  }
  return absl::OkStatus();
}

absl::Status SlotSanitizer::OnStep(const StepMoves& moves,
                                   SlotSanitizer* swap_space) {
  absl::Status status = Swap(swap_space, moves.swap_outs, SwapDirection::kOut);
  if (status.ok()) status = Clear(moves.fresh, 0);
  if (status.ok()) {
    status = Swap(swap_space, moves.swap_ins, SwapDirection::kIn);
  }
  const bool some_wait =
      std::any_of(moves.fresh.begin(), moves.fresh.end(),
                  [](const FreshBlock& b) { return b.after_copies != 0; });
  for (std::size_t i = 0; status.ok() && i < moves.copies.size(); ++i) {
    const BlockCopy& copy = moves.copies[i];
    status =
        CheckMove("copy", i, copy.group,
                  Has(copy.source) && Has(copy.destination), copy.num_tokens);
    if (!status.ok()) return status;
    Copy(Words(copy.source), Words(copy.destination), copy.num_tokens);
    if (some_wait) {
      status = Clear(moves.fresh, static_cast<std::int32_t>(i) + 1);
    }
  }
  return status;
}

absl::Status SlotSanitizer::OnWrite(int group,
                                    std::span<const std::int64_t> slots) {
  if (group < 0 || static_cast<std::size_t>(group) >= block_sizes_.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no group %d; there are %d", group, block_sizes_.size()));
  }
  const std::int64_t size =
      block_sizes_[static_cast<std::size_t>(group)].value();
  for (const std::int64_t slot : slots) {
    if (slot < 0) continue;
    if (slot / size >= num_blocks_) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "slot %d of group %d is in block %d, and there are %d", slot, group,
          slot / size, num_blocks_));
    }
    const BlockId block(static_cast<std::int32_t>(slot / size));
    const auto offset = static_cast<std::size_t>(slot % size);
    Words(block)[offset / kBits] |= std::uint64_t{1} << (offset % kBits);
  }
  return absl::OkStatus();
}

absl::Status SlotSanitizer::CheckRead(SequenceId sequence, int group,
                                      std::span<const BlockId> table,
                                      TokenCount num_tokens,
                                      TokenCount first) const {
  if (group < 0 || static_cast<std::size_t>(group) >= block_sizes_.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no group %d; there are %d", group, block_sizes_.size()));
  }
  const std::int64_t size =
      block_sizes_[static_cast<std::size_t>(group)].value();
  for (std::int64_t token = first.value(); token < num_tokens.value();
       ++token) {
    const auto index = static_cast<std::size_t>(token / size);
    if (index >= table.size() || !Has(table[index])) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "sequence %#x, group %d: token %d has no block; the table has %d",
          sequence.value(), group, token, table.size()));
    }
    const auto offset = static_cast<std::int32_t>(token % size);
    if (table[index] != kNullBlock && !is_written(table[index], offset)) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "sequence %#x, group %d: token %d lies in block %d at offset %d, "
          "which was not written since the block was issued",
          sequence.value(), group, token, table[index].value(), offset));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
