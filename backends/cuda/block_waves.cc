// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/block_waves.h"

#include <algorithm>

namespace pagedkv::cuda {
namespace {

std::uint64_t& At(std::vector<std::uint64_t>& marks, BlockId block) {
  return marks[static_cast<std::size_t>(block.value())];
}

// Takes entries from the front as long as `joins` says yes of them.
template <typename Entry, typename Joins>
std::span<const Entry> TakeWhile(std::span<const Entry>& list, Joins joins) {
  const auto end = std::find_if_not(list.begin(), list.end(), joins);
  const auto count = static_cast<std::size_t>(end - list.begin());
  const std::span<const Entry> taken = list.first(count);
  list = list.subspan(count);
  return taken;
}

}  // namespace

std::span<const BlockCopy> BlockWaves::Take(
    std::span<const BlockCopy>& copies) {
  ++wave_;
  return TakeWhile(copies, [this](const BlockCopy& copy) {
    if (At(written_, copy.source) == wave_ ||
        At(written_, copy.destination) == wave_ ||
        At(read_, copy.destination) == wave_) {
      return false;
    }
    At(read_, copy.source) = wave_;
    At(written_, copy.destination) = wave_;
    return true;
  });
}

std::span<const BlockSwap> BlockWaves::TakeSwapIns(
    std::span<const BlockSwap>& swaps) {
  ++wave_;
  return TakeWhile(swaps, [this](const BlockSwap& swap) {
    std::uint64_t& mark = At(written_, swap.block);
    if (mark == wave_) return false;
    mark = wave_;
    return true;
  });
}

std::span<const BlockSwap> BlockWaves::TakeSwapOuts(
    std::span<const BlockSwap>& swaps, BlockCount num_blocks) {
  ++wave_;
  const auto size = static_cast<std::size_t>(num_blocks.value());
  if (other_written_.size() < size) other_written_.resize(size);
  return TakeWhile(swaps, [this](const BlockSwap& swap) {
    std::uint64_t& mark = At(other_written_, swap.swap_block);
    if (mark == wave_) return false;
    mark = wave_;
    return true;
  });
}

}  // namespace pagedkv::cuda
