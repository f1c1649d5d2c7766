// SPDX-License-Identifier: Apache-2.0
//
// Sequences that are swapped out and in: single cases. Random ones are in
// kv_cache_manager_model_test.cc.

#include <cstdint>
#include <numeric>
#include <string>
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

KvCacheManager Make(const std::vector<KvCacheGroupOptions>& groups,
                    bool prefix_caching = false) {
  return *KvCacheManager::Create(
      {.pool = {.num_blocks = BlockCount(21), .prefix_caching = prefix_caching},
       .groups = groups,
       .max_sequence_tokens = TokenCount(64),
       .num_swap_blocks = BlockCount(10)});
}

SequenceId Add(KvCacheManager& manager, std::span<const TokenId> tokens) {
  const SequenceId id = *manager.AddSequence();
  EXPECT_TRUE(*manager.TryAppend(id, TokenCount(std::ssize(tokens)),
                                 {.tokens = tokens}));
  manager.ClearCopies();
  return id;
}

std::vector<TokenId> Tokens(int count) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 100);
  return tokens;
}

std::vector<int> Table(const KvCacheManager& manager, SequenceId id,
                       int group) {
  std::vector<int> ids;
  for (const BlockId block : manager.block_table(id, group)) {
    ids.push_back(block.value());
  }
  return ids;
}

void ExpectSound(const KvCacheManager& manager) {
  const absl::Status sound = manager.CheckInvariants();
  EXPECT_TRUE(sound.ok()) << sound;
}

BlockSwap Move(int group, int block, int swap_block, int num_tokens) {
  return {.group = group,
          .block = BlockId(block),
          .swap_block = BlockId(swap_block),
          .num_tokens = num_tokens};
}

TEST(KvCacheManagerSwapTest, WhatNoLaterTokenLooksAtStaysBehind) {
  KvCacheManager manager = Make({Full(4), Sliding(2, 3)});
  const SequenceId id = Add(manager, Tokens(7));
  EXPECT_THAT(Table(manager, id, 0), ElementsAre(1, 2));
  EXPECT_THAT(Table(manager, id, 1), ElementsAre(3, 4, 5, 6));
  ASSERT_TRUE(*manager.TrySwapOut(id));
  // Token 7 looks at tokens 5 and 6.
  EXPECT_THAT(manager.swap_outs(),
              ElementsAre(Move(0, 1, 1, 4), Move(0, 2, 2, 3), Move(1, 5, 3, 2),
                          Move(1, 6, 4, 1)));
  EXPECT_EQ(manager.pool().num_used(), BlockCount(0));
  EXPECT_EQ(manager.num_tokens(id), TokenCount(7));
  ExpectSound(manager);
  manager.ClearCopies();

  ASSERT_TRUE(*manager.TrySwapIn(id));
  const std::vector<int> window = Table(manager, id, 1);
  ASSERT_EQ(window.size(), 4u);
  EXPECT_EQ(window[0], 0);
  EXPECT_EQ(window[1], 0);
  EXPECT_THAT(manager.swap_ins()[2], Move(1, window[2], 3, 2));
  EXPECT_EQ(manager.pool().num_used(), BlockCount(4));
  ExpectSound(manager);
}

TEST(KvCacheManagerSwapTest, SwapBlocksThatAStepReadsAreNotIssuedInIt) {
  KvCacheManager manager = Make({Full(4)});
  const SequenceId first = Add(manager, Tokens(36));
  const SequenceId second = Add(manager, Tokens(8));
  ASSERT_TRUE(*manager.TrySwapOut(first));
  manager.ClearCopies();
  ASSERT_TRUE(*manager.TrySwapIn(first));
  EXPECT_FALSE(*manager.TrySwapOut(second));
  manager.ClearCopies();
  EXPECT_TRUE(*manager.TrySwapOut(second));
  ExpectSound(manager);
}

TEST(KvCacheManagerSwapTest, WhatComesBackIsIndexedWithTheNextTokens) {
  KvCacheManager manager = Make({Full(4)}, /*prefix_caching=*/true);
  const std::vector<TokenId> tokens = Tokens(12);
  const SequenceId id = Add(manager, std::span(tokens).first(9));
  ASSERT_TRUE(*manager.TrySwapOut(id));
  manager.ClearCopies();
  // What it has cached before is there as after a release, and can be lost.
  PrefixMatch match;
  manager.Match(tokens, {}, match);
  EXPECT_EQ(match.num_tokens, TokenCount(8));
  ASSERT_TRUE(manager.ResetPrefixCache());
  ASSERT_TRUE(*manager.TrySwapIn(id));
  ASSERT_TRUE(
      *manager.TryAppend(id, TokenCount(1), std::span(tokens).first(10)));
  manager.Match(tokens, {}, match);
  EXPECT_EQ(match.num_tokens, TokenCount(8));
  EXPECT_EQ(match.blocks[0][0], manager.block_table(id)[0]);
  ExpectSound(manager);
}

TEST(KvCacheManagerSwapTest, StatesAndTheEncodersTokensMoveToo) {
  KvCacheManager manager = Make({State(4), Cross(4)});
  const SequenceId id =
      *manager.AddSequence({.num_encoder_tokens = TokenCount(6)});
  ASSERT_TRUE(*manager.TryAppend(id, TokenCount(9)));
  manager.ClearCopies();
  ASSERT_TRUE(*manager.TrySwapOut(id));
  // One state, and two blocks of the encoder's.
  EXPECT_THAT(
      manager.swap_outs(),
      ElementsAre(Move(0, 1, 1, 1), Move(1, 2, 2, 4), Move(1, 3, 3, 2)));
  manager.ClearCopies();
  ASSERT_TRUE(*manager.TrySwapIn(id));
  EXPECT_EQ(manager.swap_ins().size(), 3u);
  EXPECT_TRUE(*manager.TryAppend(id, TokenCount(1)));
  ExpectSound(manager);
}

TEST(KvCacheManagerSwapTest, APinIsNotSwappedOut) {
  KvCacheManager manager = *KvCacheManager::Create(
      {.pool = {.num_blocks = BlockCount(21), .prefix_caching = true},
       .groups = {Full(4)},
       .max_sequence_tokens = TokenCount(64),
       .num_swap_blocks = BlockCount(10),
       .prefix_cache = {.max_pinned_blocks = BlockCount(4)}});
  Add(manager, Tokens(9));
  const absl::StatusOr<SequenceId> pin = manager.Pin(Tokens(9));
  ASSERT_TRUE(pin.ok()) << pin.status();
  EXPECT_EQ(manager.TrySwapOut(*pin).status().code(),
            absl::StatusCode::kFailedPrecondition);
  ExpectSound(manager);
}

TEST(KvCacheManagerSwapTest, WithoutASwapSpaceNothingFits) {
  KvCacheManager manager =
      *KvCacheManager::Create({.pool = {.num_blocks = BlockCount(9)},
                               .max_sequence_tokens = TokenCount(64)});
  const SequenceId id = *manager.AddSequence();
  ASSERT_TRUE(*manager.TryAppend(id, TokenCount(9)));
  EXPECT_FALSE(*manager.TrySwapOut(id));
  EXPECT_THAT(manager.swap_outs(), IsEmpty());
  EXPECT_EQ(manager.num_swap_blocks(), BlockCount(0));
}

TEST(KvCacheManagerSwapTest, RefusesASwapSpaceOfLessThanNoBlocks) {
  const absl::Status status =
      KvCacheManager::Create({.pool = {.num_blocks = BlockCount(9)},
                              .max_sequence_tokens = TokenCount(64),
                              .num_swap_blocks = BlockCount(-1)})
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("num_swap_blocks"));
}

}  // namespace
}  // namespace pagedkv
