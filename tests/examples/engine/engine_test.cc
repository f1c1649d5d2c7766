// SPDX-License-Identifier: Apache-2.0
// The tiny model gives the same tokens whatever its memory is, and whatever
// happens in it: to the bit in paged memory, and within kTolerance between the
// library's attention and the engine's own.
#include "examples/engine/engine.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "examples/engine/llama_weights.h"
#include "examples/engine/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"
#include "tests/examples/engine/engine_test_support.h"

namespace pagedkv::engine {
namespace {

using ::testing::Each;
using ::testing::Gt;

// Of the largest logit. Both compute in fp32 and add up in other orders.
constexpr float kTolerance = 1e-4F;

class EngineTest : public ::testing::Test {
 protected:
  static EngineOptions Options() {
    EngineOptions options;
    options.max_sequence_tokens = TokenCount(300);
    options.num_blocks = BlockCount(256);
    options.ignore_eos = true;
    return options;
  }
  static EngineOptions Contiguous() {
    EngineOptions options = Options();
    options.cache = CacheKind::kContiguous;
    return options;
  }
  static EngineOptions WithBlocks(std::int32_t block_size,
                                  std::int64_t num_blocks) {
    EngineOptions options = Options();
    options.block_size = BlockSize(block_size);
    options.num_blocks = BlockCount(num_blocks);
    return options;
  }
  // Prompts of several lengths, on both sides of block boundaries.
  static std::vector<EngineRequest> Requests() {
    Random random(7);
    std::vector<EngineRequest> requests;
    for (const std::size_t length : {1U, 5U, 15U, 16U, 17U, 40U, 70U}) {
      requests.push_back(
          {.prompt = DrawTokens(random, length), .max_tokens = 20});
    }
    return requests;
  }
  // Requests whose prompts begin alike, for so many tokens.
  static std::vector<EngineRequest> RequestsWithPrefix(std::size_t length) {
    Random random(8);
    const std::vector<TokenId> prefix = DrawTokens(random, length);
    std::vector<EngineRequest> requests;
    for (const std::size_t more : {3U, 9U, 20U}) {
      std::vector<TokenId> prompt = prefix;
      const std::vector<TokenId> rest = DrawTokens(random, more);
      prompt.insert(prompt.end(), rest.begin(), rest.end());
      requests.push_back({.prompt = prompt, .max_tokens = 12});
    }
    return requests;
  }

  const LlamaWeights weights_ = LlamaWeights::MakeTiny(1);
};

TEST_F(EngineTest, TextsAreNotTrivial) {
  const TestRun run = RunEngine(weights_, Options(), Requests());
  std::vector<std::size_t> num_different;
  for (const auto& [key, answer] : run.answers) {
    std::vector<TokenId> tokens = answer.tokens;
    ASSERT_EQ(tokens.size(), 20U);
    std::sort(tokens.begin(), tokens.end());
    num_different.push_back(static_cast<std::size_t>(
        std::unique(tokens.begin(), tokens.end()) - tokens.begin()));
  }
  EXPECT_THAT(num_different, Each(Gt(4U)));
}

TEST_F(EngineTest, TokensAreTheSameInAllCaches) {
  const TestRun contiguous = RunEngine(weights_, Contiguous(), Requests());
  EngineOptions options = Options();
  options.cache = CacheKind::kConcat;
  ExpectSameAnswers(RunEngine(weights_, options, Requests()), contiguous);
  options.cache = CacheKind::kPaged;
  ExpectSameAnswers(RunEngine(weights_, options, Requests()), contiguous,
                    kTolerance);
}

TEST_F(EngineTest, LogitsDoNotDependOnTheBlockSize) {
  const TestRun expected = RunEngine(weights_, Options(), Requests());
  for (const std::int32_t block_size : {1, 2, 3, 17, 256}) {
    SCOPED_TRACE(block_size);
    const EngineOptions options =
        WithBlocks(block_size, 10 + 4096 / block_size);
    ExpectSameAnswers(RunEngine(weights_, options, Requests()), expected);
  }
}

TEST_F(EngineTest, LogitsDoNotDependOnTheBatchNorOnThreads) {
  const TestRun expected =
      RunEngine(weights_, Options(), Requests(), 0, /*num_threads=*/1);
  EngineOptions options = Options();
  options.max_num_seqs = 1;
  ExpectSameAnswers(RunEngine(weights_, options, Requests()), expected);
  options.max_num_seqs = 3;
  options.max_num_batched_tokens = TokenCount(7);  // prompts in chunks
  ExpectSameAnswers(RunEngine(weights_, options, Requests()), expected);
  ExpectSameAnswers(RunEngine(weights_, Options(), Requests(), 0, 5), expected);
}

TEST_F(EngineTest, PreemptionByRecomputeChangesNothing) {
  const TestRun expected = RunEngine(weights_, Options(), Requests());
  for (const std::int32_t block_size : {1, 3, 16}) {
    SCOPED_TRACE(block_size);
    const TestRun run = RunEngine(
        weights_, WithBlocks(block_size, 2 + 100 / block_size), Requests());
    EXPECT_GT(run.num_preemptions, 2);
    ExpectSameAnswers(run, expected);
  }
}

TEST_F(EngineTest, PreemptionBySwapChangesNothing) {
  const TestRun expected = RunEngine(weights_, Options(), Requests());
  for (const std::int32_t block_size : {1, 3, 16}) {
    SCOPED_TRACE(block_size);
    EngineOptions options = WithBlocks(block_size, 2 + 100 / block_size);
    options.num_swap_blocks = options.num_blocks;
    const TestRun run = RunEngine(weights_, options, Requests());
    EXPECT_GT(run.num_preemptions, 2);
    EXPECT_GT(run.num_swapped_blocks, 0);
    ExpectSameAnswers(run, expected);
    // And where the swap space has room for some only.
    options.num_swap_blocks = BlockCount(50 / block_size);
    const TestRun mixed = RunEngine(weights_, options, Requests());
    EXPECT_GT(mixed.num_swapped_blocks, 0);
    ExpectSameAnswers(mixed, expected);
  }
}

TEST_F(EngineTest, GreedyForksAreAllTheSame) {
  const TestRun expected = RunEngine(weights_, Options(), Requests());
  std::vector<EngineRequest> requests = Requests();
  for (EngineRequest& request : requests) request.num_samples = 3;
  const TestRun run = RunEngine(weights_, Options(), requests);
  EXPECT_GT(run.num_block_copies, 0);
  ASSERT_EQ(run.answers.size(), 3 * expected.answers.size());
  for (const auto& [key, answer] : run.answers) {
    EXPECT_EQ(answer.tokens, expected.answers.at({key.first, 0}).tokens);
    EXPECT_EQ(answer.logits, expected.answers.at({key.first, 0}).logits);
  }
}

TEST_F(EngineTest, SampledForksAreTheSameAsRequestsThatShareNothing) {
  std::vector<EngineRequest> requests = Requests();
  for (EngineRequest& request : requests) request.num_samples = 4;
  EngineOptions contiguous = Contiguous();
  contiguous.temperature = 0.8F;
  contiguous.seed = 5;
  const TestRun expected = RunEngine(weights_, contiguous, requests);
  EXPECT_NE(expected.answers.at({0, 0}).tokens,
            expected.answers.at({0, 1}).tokens);
  EngineOptions paged = Options();
  paged.temperature = 0.8F;
  paged.seed = 5;
  ExpectSameAnswers(RunEngine(weights_, paged, requests), expected, kTolerance);
  // And where groups lose their blocks.
  paged.num_blocks = BlockCount(28);
  const TestRun preempted = RunEngine(weights_, paged, requests);
  EXPECT_GT(preempted.num_preemptions, 0);
  ExpectSameAnswers(preempted, expected, kTolerance);
  paged.num_swap_blocks = BlockCount(28);
  const TestRun swapped = RunEngine(weights_, paged, requests);
  EXPECT_GT(swapped.num_swapped_blocks, 0);
  ExpectSameAnswers(swapped, expected, kTolerance);
}

TEST_F(EngineTest, PrefixHitsChangeNothing) {
  const std::vector<EngineRequest> requests = RequestsWithPrefix(50);
  const TestRun expected = RunEngine(weights_, Options(), requests);
  for (const std::int32_t block_size : {1, 3, 16, 17}) {
    SCOPED_TRACE(block_size);
    EngineOptions options = WithBlocks(block_size, 10 + 2048 / block_size);
    options.prefix_cache = true;
    // In one step, and one after the other.
    for (const std::size_t num_first : {0U, 1U}) {
      const TestRun run = RunEngine(weights_, options, requests, num_first);
      EXPECT_GE(run.prefix_cache.hits, 2 * (50 - 50 % block_size));
      ExpectSameAnswers(run, expected);
    }
  }
}

TEST_F(EngineTest, PartialBlockReuseChangesNothing) {
  const std::vector<EngineRequest> requests = RequestsWithPrefix(55);
  const TestRun expected = RunEngine(weights_, Options(), requests);
  EngineOptions options = Options();
  options.prefix_cache = true;
  options.partial_block_reuse = true;
  const TestRun run = RunEngine(weights_, options, requests, 1);
  EXPECT_GE(run.prefix_cache.tokens_copied, 7);
  ExpectSameAnswers(run, expected);
}

TEST_F(EngineTest, EvictionChangesNothing) {
  std::vector<EngineRequest> requests = Requests();
  for (const EngineRequest& request : RequestsWithPrefix(50)) {
    requests.push_back(request);
  }
  const std::vector<EngineRequest> again = requests;
  requests.insert(requests.end(), again.begin(), again.end());
  const TestRun expected = RunEngine(weights_, Options(), requests);
  EngineOptions options = WithBlocks(4, 40);
  options.prefix_cache = true;
  const TestRun run = RunEngine(weights_, options, requests, again.size());
  EXPECT_GT(run.prefix_cache.blocks_evicted, 0);
  EXPECT_GT(run.prefix_cache.hits, 0);
  ExpectSameAnswers(run, expected);
}

TEST_F(EngineTest, StoredFormatsGiveTheSameInAnyBlocksAndBatches) {
  const TestRun exact = RunEngine(weights_, Options(), Requests());
  for (const KvDtype dtype : {KvDtype::kFp16, KvDtype::kBf16, KvDtype::kFp8,
                              KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    SCOPED_TRACE(KvDtypeName(dtype));
    EngineOptions options = Options();
    options.kv_dtype = dtype;
    const TestRun expected = RunEngine(weights_, options, Requests());
    // What is stored is not what was computed.
    EXPECT_NE(expected.answers.at({6, 0}).logits,
              exact.answers.at({6, 0}).logits);
    // Small enough to preempt: what is recomputed is stored the same.
    options = WithBlocks(3, 35);
    options.kv_dtype = dtype;
    options.max_num_batched_tokens = TokenCount(11);
    const TestRun run = RunEngine(weights_, options, Requests());
    EXPECT_GT(run.num_preemptions, 0);
    ExpectSameAnswers(run, expected);
    options.num_swap_blocks = BlockCount(35);
    const TestRun swapped = RunEngine(weights_, options, Requests());
    EXPECT_GT(swapped.num_swapped_blocks, 0);
    ExpectSameAnswers(swapped, expected);
  }
}

TEST_F(EngineTest, HalfPrecisionIsCloseToTheExact) {
  std::vector<EngineRequest> requests = Requests();
  for (EngineRequest& request : requests) request.max_tokens = 1;
  const TestRun exact = RunEngine(weights_, Options(), requests);
  EngineOptions options = Options();
  options.kv_dtype = KvDtype::kFp16;
  ExpectSameAnswers(RunEngine(weights_, options, requests), exact, 0.01F);
}

TEST_F(EngineTest, StopsAtTheEndOfTextToken) {
  // Of models without training, some say it soon.
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const LlamaWeights weights = LlamaWeights::MakeTiny(seed);
    EngineOptions options = Options();
    options.ignore_eos = false;
    std::vector<EngineRequest> requests = Requests();
    for (EngineRequest& request : requests) request.max_tokens = 60;
    const TestRun run = RunEngine(weights, options, requests);
    bool stopped = false;
    for (const auto& [key, answer] : run.answers) {
      const auto end = std::find(answer.tokens.begin(), answer.tokens.end(),
                                 weights.config().eos_token_ids[0]);
      if (end == answer.tokens.end()) {
        EXPECT_EQ(answer.tokens.size(), 60U);
      } else {
        EXPECT_EQ(end + 1, answer.tokens.end());
        stopped = true;
      }
    }
    if (stopped) return;
  }
  FAIL() << "no text ended";
}

TEST_F(EngineTest, EachCacheHoldsWhatItIsKnownFor) {
  const std::vector<EngineRequest> requests = {
      {.prompt = std::vector<TokenId>(7, 1), .max_tokens = 3}};
  // Of 7 + 3 tokens, the KV of the last is never computed.
  EngineOptions options = WithBlocks(4, 100);
  TestRun run = RunEngine(weights_, options, requests);
  ASSERT_EQ(run.rows.size(), 3U);
  EXPECT_EQ(run.rows[0], (MemoryRow{.token = 7, .reserved = 1, .running = 1}));
  EXPECT_EQ(run.rows[1], (MemoryRow{.token = 8, .running = 1}));
  EXPECT_EQ(run.rows[2], (MemoryRow{.token = 9, .internal = 3, .running = 1}));

  options.cache = CacheKind::kContiguous;
  run = RunEngine(weights_, options, requests);
  ASSERT_EQ(run.rows.size(), 3U);
  EXPECT_EQ(
      run.rows[0],
      (MemoryRow{.token = 7, .reserved = 2, .internal = 291, .running = 1}));

  options.cache = CacheKind::kConcat;
  run = RunEngine(weights_, options, requests);
  ASSERT_EQ(run.rows.size(), 3U);
  EXPECT_EQ(run.rows[0], (MemoryRow{.token = 7, .running = 1}));
}

TEST_F(EngineTest, RefusesWhatCannotBe) {
  TestRun run;
  ThreadPool threads(1);
  LlamaModel model(weights_, 300, threads);
  EngineOptions options = Contiguous();
  options.prefix_cache = true;
  EXPECT_FALSE(Engine::Create(options, model, threads, run).ok());
  options = Contiguous();
  options.kv_dtype = KvDtype::kFp16;
  EXPECT_FALSE(Engine::Create(options, model, threads, run).ok());
  options = Contiguous();
  options.num_swap_blocks = BlockCount(2);
  EXPECT_FALSE(Engine::Create(options, model, threads, run).ok());
  options = Contiguous();
  options.num_blocks = BlockCount(2);
  EXPECT_FALSE(Engine::Create(options, model, threads, run).ok());
  const auto engine = Engine::Create(Options(), model, threads, run);
  ASSERT_TRUE(engine.ok());
  EXPECT_FALSE((*engine)->Submit({.prompt = {}, .max_tokens = 1}).ok());
  EXPECT_FALSE((*engine)->Submit({.prompt = {257}, .max_tokens = 1}).ok());
  EXPECT_FALSE((*engine)->Submit({.prompt = {-1}, .max_tokens = 1}).ok());
  EXPECT_FALSE((*engine)->Submit({.prompt = {1}, .max_tokens = 0}).ok());
}

}  // namespace
}  // namespace pagedkv::engine
