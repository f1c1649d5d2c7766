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
    if (__builtin_mul_overflow(stride.value(), layout.num_blocks.value(),
                               &arena) ||
        __builtin_add_overflow(total, arena, &total) || total > kMaxBytes) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%d blocks of %d bytes in each of %d arenas exceed 2^62 bytes",
          layout.num_blocks.value(), stride.value(), strides.size()));
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

absl::Status BlockStorage::CopyBlocks(std::span<const BlockCopy> copies) {
  const auto is_owned = [this](BlockId block) {
    return block > kNullBlock && block.value() < layout_.num_blocks.value();
  };
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const BlockCopy& copy = copies[i];
    if (copy.group < 0 ||
        static_cast<std::size_t>(copy.group) >= layout_.groups.size()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("copy %d: no group %d; there are %d", i, copy.group,
                          layout_.groups.size()));
    }
    if (!is_owned(copy.source) || !is_owned(copy.destination) ||
        copy.source == copy.destination) {
      return absl::InvalidArgumentError(
          absl::StrFormat("copy %d: block %d to block %d; both must be from 1 "
                          "to %d, and differ",
                          i, copy.source.value(), copy.destination.value(),
                          layout_.num_blocks.value() - 1));
    }
    const std::int32_t block_size =
        layout_.groups[static_cast<std::size_t>(copy.group)].block_size.value();
    if (copy.num_tokens < 0 || copy.num_tokens > block_size) {
      return absl::InvalidArgumentError(
          absl::StrFormat("copy %d: %d tokens of a block of %d", i,
                          copy.num_tokens, block_size));
    }
  }
  return DoCopyBlocks(copies);
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
  return DoFillBlocks(blocks, value);
}

}  // namespace pagedkv
