// SPDX-License-Identifier: Apache-2.0
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/slot_sanitizer.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

KvCacheManagerOptions Options(std::int64_t num_blocks) {
  KvCacheManagerOptions options;
  options.pool = {.num_blocks = BlockCount(num_blocks),
                  .prefix_caching = true,
                  .max_num_blocks = BlockCount(2 * num_blocks)};
  options.groups = {Full(4)};
  options.max_sequence_tokens = TokenCount(100);
  options.prefix_cache.content_hash = ContentHashOptions{};
  options.prefix_cache.events = true;
  return options;
}

std::vector<TokenId> Tokens(TokenId first, int count) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// A sequence with these tokens, written.
SequenceId Add(KvCacheManager& manager, const std::vector<TokenId>& tokens) {
  const SequenceId id = *manager.AddSequence();
  PrefixMatch match;
  EXPECT_TRUE(manager.Match(id, tokens, match).ok());
  const TokenCount count(std::ssize(tokens) - match.num_tokens.value());
  EXPECT_EQ(*manager.TryAppend(id, count, {.tokens = tokens, .match = &match}),
            true);
  manager.ClearCopies();
  return id;
}

std::int64_t Hits(KvCacheManager& manager, const std::vector<TokenId>& tokens) {
  PrefixMatch match;
  manager.Match(tokens, ContentKeys{}, match);
  return match.num_tokens.value();
}

TEST(KvCacheManagerResizeTest, WhatIsCachedInBlocksThatGoIsRemovedAndSaidSo) {
  KvCacheManager manager = *KvCacheManager::Create(Options(11));
  const std::vector<TokenId> first = Tokens(0, 13);     // blocks 1 to 4
  const std::vector<TokenId> second = Tokens(100, 13);  // blocks 5 to 8
  const SequenceId a = Add(manager, first);
  const SequenceId b = Add(manager, second);
  ASSERT_TRUE(manager.Release(a).ok());
  ASSERT_TRUE(manager.Release(b).ok());
  static_cast<void>(manager.TakeEvents());
  ASSERT_EQ(Hits(manager, second), 12);
  ASSERT_TRUE(manager.BeginShrink(BlockCount(7)).ok());
  EXPECT_EQ(manager.pool().num_blocks(), BlockCount(7));
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(0));
  EXPECT_EQ(manager.pool().extent(), BlockCount(7));
  EXPECT_EQ(Hits(manager, first), 12);
  EXPECT_EQ(Hits(manager, second), 8);  // 5 and 6
  const KvEventBatch events = manager.TakeEvents();
  ASSERT_THAT(events.events, SizeIs(1));
  const auto& removed = std::get<BlocksRemoved>(events.events[0]);
  EXPECT_EQ(removed.reason, RemovalReason::kWithdrawn);
  EXPECT_THAT(removed.blocks, ElementsAre(BlockId(7)));
  EXPECT_EQ(manager.prefix_cache_metrics().blocks_invalidated, 1);
}

TEST(KvCacheManagerResizeTest, ASequenceGoesOnAndItsBlocksDrain) {
  KvCacheManager manager = *KvCacheManager::Create(Options(11));
  const SequenceId other = Add(manager, Tokens(0, 16));  // 1 to 4
  const std::vector<TokenId> tokens = Tokens(100, 40);
  const SequenceId id =
      Add(manager, std::vector(tokens.begin(), tokens.begin() + 14));  // 5 to 8
  ASSERT_TRUE(manager.BeginShrink(BlockCount(7)).ok());
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(2));
  EXPECT_EQ(manager.pool().extent(), BlockCount(9));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(0));
  // The rest of its block, and no more.
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(2), tokens), true);
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(1), tokens), false);
  // What is in draining blocks is not found, also where it came later.
  EXPECT_EQ(Hits(manager, tokens), 8);
  ASSERT_TRUE(manager.Release(other).ok());
  EXPECT_EQ(manager.pool().num_free(), BlockCount(4));
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(4), tokens), true);
  EXPECT_LT(manager.block_table(id).back(), BlockId(7));
  EXPECT_EQ(Hits(manager, tokens), 8);
  ASSERT_TRUE(manager.Release(id).ok());
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(0));
  EXPECT_EQ(manager.pool().extent(), BlockCount(7));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(6));
  ASSERT_TRUE(manager.CheckInvariants().ok());
}

TEST(KvCacheManagerResizeTest, GrowTakesAShrinkBack) {
  KvCacheManager manager = *KvCacheManager::Create(Options(11));
  const SequenceId id = Add(manager, Tokens(0, 40));  // 1 to 10
  ASSERT_TRUE(manager.BeginShrink(BlockCount(5)).ok());
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(6));
  ASSERT_TRUE(manager.Grow(BlockCount(12)).ok());
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(0));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(1));
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(1)), true);
  EXPECT_EQ(manager.block_table(id).back(), BlockId(11));
  EXPECT_EQ(manager.Grow(BlockCount(11)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(manager.Grow(BlockCount(23)).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(manager.CheckInvariants().ok());
}

TEST(KvCacheManagerResizeTest, DrainMovesWhatIsHeldOnceAndSaysWhatToCopy) {
  KvCacheManagerOptions options = Options(9);
  options.pool.prefix_caching = false;
  options.prefix_cache = {};
  KvCacheManager manager = *KvCacheManager::Create(options);
  const SequenceId early = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(early, TokenCount(16)), true);  // 1 to 4
  const SequenceId id = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(14)), true);  // 5 to 8
  const SequenceId fork = *manager.Fork(id);
  ASSERT_TRUE(manager.Release(early).ok());
  manager.ClearCopies();
  manager.ClearDirty();
  ASSERT_TRUE(manager.BeginShrink(BlockCount(6)).ok());
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(3));
  EXPECT_EQ(*manager.Drain(BlockCount(0)), BlockCount(0));
  EXPECT_EQ(*manager.Drain(BlockCount(2)), BlockCount(2));
  EXPECT_EQ(manager.pool().num_draining(), BlockCount(1));
  EXPECT_EQ(*manager.Drain(BlockCount(10)), BlockCount(1));
  EXPECT_EQ(manager.pool().extent(), BlockCount(6));
  EXPECT_THAT(manager.copies(),
              ElementsAre(BlockCopy{0, BlockId(6), BlockId(4), 4},
                          BlockCopy{0, BlockId(7), BlockId(3), 4},
                          BlockCopy{0, BlockId(8), BlockId(2), 2}));
  for (const SequenceId sequence : {id, fork}) {
    EXPECT_THAT(manager.block_table(sequence),
                ElementsAre(BlockId(5), BlockId(4), BlockId(3), BlockId(2)));
  }
  // The device hears of the new entries.
  EXPECT_THAT(manager.tables().dirty_ranges(), SizeIs(2));
  EXPECT_EQ(manager.pool().ref_count(BlockId(3)), 2);
  EXPECT_EQ(*manager.Drain(BlockCount(10)), BlockCount(0));
  EXPECT_EQ(manager.Drain(BlockCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(manager.CheckInvariants().ok());
}

TEST(KvCacheManagerResizeTest, AShrinkWaitsForCopiesAndFreshBlocks) {
  KvCacheManagerOptions options = Options(11);
  options.list_fresh_blocks = true;
  KvCacheManager manager = *KvCacheManager::Create(options);
  const SequenceId id = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(6)), true);
  EXPECT_THAT(manager.fresh_blocks(),
              ElementsAre(FreshBlock{BlockId(1)}, FreshBlock{BlockId(2)}));
  absl::Status status = manager.BeginShrink(BlockCount(5));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("ClearCopies"));
  manager.ClearCopies();
  EXPECT_THAT(manager.fresh_blocks(), IsEmpty());
  const SequenceId fork = *manager.Fork(id);
  EXPECT_EQ(*manager.TryAppend(fork, TokenCount(1)), true);
  EXPECT_THAT(manager.copies(), SizeIs(1));
  status = manager.BeginShrink(BlockCount(5));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  manager.ClearCopies();
  EXPECT_TRUE(manager.BeginShrink(BlockCount(5)).ok());
  for (const std::int64_t bad : {-1, 0, 1, 6}) {
    EXPECT_EQ(manager.BeginShrink(BlockCount(bad)).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(KvCacheManagerResizeTest, ABlockThatACopyReadsIsCleanedAfterIt) {
  KvCacheManagerOptions options = Options(4);
  options.pool.prefix_caching = false;
  options.prefix_cache = {};
  options.list_fresh_blocks = true;
  KvCacheManager manager = *KvCacheManager::Create(options);
  const SequenceId id = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(2)), true);  // 1
  const SequenceId fork = *manager.Fork(id);
  manager.ClearCopies();
  EXPECT_EQ(*manager.TryAppend(fork, TokenCount(1)), true);  // 1 to 2
  ASSERT_TRUE(manager.Release(id).ok());
  const SequenceId next = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(next, TokenCount(8)), true);  // 3, 1
  EXPECT_THAT(manager.copies(),
              ElementsAre(BlockCopy{0, BlockId(1), BlockId(2), 2}));
  EXPECT_THAT(manager.fresh_blocks(),
              ElementsAre(FreshBlock{BlockId(2)}, FreshBlock{BlockId(3)},
                          FreshBlock{BlockId(1), 1}));
}

TEST(KvCacheManagerResizeTest, PartialReuseAndFreshBlocksDoNotGoTogether) {
  KvCacheManagerOptions options = Options(4);
  options.list_fresh_blocks = true;
  options.prefix_cache.partial_block_reuse = true;
  const auto manager = KvCacheManager::Create(options);
  EXPECT_EQ(manager.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(manager.status().message()),
              HasSubstr("partial_block_reuse"));
}

TEST(KvCacheManagerResizeTest, WithoutTheOptionNothingIsListed) {
  KvCacheManager manager = *KvCacheManager::Create(Options(11));
  const SequenceId id = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(20)), true);
  EXPECT_THAT(manager.fresh_blocks(), IsEmpty());
}

// An engine that forgets a copy reads what a former owner left in the block:
// plausible numbers, which only the sanitizer tells from right ones.
TEST(SlotSanitizerTest, FindsAStepThatLeavesOutACopy) {
  KvCacheManagerOptions options = Options(11);
  options.list_fresh_blocks = true;
  KvCacheManager manager = *KvCacheManager::Create(options);
  SlotSanitizer sanitizer =
      *SlotSanitizer::Create(BlockCount(11), std::vector{BlockSize(4)});
  const auto step = [&](SequenceId id, int first, bool with_copies) {
    const StepMoves moves{.fresh = manager.fresh_blocks(),
                          .copies = manager.copies().first(
                              with_copies ? manager.copies().size() : 0)};
    EXPECT_TRUE(sanitizer.OnStep(moves).ok());
    manager.ClearCopies();
    std::vector<std::int64_t> slots(
        static_cast<std::size_t>(manager.num_tokens(id).value() - first));
    manager.FillSlotMapping(id, first, slots);
    EXPECT_TRUE(sanitizer.OnWrite(0, slots).ok());
    return sanitizer.CheckRead(id, 0, manager.block_table(id),
                               manager.num_tokens(id));
  };
  const SequenceId former = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(former, TokenCount(40)), true);
  EXPECT_TRUE(step(former, 0, true).ok());
  ASSERT_TRUE(manager.Release(former).ok());
  const SequenceId id = *manager.AddSequence();
  EXPECT_EQ(*manager.TryAppend(id, TokenCount(6)), true);
  EXPECT_TRUE(step(id, 0, true).ok());
  const SequenceId good = *manager.Fork(id);
  const SequenceId bad = *manager.Fork(id);
  EXPECT_EQ(*manager.TryAppend(good, TokenCount(1)), true);
  EXPECT_TRUE(step(good, 6, true).ok());
  EXPECT_EQ(*manager.TryAppend(bad, TokenCount(1)), true);
  const absl::Status status = step(bad, 6, false);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("token 4 lies in block"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("at offset 0"));
}

}  // namespace
}  // namespace pagedkv
