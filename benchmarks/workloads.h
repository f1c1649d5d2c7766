// SPDX-License-Identifier: Apache-2.0
#ifndef BENCHMARKS_WORKLOADS_H_
#define BENCHMARKS_WORKLOADS_H_

/// The sizes on which managers are compared: 16-token blocks throughout, and a
/// pool whose free blocks were released in random order, as a server's are.
///
///   a  allocate N blocks and free them; pool of 65,536 blocks
///   b  the life of one sequence: a prompt of 1,024 tokens, 128 appends, free
///   c1 match sequences of 2,048 shared and 64 own tokens
///   c2 match and insert with a million blocks cached
///   d  evict from a pool of 65,536 blocks, full of finished sequences
///   e  one scheduler step with N sequences decoding; prompts of 256 tokens,
///      8,192 tokens per step

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <vector>

#include "pagedkv/block_pool.h"
#include "pagedkv/types.h"

namespace pagedkv::workloads {

inline constexpr BlockSize kBlockSize{16};
inline constexpr BlockCount kPoolBlocks{65536};
inline constexpr TokenCount kPromptTokens{1024};
inline constexpr int kDecodeTokens = 128;

inline constexpr TokenCount kStepPromptTokens{256};
inline constexpr TokenCount kStepBudget{8192};

/// Random tokens of a vocabulary of 128,000 (SplitMix64).
inline void FillTokens(std::span<TokenId> tokens, std::uint64_t seed) {
  for (TokenId& token : tokens) {
    std::uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    token = static_cast<TokenId>(((z >> 32) * 128000u) >> 32);
  }
}

/// Aborts a benchmark whose set-up failed: its figures would mean nothing.
inline void Require(bool condition) {
  if (!condition) std::abort();
}

/// All free blocks, in an order to release them that no prefetcher foresees.
inline std::vector<BlockId> ShuffledBlocks(BlockPool& pool) {
  std::vector<BlockId> blocks(
      static_cast<std::size_t>(pool.num_free().value()));
  Require(pool.TryAllocate(blocks));
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(1));
  return blocks;
}

}  // namespace pagedkv::workloads

#endif  // BENCHMARKS_WORKLOADS_H_
