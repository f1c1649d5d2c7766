// SPDX-License-Identifier: Apache-2.0
// Random requests under random options, all at once: forks, shared prefixes,
// pools that are too small. Each answer is what the request gets alone.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <vector>

#include "examples/engine/engine.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/random.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "tests/examples/engine/engine_test_support.h"

namespace pagedkv::engine {
namespace {

constexpr std::uint64_t kSeed = 20260101;
constexpr int kRounds = 25;

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}
  std::int32_t Between(std::int32_t min, std::int32_t max) {
    const auto range = static_cast<std::uint64_t>(max - min) + 1;
    return min + static_cast<std::int32_t>(random_.Next() % range);
  }
  Random& random() { return random_; }

 private:
  Random random_;
};

EngineOptions DrawOptions(Draw& draw) {
  static constexpr std::int32_t kBlockSizes[] = {1, 2, 3, 16, 17, 256};
  EngineOptions options;
  options.block_size = BlockSize(kBlockSizes[draw.Between(0, 5)]);
  options.max_sequence_tokens = TokenCount(100);
  // From hardly enough for one group to plenty.
  const std::int32_t slots = draw.Between(140, 400);
  options.num_blocks = BlockCount(5 + slots / options.block_size.value());
  options.max_num_seqs = draw.Between(3, 8);
  options.max_num_batched_tokens = TokenCount(draw.Between(8, 80));
  options.prefix_cache = draw.Between(0, 1) == 1;
  options.partial_block_reuse = options.prefix_cache && draw.Between(0, 1) == 1;
  if (draw.Between(0, 1) == 1) {
    options.num_swap_blocks =
        BlockCount(1 + draw.Between(0, slots) / options.block_size.value());
  }
  options.temperature = draw.Between(0, 1) == 1 ? 0.7F : 0.0F;
  options.seed = draw.random().Next();
  return options;
}

std::vector<EngineRequest> DrawRequests(Draw& draw) {
  const std::vector<TokenId> text = DrawTokens(draw.random(), 60);
  std::vector<EngineRequest> requests(
      static_cast<std::size_t>(draw.Between(2, 9)));
  for (EngineRequest& request : requests) {
    request.prompt.assign(text.begin(), text.begin() + draw.Between(0, 60));
    const std::vector<TokenId> rest = DrawTokens(
        draw.random(), static_cast<std::size_t>(draw.Between(1, 20)));
    request.prompt.insert(request.prompt.end(), rest.begin(), rest.end());
    request.max_tokens = draw.Between(1, 19);
    request.num_samples = draw.Between(0, 2) == 0 ? draw.Between(2, 3) : 1;
  }
  return requests;
}

TEST(EngineModelTest, AnswersAreThoseOfEachRequestAlone) {
  std::cout << "seed " << kSeed << '\n';
  std::int64_t num_preemptions = 0;
  std::int64_t num_hits = 0;
  std::int64_t num_evicted = 0;
  std::int64_t num_copies = 0;
  std::int64_t num_swapped = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    Draw draw(kSeed + static_cast<std::uint64_t>(round));
    const LlamaWeights weights = LlamaWeights::MakeTiny(draw.random().Next());
    const EngineOptions options = DrawOptions(draw);
    const std::vector<EngineRequest> requests = DrawRequests(draw);
    const auto num_first = static_cast<std::size_t>(
        draw.Between(0, static_cast<std::int32_t>(requests.size())));
    const TestRun run = RunEngine(weights, options, requests, num_first);

    EngineOptions alone = options;
    alone.cache = CacheKind::kContiguous;
    alone.prefix_cache = false;
    alone.partial_block_reuse = false;
    alone.num_swap_blocks = BlockCount(0);
    alone.max_num_seqs = 1;
    alone.block_size = BlockSize(1);
    alone.num_blocks = BlockCount(100);
    alone.max_num_batched_tokens = TokenCount(100);
    ExpectSameAnswers(run, RunEngine(weights, alone, requests), 1e-4F);
    num_preemptions += run.num_preemptions;
    num_hits += run.prefix_cache.hits;
    num_evicted += run.prefix_cache.blocks_evicted;
    num_copies += run.num_block_copies;
    num_swapped += run.num_swapped_blocks;
  }
  // Otherwise it has shown little.
  EXPECT_GT(num_preemptions, 0);
  EXPECT_GT(num_hits, 0);
  EXPECT_GT(num_evicted, 0);
  EXPECT_GT(num_copies, 0);
  EXPECT_GT(num_swapped, 0);
}

}  // namespace
}  // namespace pagedkv::engine
