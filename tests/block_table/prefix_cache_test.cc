// SPDX-License-Identifier: Apache-2.0
//
// The prefix cache as a client of KvCacheManager sees it: what is found, what
// is not, and what was once handed out though it should not have been.

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kFailedPrecondition = absl::StatusCode::kFailedPrecondition;

KvCacheManagerOptions Options(std::vector<KvCacheGroupOptions> groups,
                              PrefixCacheOptions cache = {},
                              std::int64_t num_blocks = 33) {
  return {
      .pool = {.num_blocks = BlockCount(num_blocks), .prefix_caching = true},
      .groups = std::move(groups),
      .max_sequence_tokens = TokenCount(128),
      .max_sequences = 16,
      .prefix_cache = std::move(cache)};
}

// first, first + 1, ...
std::vector<TokenId> Tokens(std::size_t count, TokenId first = 0) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}
std::vector<TokenId> operator+(std::vector<TokenId> a,
                               const std::vector<TokenId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool Append(KvCacheManager& manager, SequenceId id, std::int64_t count,
            const std::vector<TokenId>& tokens,
            const PrefixMatch* match = nullptr) {
  const absl::StatusOr<bool> granted = manager.TryAppend(
      id, TokenCount(count), {.tokens = tokens, .match = match});
  EXPECT_TRUE(granted.ok()) << granted.status();
  return granted.ok() && *granted;
}

PrefixMatch Match(KvCacheManager& manager, const std::vector<TokenId>& tokens,
                  const ContentKeys& keys = {}) {
  PrefixMatch match;
  manager.Match(tokens, keys, match);
  return match;
}
std::int64_t Found(KvCacheManager& manager, const std::vector<TokenId>& tokens,
                   const ContentKeys& keys = {}) {
  return Match(manager, tokens, keys).num_tokens.value();
}

// A new sequence that begins with what is cached of `tokens` and goes on to
// their end.
SequenceId Begin(KvCacheManager& manager, const std::vector<TokenId>& tokens,
                 const SequenceOptions& options = {}) {
  const SequenceId id = *manager.AddSequence(options);
  PrefixMatch match;
  EXPECT_TRUE(manager.Match(id, tokens, match).ok());
  EXPECT_TRUE(Append(manager, id, std::ssize(tokens) - match.num_tokens.value(),
                     tokens, &match));
  return id;
}
// The same in a step of its own, and away with it.
void Compute(KvCacheManager& manager, const std::vector<TokenId>& tokens,
             const SequenceOptions& options = {}) {
  const SequenceId id = Begin(manager, tokens, options);
  manager.ClearCopies();
  ASSERT_TRUE(manager.Release(id).ok());
}

std::vector<int> Table(const KvCacheManager& manager, SequenceId id,
                       int group = 0) {
  std::vector<int> ids;
  for (const BlockId block : manager.block_table(id, group)) {
    ids.push_back(block.value());
  }
  return ids;
}

void ExpectSound(const KvCacheManager& manager) {
  const absl::Status status = manager.CheckInvariants();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(PrefixCacheTest, TheLastTokenIsAlwaysComputed) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  Compute(manager, Tokens(12));
  EXPECT_EQ(Found(manager, Tokens(13)), 12);
  EXPECT_EQ(Found(manager, Tokens(12)), 8);
  EXPECT_EQ(Found(manager, Tokens(5)), 4);
  EXPECT_EQ(Found(manager, Tokens(4)), 0);
  EXPECT_EQ(Found(manager, Tokens(1)), 0);
  EXPECT_EQ(Found(manager, {}), 0);
}

TEST(PrefixCacheTest, AnAdapterIsNotASaltOfTheSameName) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  const std::vector<ContentKeys> all = {
      {},
      {.adapter = "x"},
      {.salts = {{"x", TokenCount(0)}}},
      {.adapter = "x", .salts = {{"x", TokenCount(0)}}},
      {.salts = {{"x", TokenCount(0)}, {"x", TokenCount(1)}}}};
  for (const ContentKeys& keys : all) {
    EXPECT_EQ(Found(manager, Tokens(13), keys), 0);
    Compute(manager, Tokens(12), {.keys = keys});
    EXPECT_EQ(Found(manager, Tokens(13), keys), 12);
  }
  EXPECT_EQ(manager.num_cached_keys(), 15);
}

TEST(PrefixCacheTest, ASaltIsolatesWhatFollowsItsBeginning) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  const auto salted = [](const std::string& salt, std::int64_t begin) {
    return ContentKeys{.salts = {{salt, TokenCount(begin)}}};
  };
  Compute(manager, Tokens(20), {.keys = salted("mine", 9)});
  EXPECT_EQ(Found(manager, Tokens(21), salted("mine", 9)), 20);
  // The system prompt before it is anybody's, to the block.
  EXPECT_EQ(Found(manager, Tokens(21), salted("yours", 9)), 8);
  EXPECT_EQ(Found(manager, Tokens(21)), 8);
  EXPECT_EQ(Found(manager, Tokens(21), salted("mine", 0)), 0);
  EXPECT_EQ(Found(manager, Tokens(21), salted("mine", 4)), 4);
  // An empty salt is none.
  EXPECT_EQ(Found(manager, Tokens(21), salted("", 0)), 8);
}

TEST(PrefixCacheTest, AnItemIsTheSameOnlyAtItsOffset) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  const auto with = [](const std::string& name, std::int64_t offset) {
    return ContentKeys{.items = {{name, TokenCount(offset), TokenCount(4)}}};
  };
  Compute(manager, Tokens(20), {.keys = with("cat", 6)});
  EXPECT_EQ(Found(manager, Tokens(21), with("cat", 6)), 20);
  EXPECT_EQ(Found(manager, Tokens(21), with("dog", 6)), 4);
  EXPECT_EQ(Found(manager, Tokens(21), with("cat", 7)), 4);
  EXPECT_EQ(Found(manager, Tokens(21), with("cat", 2)), 0);
  EXPECT_EQ(Found(manager, Tokens(21), with("cat", 30)), 4);
  EXPECT_EQ(Found(manager, Tokens(21)), 4);
}

TEST(PrefixCacheTest, EmbeddingsAreComparedByTheirBytes) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  ContentKeys keys;
  keys.embedding_bytes_per_token = 2;
  keys.prompt_embeddings.resize(24);  // 12 tokens
  const std::vector<TokenId> none(20);
  Compute(manager, none, {.keys = keys});
  EXPECT_EQ(Found(manager, none, keys), 16);
  EXPECT_EQ(Found(manager, none), 0);
  ContentKeys other = keys;
  other.prompt_embeddings[9] = std::byte{1};  // of token 4
  EXPECT_EQ(Found(manager, none, other), 4);
  other = keys;
  other.prompt_embeddings.resize(16);
  EXPECT_EQ(Found(manager, none, other), 8);
}

TEST(PrefixCacheTest, AMatchIsOfUseUntilSomethingChanges) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  Compute(manager, Tokens(12));
  const SequenceId id = *manager.AddSequence();
  const auto refuses = [&](const PrefixMatch& match) {
    const absl::Status status =
        manager.TryAppend(id, TokenCount(1), {.match = &match}).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("match again"));
    return status.code() == kFailedPrecondition;
  };
  PrefixMatch match = Match(manager, Tokens(13));
  ASSERT_TRUE(manager.Evict({{match.blocks[0][2]}}).ok());
  EXPECT_TRUE(refuses(match));
  match = Match(manager, Tokens(13));
  EXPECT_EQ(match.num_tokens, TokenCount(8));
  Begin(manager, Tokens(8, 50));
  EXPECT_TRUE(refuses(match));
  match = Match(manager, Tokens(13));
  manager.InvalidatePrefixCache();
  EXPECT_TRUE(refuses(match));
  EXPECT_EQ(manager.num_tokens(id), TokenCount(0));
  EXPECT_THAT(Table(manager, id), IsEmpty());
  ExpectSound(manager);
}

TEST(PrefixCacheTest, OldWeightsAreNeverFoundAgain) {
  PrefixCacheOptions cache;
  cache.content_hash = ContentHashOptions{};
  cache.model_fingerprint = "one";
  auto manager = *KvCacheManager::Create(Options({Full(4)}, cache));
  const SequenceId old = Begin(manager, Tokens(9));
  const SequenceId waits = *manager.AddSequence();
  Compute(manager, Tokens(8, 50));
  const auto hash =
      manager.cached_content(BlockId(Table(manager, old)[0]))->hash;
  manager.InvalidatePrefixCache("two");
  EXPECT_EQ(manager.num_cached_keys(), 0);
  EXPECT_EQ(Found(manager, Tokens(9)), 0);
  EXPECT_EQ(Found(manager, Tokens(9, 50)), 0);
  // What runs goes on, and shares nothing more; nor does its fork.
  const SequenceId fork = *manager.Fork(old);
  for (const SequenceId id : {old, fork, waits}) {
    ASSERT_TRUE(Append(manager, id, 11, Tokens(20)));
  }
  EXPECT_EQ(manager.num_cached_keys(), 0);
  ExpectSound(manager);
  // A sequence of the new weights is found by its like, under another hash.
  const SequenceId id = Begin(manager, Tokens(9));
  EXPECT_EQ(Found(manager, Tokens(9)), 8);
  EXPECT_NE(manager.cached_content(BlockId(Table(manager, id)[0]))->hash, hash);
  for (const SequenceId each : {old, fork, waits, id}) {
    ASSERT_TRUE(manager.Release(each).ok());
  }
  ExpectSound(manager);
}

TEST(PrefixCacheTest, PinsHoldNoMoreThanAllowed) {
  PrefixCacheOptions cache;
  cache.max_pinned_blocks = BlockCount(3);
  auto manager = *KvCacheManager::Create(Options({Full(4)}, cache, 8));
  EXPECT_EQ(manager.Pin(Tokens(9)).status().code(),
            absl::StatusCode::kNotFound);
  Compute(manager, Tokens(16));
  EXPECT_EQ(manager.Pin(Tokens(17)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(manager.num_sequences(), 0);
  const SequenceId pin = *manager.Pin(Tokens(9));
  EXPECT_EQ(manager.num_pinned_blocks(), BlockCount(2));
  EXPECT_EQ(manager.Pin(Tokens(9)).status().code(),
            absl::StatusCode::kResourceExhausted);
  // Whatever comes, the pinned prefix stays.
  Compute(manager, Tokens(20, 100));
  EXPECT_EQ(Found(manager, Tokens(17)), 8);
  ASSERT_TRUE(manager.Release(pin).ok());
  EXPECT_EQ(manager.num_pinned_blocks(), BlockCount(0));
  Compute(manager, Tokens(28, 200));
  EXPECT_EQ(Found(manager, Tokens(17)), 0);
  ExpectSound(manager);
}

TEST(PrefixCacheTest, ARefusedAppendGivesBackWhatLiesBeforeTheWindowOnly) {
  auto manager = *KvCacheManager::Create(Options({Sliding(2, 5)}, {}, 10));
  const std::vector<TokenId> tokens = Tokens(40);
  const SequenceId id = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, id, 16, tokens));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(1));
  EXPECT_FALSE(Append(manager, id, 20, tokens));
  // Token 16 looks at the tokens from 12 on.
  EXPECT_THAT(Table(manager, id), ElementsAre(0, 0, 0, 0, 0, 0, 7, 8));
  EXPECT_EQ(manager.num_tokens(id), TokenCount(16));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(7));
  ExpectSound(manager);
  EXPECT_TRUE(Append(manager, id, 14, tokens));
}

// References that no table explains, and marks that the index does not: what a
// leak or a second release looks like from outside of the manager.
TEST(PrefixCacheTest, CheckInvariantsNamesABlockThatIsLeakedOrReleasedTwice) {
  const auto corrupted = [](auto corrupt) {
    auto manager = *KvCacheManager::Create(Options({Full(4)}));
    Compute(manager, Tokens(8, 50));
    Begin(manager, Tokens(12));
    ExpectSound(manager);
    corrupt(const_cast<BlockPool&>(manager.pool()));
    return std::string(manager.CheckInvariants().message());
  };
  const std::vector<BlockId> block = {BlockId(4)};
  EXPECT_THAT(
      corrupted([&](BlockPool& pool) { ASSERT_TRUE(pool.Share(block).ok()); }),
      HasSubstr("block 4 has 2 references, and 1 table entries"));
  EXPECT_THAT(corrupted([&](BlockPool& pool) {
                ASSERT_TRUE(pool.Release(block).ok());
                EXPECT_EQ(pool.Release(block).code(), kFailedPrecondition);
              }),
              HasSubstr("block 4 has 0 references, and 1 table entries"));
  EXPECT_THAT(
      corrupted([&](BlockPool& pool) { pool.SetCached(block[0], false); }),
      HasSubstr("block 4 is in the index and is not marked as cached"));
}

// Defects that the model test found.

// A sequence was cut to 10 tokens, where its window had moved on. The blocks
// there were null, the next token was written to the null block, and read what
// others had written there.
TEST(PrefixCacheTest, ASequenceIsNotCutToWhereItsWindowIsGone) {
  auto manager = *KvCacheManager::Create(Options({Full(4), Sliding(4, 5)}));
  const std::vector<TokenId> tokens = Tokens(26);
  const SequenceId id = Begin(manager, Tokens(24));
  ASSERT_TRUE(Append(manager, id, 2, tokens));
  ASSERT_EQ(Table(manager, id, 1)[4], 0);
  for (const std::int64_t cut : {23, 18, 17}) {
    EXPECT_EQ(manager.Truncate(id, TokenCount(cut)).code(),
              kFailedPrecondition);
    EXPECT_EQ(manager.Rewind(id, TokenCount(cut)).code(), kFailedPrecondition);
    EXPECT_EQ(manager.Retract(id, TokenCount(cut)).code(), kFailedPrecondition);
    EXPECT_EQ(manager.num_tokens(id), TokenCount(26));
  }
  EXPECT_TRUE(manager.Truncate(id, TokenCount(24)).ok());
  EXPECT_TRUE(manager.Truncate(id, TokenCount(0)).ok());
  ExpectSound(manager);
}

// The range was looked at last, when blocks had left the index already.
TEST(PrefixCacheTest, ARetractThatIsRefusedChangesNothing) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  const SequenceId id = Begin(manager, Tokens(12));
  ASSERT_TRUE(manager.Rewind(id, TokenCount(4)).ok());
  ASSERT_EQ(Found(manager, Tokens(13)), 12);
  EXPECT_EQ(manager.Retract(id, TokenCount(5)).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Found(manager, Tokens(13)), 12);
}

// Between the states of two chunks lie null blocks, and the search for what can
// be given back ended at the first of them: each chunk left a block behind.
TEST(PrefixCacheTest, AStateIsGivenBackAcrossTheGapBeforeTheNext) {
  auto manager = *KvCacheManager::Create(Options({State(4)}));
  const std::vector<TokenId> tokens = Tokens(100);
  const SequenceId id = *manager.AddSequence();
  for (int chunk = 0; chunk < 8; ++chunk) {
    ASSERT_TRUE(Append(manager, id, 12, tokens));
    EXPECT_LE(manager.pool().num_used(), manager.BlocksFor(TokenCount(96)));
  }
  EXPECT_EQ(manager.pool().num_used(), BlockCount(2));
  ExpectSound(manager);
}

// The block of the lookahead was taken for that of the state, and there was
// none for the tokens appended.
TEST(PrefixCacheTest, AStateHasItsBlockWhateverIsLookedAhead) {
  auto manager = *KvCacheManager::Create(Options({State(4)}));
  const SequenceId id = *manager.AddSequence();
  ASSERT_TRUE(
      *manager.TryAppend(id, TokenCount(6), {.lookahead = TokenCount(10)}));
  EXPECT_THAT(Table(manager, id), ElementsAre(0, 1));
  EXPECT_EQ(manager.Slot(id, 5), 4 + 1);
  const SequenceId fork = *manager.Fork(id);
  EXPECT_THAT(Table(manager, fork), ElementsAre(0, 1));
  ExpectSound(manager);
}

// A chunk began in the middle of a block and ended beyond it. The block kept
// the state from before the chunk, and was indexed as that of its end.
TEST(PrefixCacheTest, AStateIsSharedOnlyIfTheSequenceStoppedThere) {
  auto manager = *KvCacheManager::Create(Options({State(4)}));
  const std::vector<TokenId> tokens = Tokens(16);
  const SequenceId id = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, id, 6, tokens));  // the state after 6 tokens
  ASSERT_TRUE(Append(manager, id, 4, tokens));  // goes into the next block
  EXPECT_EQ(Found(manager, tokens), 0);
  manager.ClearCopies();
  ASSERT_TRUE(Append(manager, id, 2, tokens));
  manager.ClearCopies();
  EXPECT_EQ(Found(manager, tokens), 12);
  ExpectSound(manager);
}

// As upstream, the block in which a prompt ends has a second key. Where it also
// had equals under its first, a split of the run looked for them at the second
// place, found none, and wrote past the end of a table.
TEST(PrefixCacheTest, ABlockWithTwoKeysAndAnEqualSurvivesASplit) {
  auto manager = *KvCacheManager::Create(
      Options({Full(4), Sliding(2, 5)}, {.vllm_compatible = true}, 65));
  const std::vector<TokenId> tokens = Tokens(12);
  // Equal blocks: neither sequence looks for what the other has.
  std::vector<SequenceId> ids;
  for (int i = 0; i < 2; ++i) {
    ids.push_back(*manager.AddSequence({.num_prompt_tokens = TokenCount(6)}));
    ASSERT_TRUE(Append(manager, ids.back(), 12, tokens));
  }
  ExpectSound(manager);
  // Others part from them before and after the second key.
  for (const std::size_t common : {2u, 4u, 6u, 8u}) {
    Compute(manager, Tokens(common) + Tokens(12, 100));
    ExpectSound(manager);
  }
  for (const SequenceId id : ids) ASSERT_TRUE(manager.Release(id).ok());
  EXPECT_TRUE(manager.ResetPrefixCache());
  EXPECT_EQ(manager.num_cached_keys(), 0);
  ExpectSound(manager);
}

// The policy was not told of a block that is indexed only for the tail of a
// prompt, and aborted when the block was released.
TEST(PrefixCacheTest, APolicyKnowsTheTailOfAPrompt) {
  auto manager = *KvCacheManager::Create(
      Options({Full(8), Sliding(2, 5)},
              {.vllm_compatible = true, .eviction_policy = "lfu"}));
  const SequenceId id =
      *manager.AddSequence({.num_prompt_tokens = TokenCount(12)});
  ASSERT_TRUE(Append(manager, id, 16, Tokens(20)));
  // Evicted, the block comes back with the key of the tail alone.
  ASSERT_TRUE(manager.Evict({{BlockId(Table(manager, id)[1])}}).ok());
  ASSERT_TRUE(Append(manager, id, 1, Tokens(20)));
  const auto content = manager.cached_content(BlockId(Table(manager, id)[1]));
  ASSERT_TRUE(content.has_value());
  EXPECT_EQ(content->num_tokens, TokenCount(12));
  ExpectSound(manager);
  ASSERT_TRUE(manager.Release(id).ok());
  ExpectSound(manager);
  Compute(manager, Tokens(30, 100));  // takes it for something else
  ExpectSound(manager);
}

// Who continues a block was looked for at the leaf that was added last. Where
// that held nothing, as that of a sequence that lost its blocks, the block went
// before those that continue it, and nobody could find these from then on.
TEST(PrefixCacheTest, WhatContinuesABlockIsEvictedBeforeIt) {
  auto manager = *KvCacheManager::Create(
      Options({Full(2)}, {.eviction_policy = "priority"}, 8));
  // Blocks 1 to 4, of which the first is the least worth keeping.
  Compute(manager, Tokens(8),
          {.retention = {{.end = TokenCount(2), .priority = 0}}});
  const SequenceId other = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, other, 6, Tokens(4) + Tokens(2, 90)));
  ASSERT_TRUE(
      manager.Evict(std::vector<BlockId>{BlockId(5), BlockId(6), BlockId(7)})
          .ok());
  ASSERT_TRUE(manager.Truncate(other, TokenCount(0)).ok());
  ASSERT_EQ(Found(manager, Tokens(9)), 8);
  Compute(manager, Tokens(8, 200));  // needs one block of the four
  EXPECT_EQ(Found(manager, Tokens(9)), 6);
  ExpectSound(manager);
}

// A hit that was cut to whole blocks of another group ended before the chunk
// that it had been looked for in. Its blocks were null then, though the next
// token looked at them.
TEST(PrefixCacheTest, AHitIsCutToTheChunkThatItEndsIn) {
  auto manager =
      *KvCacheManager::Create(Options({Full(6), Chunked(2, 8)}, {}, 65));
  const SequenceId id = Begin(manager, Tokens(12));
  // Of the last two blocks before token 12, the chunk from 8 on, one is gone.
  ASSERT_TRUE(manager.Evict({{BlockId(Table(manager, id, 1)[5])}}).ok());
  const PrefixMatch match = Match(manager, Tokens(18));
  EXPECT_EQ(match.num_tokens, TokenCount(6));
  EXPECT_EQ(match.blocks[1].size(), 3u);
  for (const BlockId block : match.blocks[1]) EXPECT_NE(block, kNullBlock);
}

// The same where chunks do not begin with a block.
TEST(PrefixCacheTest, AHitInsideAChunkHasTheBlockThatTheChunkBeginsIn) {
  auto manager = *KvCacheManager::Create(Options({Chunked(4, 6)}));
  // Token 4 is in the first chunk, and looks at all before it: nothing is
  // cached of them.
  EXPECT_EQ(Found(manager, Tokens(8)), 0);
  // Token 8 is in the chunk from 6 on, whose block was never computed either.
  EXPECT_EQ(Found(manager, Tokens(12)), 0);
}

// Two requests of one step. The second went on from a part of a block that the
// first was only about to write: the copy, made before the step writes, was of
// what had been in the block before.
TEST(PrefixCacheTest, NothingIsCopiedFromABlockThatTheStepIsToWrite) {
  auto manager = *KvCacheManager::Create(
      Options({Full(4)}, {.partial_block_reuse = true}));
  const std::vector<TokenId> other = Tokens(6) + Tokens(6, 50);
  Begin(manager, Tokens(8));
  EXPECT_EQ(Found(manager, other), 4);  // whole blocks are read, not copied
  manager.ClearCopies();
  const PrefixMatch match = Match(manager, other);
  EXPECT_EQ(match.num_tokens, TokenCount(6));
  EXPECT_EQ(match.partial_tokens, TokenCount(2));
  const SequenceId id = Begin(manager, other);
  EXPECT_THAT(Table(manager, id), ElementsAre(1, 3, 4));
  ASSERT_EQ(manager.copies().size(), 1u);
  EXPECT_EQ(manager.copies()[0], (BlockCopy{0, BlockId(2), BlockId(3), 2}));
  ExpectSound(manager);
}

// The same with states: all that begin in a step begin from states that were
// there before it.
TEST(PrefixCacheTest, AStateIsFoundFromTheNextStepOn) {
  auto manager = *KvCacheManager::Create(Options({Full(2), State(4)}));
  Begin(manager, Tokens(8));
  EXPECT_EQ(Found(manager, Tokens(9)), 0);
  manager.ClearCopies();
  EXPECT_EQ(Found(manager, Tokens(9)), 8);
  ExpectSound(manager);
}

// One sequence had computed half of a block, another was to compute all of it
// in this step, and the first gave its own half up for it. Then the other lost
// its place in the step, and that half was nowhere.
TEST(PrefixCacheTest, ABlockGivesWayOnlyToOneThatHasAllOfIt) {
  auto manager =
      *KvCacheManager::Create(Options({Full(4)}, {.deduplicate = true}));
  const std::vector<TokenId> tokens = Tokens(4);
  const SequenceId a = *manager.AddSequence();
  const SequenceId b = *manager.AddSequence();
  const SequenceId c = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, b, 2, tokens));  // block 1
  ASSERT_TRUE(Append(manager, c, 2, tokens));  // block 2
  manager.ClearCopies();
  ASSERT_TRUE(Append(manager, a, 4, tokens));  // block 3
  ASSERT_TRUE(Append(manager, b, 2, tokens));
  EXPECT_THAT(Table(manager, b), ElementsAre(1));
  ASSERT_TRUE(manager.Retract(a, TokenCount(0)).ok());
  EXPECT_THAT(Table(manager, b), ElementsAre(1));
  // Side by side they do share: each has written its half, and both write on.
  ASSERT_TRUE(Append(manager, c, 2, tokens));
  EXPECT_THAT(Table(manager, c), ElementsAre(1));
  EXPECT_EQ(manager.prefix_cache_metrics().blocks_deduplicated, 1);
  ExpectSound(manager);
}

// Who holds blocks was seen from the first group's table. That of
// cross-attention is empty without an encoder, and stays when all tokens go.
TEST(PrefixCacheTest, CrossAttentionMayComeFirst) {
  auto manager = *KvCacheManager::Create(Options({Cross(4), Full(2)}));
  const std::vector<TokenId> tokens = Tokens(9);
  const SequenceId deaf = Begin(manager, tokens);
  ASSERT_TRUE(Append(manager, deaf, 2, Tokens(11)));
  ASSERT_TRUE(Append(manager, deaf, 2, Tokens(13)));
  ExpectSound(manager);
  const SequenceId id =
      Begin(manager, tokens, {.num_encoder_tokens = TokenCount(5)});
  EXPECT_EQ(manager.NumCommonPrefixBlocks(id, 1), BlockCount(4));
  const SequenceId stranger = Begin(manager, Tokens(4, 50));
  EXPECT_EQ(manager.NumCommonPrefixBlocks(id, 1), BlockCount(0));
  ASSERT_TRUE(manager.Truncate(id, TokenCount(0)).ok());
  EXPECT_EQ(Table(manager, id, 0).size(), 2u);
  ExpectSound(manager);
  PrefixMatch match;
  ASSERT_TRUE(manager.Match(id, tokens, match).ok());
  EXPECT_TRUE(Append(manager, id, 1, tokens, &match));
  for (const SequenceId each : {deaf, id, stranger}) {
    ASSERT_TRUE(manager.Release(each).ok());
  }
  ExpectSound(manager);
}

// The slots and the compressed table of a cross-attention group were those of
// the decoder's tokens, beyond the end of its table.
TEST(PrefixCacheTest, TheTableOfCrossAttentionIsThatOfTheEncodersTokens) {
  auto manager = *KvCacheManager::Create(Options({Full(2), Cross(4)}));
  const SequenceId id =
      Begin(manager, Tokens(20), {.num_encoder_tokens = TokenCount(6)});
  const SequenceId waits =
      *manager.AddSequence({.num_encoder_tokens = TokenCount(6)});
  CsrBlockTables csr;
  manager.FillCsr(std::vector<SequenceId>{waits, id}, csr, 1);
  EXPECT_THAT(csr.indptr, ElementsAre(0, 0, 2));
  EXPECT_THAT(csr.indices, ElementsAre(11, 12));
  EXPECT_THAT(csr.last_page_len, ElementsAre(0, 2));
  std::vector<std::int64_t> slots(6);
  manager.FillSlotMapping(id, 0, slots, 1);
  EXPECT_THAT(slots, ElementsAre(44, 45, 46, 47, 48, 49));
}

// The time left to the end of all times overflowed where the clock had begun
// below zero.
TEST(PrefixCacheTest, TheClockOfRetentionMayBeginBelowZero) {
  auto manager = *KvCacheManager::Create(
      Options({Full(4)}, {.eviction_policy = "priority"}, 5));
  manager.SetTime(std::numeric_limits<std::int64_t>::min() / 2);
  Compute(manager, Tokens(8), {.retention = {{.priority = 100}}});
  manager.SetTime(5);
  Compute(manager, Tokens(16, 50));
  ExpectSound(manager);
}

// A pin whose encoder needed blocks that were not there brought the process
// down.
TEST(PrefixCacheTest, APinIsRefusedWhereItsEncoderHasNoRoom) {
  PrefixCacheOptions cache;
  cache.max_pinned_blocks = BlockCount(4);
  auto manager =
      *KvCacheManager::Create(Options({Full(4), Cross(4)}, cache, 4));
  const SequenceId id = Begin(manager, Tokens(12));
  EXPECT_EQ(manager.Pin(Tokens(12), {.num_encoder_tokens = TokenCount(4)})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(manager.num_pinned_blocks(), BlockCount(0));
  EXPECT_EQ(manager.num_sequences(), 1);
  ASSERT_TRUE(manager.Release(id).ok());
  EXPECT_TRUE(
      manager.Pin(Tokens(9), {.num_encoder_tokens = TokenCount(4)}).ok());
  ExpectSound(manager);
}

// Of a prompt in chunks only the first chunk had been counted as asked for, so
// that the rate of hits came out too high.
TEST(PrefixCacheTest, AllKnownTokensCountAsAskedFor) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}));
  Compute(manager, Tokens(8));
  const SequenceId id = *manager.AddSequence();
  PrefixMatch match;
  ASSERT_TRUE(manager.Match(id, Tokens(40), match).ok());
  ASSERT_TRUE(Append(manager, id, 4, Tokens(40), &match));
  EXPECT_EQ(manager.prefix_cache_metrics().queries, 8 + 40);
  EXPECT_EQ(manager.prefix_cache_metrics().hits, 8);
}

// Rewound to its start, a sequence kept a table that began with null blocks,
// and wrote its next tokens to them.
TEST(PrefixCacheTest, ARewindKeepsNoNullBlocksForTokensToCome) {
  auto manager =
      *KvCacheManager::Create(Options({Full(2), Sliding(2, 3), State(2)}));
  const SequenceId id = Begin(manager, Tokens(9));
  ASSERT_TRUE(Append(manager, id, 1, Tokens(10)));
  ASSERT_TRUE(manager.Rewind(id, TokenCount(0)).ok());
  EXPECT_EQ(Table(manager, id, 0).size(), 5u);
  EXPECT_THAT(Table(manager, id, 1), IsEmpty());
  EXPECT_THAT(Table(manager, id, 2), IsEmpty());
  ASSERT_TRUE(Append(manager, id, 4, Tokens(4, 50)));
  EXPECT_EQ(Table(manager, id, 1).size(), 2u);
  EXPECT_NE(Table(manager, id, 1)[0], 0);
  EXPECT_NE(Table(manager, id, 2)[1], 0);
  ExpectSound(manager);
}

// Nothing before its chunk is looked at by a token, and so all of it counted as
// found, where the index had nothing of the sequence. It was then extended from
// a place that it did not have.
TEST(PrefixCacheTest, AHitDoesNotReachBeyondWhatIsIndexed) {
  auto manager = *KvCacheManager::Create(Options({Chunked(2, 8)}));
  EXPECT_EQ(Found(manager, Tokens(30)), 0);
  Compute(manager, Tokens(6));
  Begin(manager, Tokens(6) + Tokens(24, 50));
  ExpectSound(manager);
  Begin(manager, Tokens(6) + Tokens(24, 80));
  ExpectSound(manager);
  // With blocks of its chunk, and null where no one looks.
  const PrefixMatch match = Match(manager, Tokens(6) + Tokens(7, 50));
  EXPECT_EQ(match.num_tokens, TokenCount(12));
  EXPECT_EQ(match.blocks[0][3], kNullBlock);
  EXPECT_NE(match.blocks[0][4], kNullBlock);
}

// A state in the middle of its block, which the step was to go on from, gave
// way to an equal one of the block's end.
TEST(PrefixCacheTest, AStateThatIsStillToBeReadGivesWayToNone) {
  auto manager =
      *KvCacheManager::Create(Options({State(4)}, {.deduplicate = true}));
  const std::vector<TokenId> tokens = Tokens(8);
  Compute(manager, Tokens(4));  // block 1
  const SequenceId a = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, a, 3, tokens));
  manager.ClearCopies();
  ASSERT_TRUE(Append(manager, a, 1, tokens));
  EXPECT_THAT(Table(manager, a), ElementsAre(2));
  manager.ClearCopies();
  // In one go, the state before it is none, or lies in another block.
  const SequenceId b = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, b, 4, tokens));
  EXPECT_THAT(Table(manager, b), ElementsAre(1));
  ExpectSound(manager);
}

// Runs of evicted blocks leave the index at once where no block has equals. The
// first equal was not noticed, and its ring broke with the run.
TEST(PrefixCacheTest, EqualBlocksAreEvictedOneByOne) {
  auto manager = *KvCacheManager::Create(Options({Full(4)}, {}, 9));
  std::vector<SequenceId> ids;
  for (int i = 0; i < 2; ++i) {  // neither looks for what the other has
    ids.push_back(*manager.AddSequence());
    ASSERT_TRUE(Append(manager, ids.back(), 16, Tokens(16)));
  }
  for (const SequenceId id : ids) ASSERT_TRUE(manager.Release(id).ok());
  Compute(manager, Tokens(16, 50));
  ExpectSound(manager);
  EXPECT_EQ(Found(manager, Tokens(17)), 16);
  Compute(manager, Tokens(32, 100));
  ExpectSound(manager);
  EXPECT_EQ(Found(manager, Tokens(17)), 0);
}

// With positions smaller than a block, the block that had filled was looked for
// at the number of its last position: one looked ahead for, and not written.
TEST(PrefixCacheTest, ABlockOfSeveralPositionsIsFoundByItsIndex) {
  auto manager =
      *KvCacheManager::Create(Options({Full(4)}, {.hash_block_size = 2}));
  const SequenceId id = *manager.AddSequence();
  for (std::int64_t tokens = 4; tokens <= 32; tokens += 4) {
    ASSERT_TRUE(*manager.TryAppend(
        id, TokenCount(4),
        {.lookahead = TokenCount(64), .tokens = Tokens(32)}));
    const PrefixMatch match = Match(manager, Tokens(33));
    EXPECT_EQ(match.num_tokens, TokenCount(tokens));
    for (std::size_t i = 0; i < match.blocks[0].size(); ++i) {
      EXPECT_EQ(match.blocks[0][i], manager.block_table(id)[i]);
    }
  }
  ExpectSound(manager);
}

TEST(PrefixCacheTest, AnEventTellsABlockWhoseTimeWasOverFromOneThatHadToGo) {
  KvCacheManager manager =
      *KvCacheManager::Create(Options({Full(4)},
                                      {.content_hash = ContentHashOptions{},
                                       .events = true,
                                       .eviction_policy = "priority"},
                                      /*num_blocks=*/3));
  SequenceOptions kept;
  kept.retention = {{.priority = 90, .duration_ns = 100}};
  Compute(manager, Tokens(4), kept);
  Compute(manager, Tokens(4, 100));
  manager.SetTime(100);
  static_cast<void>(manager.TakeEvents());
  const SequenceId id = Begin(manager, Tokens(8, 200));
  std::vector<RemovalReason> reasons;
  for (const KvEvent& event : manager.TakeEvents().events) {
    if (const auto* const removed = std::get_if<BlocksRemoved>(&event)) {
      reasons.push_back(removed->reason);
    }
  }
  EXPECT_THAT(reasons, testing::UnorderedElementsAre(RemovalReason::kExpired,
                                                     RemovalReason::kCapacity));
  EXPECT_TRUE(manager.Release(id).ok());
}

}  // namespace
}  // namespace pagedkv
