// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

#include "benchmarks/workloads.h"
#include "pagedkv/block_hash.h"

namespace pagedkv {
namespace {

constexpr std::uint32_t kVocabulary = 128256;  // Llama 3's

// So many prompts that a branch predictor does not learn their tokens.
constexpr std::int64_t kNumPrompts = 64;

std::vector<TokenId> RandomTokens(std::int64_t count) {
  std::mt19937 random(1);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(random() % kVocabulary);
  }
  return tokens;
}

// The blocks of a prompt of 1,024 tokens, 64 bytes each, one after the other.
void HashPrompt(benchmark::State& state, const ContentKeys& keys) {
  const auto algorithm = static_cast<BlockHashAlgorithm>(state.range(0));
  state.SetLabel(std::string(BlockHashAlgorithmName(algorithm)));
  BlockHasher hasher(algorithm, "0");
  const std::vector<TokenId> tokens =
      RandomTokens(kNumPrompts * workloads::kPromptTokens.value());
  const BlockSize size = workloads::kBlockSize;
  std::int64_t prompt = 0;
  for (auto _ : state) {
    BlockHash hash;
    TokenCount begin;
    for (; begin < workloads::kPromptTokens;
         begin += TokenCount(size.value())) {
      const std::int64_t first =
          prompt * workloads::kPromptTokens.value() + begin.value();
      hash = hasher.Hash(
          hash,
          std::span(tokens).subspan(static_cast<std::size_t>(first),
                                    static_cast<std::size_t>(size.value())),
          ExtraKeysOfBlock(keys, begin, size));
    }
    benchmark::DoNotOptimize(hash);
    prompt = (prompt + 1) % kNumPrompts;
  }
  state.counters["per_block"] = benchmark::Counter(
      static_cast<double>(size.FullBlocks(workloads::kPromptTokens).value()),
      benchmark::Counter::kIsIterationInvariantRate |
          benchmark::Counter::kInvert);
}

void BM_HashPrompt(benchmark::State& state) { HashPrompt(state, {}); }
BENCHMARK(BM_HashPrompt)->DenseRange(0, 4);

// With an adapter, and an image over half of the prompt.
void BM_HashPromptWithExtraKeys(benchmark::State& state) {
  HashPrompt(state, {.adapter = "adapter",
                     .items = {{"image", TokenCount(0), TokenCount(512)}}});
}
BENCHMARK(BM_HashPromptWithExtraKeys)->DenseRange(0, 4);

}  // namespace
}  // namespace pagedkv
