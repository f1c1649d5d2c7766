// SPDX-License-Identifier: Apache-2.0
// A real model gives the same tokens whatever its memory is, and whatever
// happens in it. Its weights are made by examples/engine/make_weights.py, in
// build/models, or are in the folder that PAGEDKV_MODEL names.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "examples/engine/engine.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/mapped_file.h"
#include "examples/engine/tokenizer.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "tests/examples/engine/engine_test_support.h"

namespace pagedkv::engine {
namespace {

// Of the largest logit: as in engine_test, through thirty layers.
constexpr float kTolerance = 1e-4F;

std::string ModelFolder() {
  const char* folder = std::getenv("PAGEDKV_MODEL");
  return folder != nullptr ? folder : PAGEDKV_DEFAULT_MODEL;
}

class SmolLmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string folder = ModelFolder();
    if (!std::filesystem::exists(folder + "/model.safetensors")) {
      GTEST_SKIP() << "there is no " << folder
                   << "/model.safetensors: run examples/engine/make_weights.py";
    }
    auto weights = LlamaWeights::Load(folder);
    ASSERT_TRUE(weights.ok()) << weights.status();
    weights_.emplace(*std::move(weights));
    const auto text = ReadFile(folder + "/tokenizer.json");
    ASSERT_TRUE(text.ok()) << text.status();
    auto tokenizer = Tokenizer::Parse(*text, "tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_.emplace(*std::move(tokenizer));
  }

  EngineRequest Request(const std::string& text,
                        std::int32_t max_tokens) const {
    return {.prompt = tokenizer_->Encode(text, false),
            .max_tokens = max_tokens};
  }
  std::string Text(const TestAnswer& answer) const {
    std::string text;
    for (const TokenId token : answer.tokens) text += tokenizer_->Decode(token);
    return text;
  }

  std::optional<LlamaWeights> weights_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(SmolLmTest, TokensAreTheSameInAnyMemory) {
  const std::string prefix = "The largest city of the country is";
  const std::vector<EngineRequest> requests = {
      Request("The capital of France is", 5), Request(prefix + " called", 8),
      Request(prefix + " the home of", 8)};
  EngineOptions options;
  options.max_sequence_tokens = TokenCount(64);
  options.num_blocks = BlockCount(32);
  options.ignore_eos = true;

  options.cache = CacheKind::kContiguous;
  const TestRun contiguous = RunEngine(*weights_, options, requests);
  EXPECT_TRUE(Text(contiguous.answers.at({0, 0})).starts_with(" Paris"));

  options.cache = CacheKind::kConcat;
  ExpectSameAnswers(RunEngine(*weights_, options, requests), contiguous);

  options.cache = CacheKind::kPaged;
  options.block_size = BlockSize(1);
  const TestRun preempted = RunEngine(*weights_, options, requests);
  EXPECT_GT(preempted.num_preemptions, 0);
  ExpectSameAnswers(preempted, contiguous, kTolerance);

  options.num_swap_blocks = BlockCount(32);
  const TestRun swapped = RunEngine(*weights_, options, requests);
  EXPECT_GT(swapped.num_swapped_blocks, 0);
  ExpectSameAnswers(swapped, preempted);  // to the bit
  options.num_swap_blocks = BlockCount(0);

  options.block_size = BlockSize(3);
  options.prefix_cache = true;
  options.partial_block_reuse = true;
  const TestRun shared = RunEngine(*weights_, options, requests, 2);
  EXPECT_GT(shared.prefix_cache.hits, 0);
  EXPECT_GT(shared.prefix_cache.tokens_copied, 0);
  ExpectSameAnswers(shared, preempted);  // to the bit
}

TEST_F(SmolLmTest, ForksAreTheSameAsRequestsThatShareNothing) {
  std::vector<EngineRequest> requests = {Request("Once upon a time", 8)};
  requests[0].num_samples = 3;
  EngineOptions options;
  options.max_sequence_tokens = TokenCount(64);
  options.num_blocks = BlockCount(32);
  options.temperature = 0.8F;
  options.seed = 3;
  options.cache = CacheKind::kContiguous;
  const TestRun apart = RunEngine(*weights_, options, requests);
  options.cache = CacheKind::kPaged;
  const TestRun forked = RunEngine(*weights_, options, requests);
  EXPECT_GT(forked.num_block_copies, 0);
  ExpectSameAnswers(forked, apart, kTolerance);
}

}  // namespace
}  // namespace pagedkv::engine
