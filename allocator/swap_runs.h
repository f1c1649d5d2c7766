// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_SWAP_RUNS_H_
#define ALLOCATOR_SWAP_RUNS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Whole blocks of a list of swaps that lie side by side on both sides: blocks
/// block, block + 1, ... and swap_block, swap_block + 1, ... Or a single block,
/// perhaps a part of it.
struct SwapRun {
  std::int32_t group = 0;
  BlockId block;
  BlockId swap_block;
  std::int32_t num_blocks = 0;
  std::int32_t num_tokens = 0;  ///< of each block
};

/// Takes the longest run from the front of `swaps`. Ids may ascend or descend:
/// a table is given back from its end. REQUIRES: `swaps` is not empty.
inline SwapRun TakeRun(std::span<const BlockSwap>& swaps,
                       std::span<const GroupLayout> groups) {
  const BlockSwap& first = swaps.front();
  SwapRun run{first.group, first.block, first.swap_block, 1, first.num_tokens};
  std::size_t count = 1;
  const GroupLayout& group = groups[static_cast<std::size_t>(first.group)];
  if (swaps.size() > 1 && first.num_tokens == group.block_size.value()) {
    const std::int32_t step =
        swaps[1].block.value() > first.block.value() ? 1 : -1;
    const auto follows = [&](const BlockSwap& a, const BlockSwap& b) {
      return b.group == a.group && b.num_tokens == a.num_tokens &&
             b.block.value() == a.block.value() + step &&
             b.swap_block.value() == a.swap_block.value() + step;
    };
    while (count < swaps.size() && follows(swaps[count - 1], swaps[count])) {
      ++count;
    }
    run.num_blocks = static_cast<std::int32_t>(count);
    run.block = std::min(first.block, swaps[count - 1].block);
    run.swap_block = std::min(first.swap_block, swaps[count - 1].swap_block);
  }
  swaps = swaps.subspan(count);
  return run;
}

}  // namespace pagedkv

#endif  // ALLOCATOR_SWAP_RUNS_H_
