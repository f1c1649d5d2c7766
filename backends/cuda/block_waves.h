// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_BLOCK_WAVES_H_
#define BACKENDS_CUDA_BLOCK_WAVES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv::cuda {

/// Cuts a list that is to be done in its order into waves: runs whose entries
/// have nothing to do with each other, so that a wave can be done at once. Most
/// lists are one wave. O(list), by a mark at each block. Thread-compatible.
class BlockWaves {
 public:
  explicit BlockWaves(BlockCount max_num_blocks)
      : read_(static_cast<std::size_t>(max_num_blocks.value())),
        written_(read_.size()) {}

  /// Takes the next wave from the front of `copies`, which is not empty: none
  /// reads or writes what another one writes.
  std::span<const BlockCopy> Take(std::span<const BlockCopy>& copies);
  /// The same of swaps that write to this storage: none writes what another one
  /// writes. What they read is of the other storage.
  std::span<const BlockSwap> TakeSwapIns(std::span<const BlockSwap>& swaps);
  /// Of swaps that write to the other storage, which has `num_blocks`.
  std::span<const BlockSwap> TakeSwapOuts(std::span<const BlockSwap>& swaps,
                                          BlockCount num_blocks);

 private:
  std::uint64_t wave_ = 0;  // 0: no wave
  // [blocks]: the wave that touched it last.
  std::vector<std::uint64_t> read_;
  std::vector<std::uint64_t> written_;
  std::vector<std::uint64_t> other_written_;  // of the swap space
};

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_BLOCK_WAVES_H_
