// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_EXAMPLES_ENGINE_ENGINE_TEST_SUPPORT_H_
#define TESTS_EXAMPLES_ENGINE_ENGINE_TEST_SUPPORT_H_

/// Runs the example engine and keeps all that it computed.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "examples/engine/engine.h"
#include "examples/engine/llama_model.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/random.h"
#include "examples/engine/thread_pool.h"
#include "gtest/gtest.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

/// What one sequence was answered.
struct TestAnswer {
  std::vector<TokenId> tokens;
  std::vector<float> logits;  // [tokens, vocab_size]
  bool has_ended = false;
};

/// All answers, by request and sample, and what happened on the way.
struct TestRun : public EngineObserver {
  using Key = std::pair<std::int64_t, std::int32_t>;
  std::map<Key, TestAnswer> answers;
  std::vector<MemoryRow> rows;
  PrefixCacheMetrics prefix_cache;
  std::int64_t num_preemptions = 0;
  std::int64_t num_block_copies = 0;
  std::int64_t num_swapped_blocks = 0;

  void OnToken(std::int64_t request, std::int32_t sample,
               std::span<const float> logits, TokenId token) override {
    TestAnswer& answer = answers[{request, sample}];
    answer.tokens.push_back(token);
    answer.logits.insert(answer.logits.end(), logits.begin(), logits.end());
  }
  void OnEnd(std::int64_t request, std::int32_t sample,
             FinishReason /*reason*/) override {
    TestAnswer& answer = answers[{request, sample}];
    EXPECT_FALSE(answer.has_ended);
    answer.has_ended = true;
  }
};

/// Runs `requests`: the first `num_first` until they end, and then the others.
/// Blocks are poisoned when they are issued again, and every read is checked,
/// unless blocks are reused in part, which leaves others' bytes in them.
inline TestRun RunEngine(const LlamaWeights& weights, EngineOptions options,
                         const std::vector<EngineRequest>& requests,
                         std::size_t num_first = 0, int num_threads = 2) {
  if (!options.partial_block_reuse) {
    options.paged = {.hygiene = ReuseHygiene::kPoison, .check_slots = true};
  }
  TestRun run;
  ThreadPool threads(num_threads);
  LlamaModel model(
      weights, static_cast<std::int32_t>(options.max_sequence_tokens.value()),
      threads);
  const auto engine = Engine::Create(options, model, threads, run);
  if (!engine.ok()) {
    ADD_FAILURE() << engine.status();
    return run;
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto number = (*engine)->Submit(requests[i]);
    if (!number.ok()) ADD_FAILURE() << number.status();
    if (i + 1 != num_first && i + 1 != requests.size()) continue;
    while ((*engine)->has_work()) {
      const absl::Status status = (*engine)->Step();
      const absl::Status manager = (*engine)->manager().CheckInvariants();
      const absl::Status scheduler = (*engine)->scheduler().CheckInvariants();
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_TRUE(manager.ok()) << manager;
      EXPECT_TRUE(scheduler.ok()) << scheduler;
      if (!status.ok()) return run;
    }
  }
  for (const auto& [key, answer] : run.answers) EXPECT_TRUE(answer.has_ended);
  run.rows = (*engine)->memory_log().Rows();
  run.num_preemptions = Summarize(run.rows).num_preemptions;
  run.num_block_copies = (*engine)->num_block_copies();
  run.num_swapped_blocks = (*engine)->num_swapped_blocks();
  run.prefix_cache = (*engine)->manager().prefix_cache_metrics();
  return run;
}

/// Equal tokens, and logits that are equal to the bit, or, with a `tolerance`,
/// that differ by so much of the largest at most.
inline void ExpectSameAnswers(const TestRun& run, const TestRun& expected,
                              float tolerance = 0) {
  ASSERT_EQ(run.answers.size(), expected.answers.size());
  for (const auto& [key, answer] : expected.answers) {
    const auto found = run.answers.find(key);
    ASSERT_NE(found, run.answers.end());
    const std::string name =
        std::to_string(key.first) + "/" + std::to_string(key.second);
    EXPECT_EQ(found->second.tokens, answer.tokens) << name;
    const std::vector<float>& logits = found->second.logits;
    ASSERT_EQ(logits.size(), answer.logits.size()) << name;
    float largest = 0;
    float difference = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      ASSERT_TRUE(std::isfinite(logits[i])) << name;
      largest = std::max(largest, std::abs(answer.logits[i]));
      difference = std::max(difference, std::abs(logits[i] - answer.logits[i]));
    }
    EXPECT_LE(difference, tolerance * largest) << name;
  }
}

/// `count` tokens of a vocabulary's first 250, as a seed draws them.
inline std::vector<TokenId> DrawTokens(Random& random, std::size_t count) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens)
    token = static_cast<TokenId>(random.Next() % 250);
  return tokens;
}

}  // namespace pagedkv::engine

#endif  // TESTS_EXAMPLES_ENGINE_ENGINE_TEST_SUPPORT_H_
