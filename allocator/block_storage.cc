// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/block_storage.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// Leaves room to round arenas up to pages without overflow.
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 62;

// Names what is wrong with a layer, or Ok.
absl::Status CheckLayer(const GroupLayout& group, std::size_t group_index,
                        std::size_t layer_index) {
  const LayerLayout& layer = group.layers[layer_index];
  if (layer.bytes_per_block < Bytes(1)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "group %d, layer %d: %d bytes per block; give at least 1", group_index,
        layer_index, layer.bytes_per_block.value()));
  }
  if (layer.token_major &&
      layer.bytes_per_block.value() % group.block_size.value() != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "group %d, layer %d: %d bytes per block are not %d equal tokens; "
        "correct them, or unset token_major",
        group_index, layer_index, layer.bytes_per_block.value(),
        group.block_size.value()));
  }
  return absl::OkStatus();
}

}  // namespace

BlockStorage::BlockStorage(BlockStorageLayout layout,
                           std::vector<BlockArena> arenas)
    : layout_(std::move(layout)), arenas_(std::move(arenas)) {}

absl::StatusOr<std::vector<Bytes>> BlockStorage::ArenaStrides(
    const BlockStorageLayout& layout) {
  if (layout.num_blocks < BlockCount(1) ||
      layout.num_blocks.value() > std::numeric_limits<BlockId::rep>::max()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "num_blocks is %d; give 1 to 2^31 - 1", layout.num_blocks.value()));
  }
  const BlockCount most = MaxNumBlocks(layout);
  if (most < layout.num_blocks ||
      most.value() > std::numeric_limits<BlockId::rep>::max()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_num_blocks is %d; give 0, or num_blocks, %d, to 2^31 - 1",
        most.value(), layout.num_blocks.value()));
  }
  if (layout.groups.empty()) {
    return absl::InvalidArgumentError("no groups; give at least one");
  }
  std::vector<Bytes> strides;
  for (std::size_t g = 0; g < layout.groups.size(); ++g) {
    const GroupLayout& group = layout.groups[g];
    if (group.block_size.value() < 1 || group.layers.empty()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "group %d: block size %d, %d layers; give at least 1 of each", g,
          group.block_size.value(), group.layers.size()));
    }
    strides.resize(std::max(strides.size(), group.layers.size()));
    for (std::size_t k = 0; k < group.layers.size(); ++k) {
      if (absl::Status status = CheckLayer(group, g, k); !status.ok()) {
        return status;
      }
      strides[k] = std::max(strides[k], group.layers[k].bytes_per_block);
    }
  }
  std::int64_t total = 0;
  for (const Bytes stride : strides) {
    std::int64_t arena = 0;
    if (__builtin_mul_overflow(stride.value(), most.value(), &arena) ||
        __builtin_add_overflow(total, arena, &total) || total > kMaxBytes) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%d blocks of %d bytes in each of %d arenas exceed 2^62 bytes",
          most.value(), stride.value(), strides.size()));
    }
  }
  return strides;
}

BlockArena BlockStorage::arena(int group, int layer) const {
  PAGEDKV_DCHECK(
      layer >= 0 &&
      static_cast<std::size_t>(layer) <
          layout_.groups[static_cast<std::size_t>(group)].layers.size());
  return arenas_[static_cast<std::size_t>(layer)];
}

Bytes BlockStorage::size() const {
  Bytes total;
  for (const BlockArena& arena : arenas_) {
    total += arena.block_stride * layout_.num_blocks.value();
  }
  return total;
}

// What of a copy or swap is about its group.
absl::Status BlockStorage::CheckGroup(const char* what, std::size_t index,
                                      std::int32_t group,
                                      std::int32_t num_tokens) const {
  if (group < 0 || static_cast<std::size_t>(group) >= layout_.groups.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s %d: no group %d; there are %d", what, index, group,
                        layout_.groups.size()));
  }
  const std::int32_t block_size =
      layout_.groups[static_cast<std::size_t>(group)].block_size.value();
  if (num_tokens < 0 || num_tokens > block_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s %d: %d tokens of a block of %d", what, index,
                        num_tokens, block_size));
  }
  return absl::OkStatus();
}

absl::Status BlockStorage::CopyBlocks(std::span<const BlockCopy> copies) {
  const auto is_owned = [this](BlockId block) {
    return block > kNullBlock && block.value() < layout_.num_blocks.value();
  };
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const BlockCopy& copy = copies[i];
    absl::Status status = CheckGroup("copy", i, copy.group, copy.num_tokens);
    if (!status.ok()) return status;
    if (!is_owned(copy.source) || !is_owned(copy.destination) ||
        copy.source == copy.destination) {
      return absl::InvalidArgumentError(
          absl::StrFormat("copy %d: block %d to block %d; both must be from 1 "
                          "to %d, and differ",
                          i, copy.source.value(), copy.destination.value(),
                          layout_.num_blocks.value() - 1));
    }
  }
  return copies.empty() ? absl::OkStatus() : DoCopyBlocks(copies);
}

absl::Status BlockStorage::FillBlocks(std::span<const BlockId> blocks,
                                      std::byte value) {
  for (const BlockId block : blocks) {
    if (block.value() < 0 || block.value() >= layout_.num_blocks.value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("fill: no block %d; the last is %d", block.value(),
                          layout_.num_blocks.value() - 1));
    }
  }
  return blocks.empty() ? absl::OkStatus() : DoFillBlocks(blocks, value);
}

absl::Status BlockStorage::SwapOut(BlockStorage& swap_space,
                                   std::span<const BlockSwap> swaps) {
  return Swap(swap_space, swaps, SwapDirection::kOut);
}

absl::Status BlockStorage::SwapIn(BlockStorage& swap_space,
                                  std::span<const BlockSwap> swaps) {
  return Swap(swap_space, swaps, SwapDirection::kIn);
}

absl::Status BlockStorage::Swap(BlockStorage& swap_space,
                                std::span<const BlockSwap> swaps,
                                SwapDirection direction) {
  if (&swap_space == this || !swap_space.is_in_host_memory() ||
      swap_space.layout_.groups != layout_.groups) {
    return absl::InvalidArgumentError(
        &swap_space == this ? "a storage cannot be its own swap space"
        : swap_space.is_in_host_memory()
            ? "the swap space has other groups than the storage; create both "
              "with the same"
            : "the swap space is not in host memory");
  }
  const std::int64_t blocks = layout_.num_blocks.value();
  const std::int64_t swap_blocks = swap_space.layout_.num_blocks.value();
  for (std::size_t i = 0; i < swaps.size(); ++i) {
    const BlockSwap& swap = swaps[i];
    absl::Status status = CheckGroup("swap", i, swap.group, swap.num_tokens);
    if (!status.ok()) return status;
    if (swap.block <= kNullBlock || swap.block.value() >= blocks ||
        swap.swap_block < kNullBlock ||
        swap.swap_block.value() >= swap_blocks) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "swap %d: block %d and swap block %d; they must be from 1 to %d and "
          "from 0 to %d",
          i, swap.block.value(), swap.swap_block.value(), blocks - 1,
          swap_blocks - 1));
    }
  }
  return swaps.empty() ? absl::OkStatus()
                       : DoSwap(swap_space, swaps, direction);
}

absl::Status BlockStorage::DoSwap(BlockStorage& /*swap_space*/,
                                  std::span<const BlockSwap> /*swaps*/,
                                  SwapDirection /*direction*/) {
  return absl::UnimplementedError("this kind of storage does not swap");
}

absl::Status BlockStorage::PrepareStep(const StepMoves& moves,
                                       ReuseHygiene hygiene,
                                       BlockStorage* swap_space) {
  if (swap_space == nullptr &&
      !(moves.swap_outs.empty() && moves.swap_ins.empty())) {
    return absl::InvalidArgumentError(
        "the step moves blocks to or from a swap space; give one");
  }
  absl::Status status = absl::OkStatus();
  if (!moves.swap_outs.empty()) status = SwapOut(*swap_space, moves.swap_outs);
  const std::span<const FreshBlock> fresh =
      hygiene == ReuseHygiene::kLeave ? moves.fresh.first(0) : moves.fresh;
  const std::byte value{hygiene == ReuseHygiene::kPoison ? std::uint8_t{0xff}
                                                         : std::uint8_t{0}};
  const auto clean = [&](std::size_t begin, std::size_t end,
                         std::int32_t after_copies) {
    cleaned_.clear();
    for (const FreshBlock& block : fresh.subspan(begin, end - begin)) {
      if (block.after_copies == after_copies) cleaned_.push_back(block.block);
    }
    return FillBlocks(cleaned_, value);
  };
  if (status.ok()) status = clean(0, fresh.size(), 0);
  if (status.ok() && !moves.swap_ins.empty()) {
    status = SwapIn(*swap_space, moves.swap_ins);
  }
  std::size_t copied = 0;
  for (std::size_t next = 0; status.ok() && next < fresh.size();) {
    const std::size_t begin = next++;
    const std::int32_t after = fresh[begin].after_copies;
    if (after == 0) continue;
    if (after < 0 || static_cast<std::size_t>(after) < copied ||
        static_cast<std::size_t>(after) > moves.copies.size()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "fresh block %d is to be cleaned after %d copies; there are %d, and "
          "%d are done",
          fresh[begin].block.value(), after, moves.copies.size(), copied));
    }
    while (next < fresh.size() && (fresh[next].after_copies == after ||
                                   fresh[next].after_copies == 0)) {
      ++next;
    }
    const auto end = static_cast<std::size_t>(after);
    status = CopyBlocks(moves.copies.subspan(copied, end - copied));
    copied = end;
    if (status.ok()) status = clean(begin, next, after);
  }
  return status.ok() ? CopyBlocks(moves.copies.subspan(copied)) : status;
}

absl::Status BlockStorage::Resize(BlockCount num_blocks) {
  if (layout_.max_num_blocks == BlockCount(0)) {
    return absl::FailedPreconditionError(
        "the storage was created without max_num_blocks, and is not resized");
  }
  if (num_blocks < BlockCount(1) || num_blocks > max_num_blocks()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "cannot resize to %d blocks; give 1 to max_num_blocks, %d",
        num_blocks.value(), max_num_blocks().value()));
  }
  if (num_blocks == layout_.num_blocks) return absl::OkStatus();
  absl::Status status = DoResize(num_blocks);
  if (status.ok()) layout_.num_blocks = num_blocks;
  return status;
}

absl::Status BlockStorage::DoResize(BlockCount /*num_blocks*/) {
  return absl::UnimplementedError("this kind of storage cannot be resized");
}

}  // namespace pagedkv
