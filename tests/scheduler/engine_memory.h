// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SCHEDULER_ENGINE_MEMORY_H_
#define TESTS_SCHEDULER_ENGINE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/host_block_storage.h"
#include "pagedkv/scheduler.h"

namespace pagedkv {

/// What a fake engine writes for a token: what it is and all before it, and in
/// which KV cache group.
struct Cell {
  std::uint64_t content = 0;
  std::uint64_t group = 99;
  friend bool operator==(Cell, Cell) = default;
};

/// The bytes of a pool and of its swap space, in which each slot holds a
/// `Cell`, moved as a plan says. What nobody may read any longer is
/// overwritten.
class EngineMemory {
 public:
  EngineMemory(std::span<const KvCacheGroupOptions> groups,
               BlockCount num_blocks, BlockCount num_swap_blocks)
      : pool_(Make(groups, num_blocks)),
        swap_(Make(groups, num_swap_blocks + BlockCount(1))) {}

  [[nodiscard]] Cell Read(BlockId block, std::int64_t offset) const {
    Cell cell;
    std::memcpy(&cell, At(*pool_, block, offset), sizeof(cell));
    return cell;
  }
  void Write(BlockId block, std::int64_t offset, Cell cell) {
    std::memcpy(At(*pool_, block, offset), &cell, sizeof(cell));
  }

  /// What comes before the step's tokens are written.
  void Move(const StepPlan& plan) {
    const absl::Status moved =
        pool_->PrepareStep({.swap_outs = plan.swap_out,
                            .fresh = plan.fresh_blocks,
                            .swap_ins = plan.swap_in,
                            .copies = plan.copies},
                           ReuseHygiene::kPoison, swap_.get());
    EXPECT_TRUE(moved.ok()) << moved;
    std::vector<BlockId> read;
    for (const BlockSwap& swap : plan.swap_in) read.push_back(swap.swap_block);
    EXPECT_TRUE(swap_->FillBlocks(read, kPoison).ok());
  }
  /// After the step: nobody reads blocks that are free and have no content.
  void OverwriteFree(const BlockPool& pool) {
    std::vector<BlockId> unread;
    for (std::int32_t i = 1; i < pool.num_blocks().value(); ++i) {
      const BlockId block(i);
      if (pool.ref_count(block) == 0 && !pool.is_cached(block)) {
        unread.push_back(block);
      }
    }
    EXPECT_TRUE(pool_->FillBlocks(unread, kPoison).ok());
  }

 private:
  static constexpr std::byte kPoison{0xa5};

  static std::unique_ptr<HostBlockStorage> Make(
      std::span<const KvCacheGroupOptions> groups, BlockCount num_blocks) {
    BlockStorageLayout layout;
    layout.num_blocks = num_blocks;
    for (const KvCacheGroupOptions& group : groups) {
      const Bytes bytes(group.block_size.value() *
                        static_cast<std::int64_t>(sizeof(Cell)));
      layout.groups.push_back(
          {.block_size = group.block_size,
           .layers = {
               {.bytes_per_block = bytes,
                .token_major = group.kind != AttentionKind::kStateSpace}}});
    }
    return *HostBlockStorage::Create({.layout = layout});
  }
  static std::byte* At(const BlockStorage& storage, BlockId block,
                       std::int64_t offset) {
    const BlockArena arena = storage.arena(0, 0);
    return arena.base + block.value() * arena.block_stride.value() +
           offset * static_cast<std::int64_t>(sizeof(Cell));
  }
  std::unique_ptr<HostBlockStorage> pool_;
  std::unique_ptr<HostBlockStorage> swap_;
};

}  // namespace pagedkv

#endif  // TESTS_SCHEDULER_ENGINE_MEMORY_H_
