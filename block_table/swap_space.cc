// SPDX-License-Identifier: Apache-2.0
#include "block_table/swap_space.h"

#include <algorithm>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxBlocks = (std::int64_t{1} << 30) - 1;

}  // namespace

absl::StatusOr<std::unique_ptr<SwapSpace>> SwapSpace::Create(
    BlockCount num_blocks, std::size_t num_groups) {
  if (num_blocks < BlockCount(1) || num_blocks.value() > kMaxBlocks) {
    return absl::InvalidArgumentError(
        absl::StrFormat("num_swap_blocks is %d; it must be from 0 to %d",
                        num_blocks.value(), kMaxBlocks));
  }
  absl::StatusOr<BlockPool> pool =
      BlockPool::Create({.num_blocks = num_blocks + BlockCount(1)});
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<SwapSpace>(
      new SwapSpace(*std::move(pool), num_groups));
}

void SwapSpace::Take(std::span<BlockId> blocks) {
  PAGEDKV_CHECK(pool_.TryAllocate(blocks));
}

void SwapSpace::Share(std::span<const BlockId> blocks) {
  PAGEDKV_CHECK(pool_.Share(blocks).ok());
}

void SwapSpace::MoveOut(std::size_t row) {
  for (std::size_t group = 0; group < num_groups_; ++group) {
    const std::size_t index = row * num_groups_ + group;
    if (index >= tables_.size()) return;
    read_.insert(read_.end(), tables_[index].begin(), tables_[index].end());
    tables_[index].clear();
  }
}

void SwapSpace::Drop(std::size_t row) {
  for (std::size_t group = 0; group < num_groups_; ++group) {
    const std::size_t index = row * num_groups_ + group;
    if (index >= tables_.size()) return;
    PAGEDKV_CHECK(pool_.Release(tables_[index]).ok());
    tables_[index].clear();
  }
}

void SwapSpace::BeginStep() {
  swap_outs_.clear();
  swap_ins_.clear();
  PAGEDKV_CHECK(pool_.Release(read_).ok());
  read_.clear();
}

absl::Status SwapSpace::CheckInvariants() const {
  if (absl::Status status = pool_.CheckInvariants(); !status.ok()) {
    return status;
  }
  std::vector<std::int32_t> references(
      static_cast<std::size_t>(pool_.num_blocks().value()), 0);
  const auto count = [&references](std::span<const BlockId> blocks) {
    for (BlockId block : blocks) {
      ++references[static_cast<std::size_t>(block.value())];
    }
  };
  count(read_);
  for (const std::vector<BlockId>& table : tables_) count(table);
  for (std::size_t i = 1; i < references.size(); ++i) {
    const std::int32_t counted =
        pool_.ref_count(BlockId(static_cast<std::int32_t>(i)));
    if (counted != references[i]) {
      return absl::InternalError(absl::StrFormat(
          "swap block %d has %d references, and %d table entries and reads "
          "name it",
          i, counted, references[i]));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
