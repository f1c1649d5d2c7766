// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/missed_block.h"

#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

KvCacheGroupOptions Full(std::int32_t block_size) {
  return {.block_size = BlockSize(block_size)};
}

auto Missed(std::int32_t index, MissReason reason, int group = 0) {
  return AllOf(Field("group", &MissedBlock::group, group),
               Field("index", &MissedBlock::index, index),
               Field("reason", &MissedBlock::reason, reason));
}

class MissedBlockTest : public testing::Test {
 protected:
  explicit MissedBlockTest(std::vector<KvCacheGroupOptions> groups = {Full(4)},
                           std::int64_t num_blocks = 5)
      : manager_(
            *KvCacheManager::Create(Options(std::move(groups), num_blocks))) {}

  static KvCacheManagerOptions Options(std::vector<KvCacheGroupOptions> groups,
                                       std::int64_t num_blocks) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(num_blocks),
                    .prefix_caching = true};
    options.groups = std::move(groups);
    options.max_sequence_tokens = TokenCount(64);
    options.prefix_cache = {.explain_misses = true};
    return options;
  }

  // Tokens first, first + 1, ...
  static std::vector<TokenId> Tokens(TokenId first, std::size_t count) {
    std::vector<TokenId> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
  }

  SequenceId Admit(std::span<const TokenId> tokens,
                   const SequenceOptions& options = {}) {
    const SequenceId id = *manager_.AddSequence(options);
    PrefixMatch match;
    EXPECT_TRUE(manager_.Match(id, tokens, match).ok());
    EXPECT_TRUE(*manager_.TryAppend(
        id, TokenCount(std::ssize(tokens)) - match.num_tokens,
        {.tokens = tokens, .match = &match}));
    return id;
  }
  SequenceId Run(std::span<const TokenId> tokens,
                 const SequenceOptions& options = {}) {
    const SequenceId id = Admit(tokens, options);
    EXPECT_TRUE(manager_.Release(id).ok());
    EXPECT_TRUE(manager_.CheckInvariants().ok());
    return id;
  }
  std::vector<MissedBlock> Explain(std::span<const TokenId> tokens,
                                   const ContentKeys& keys = {}) {
    std::vector<MissedBlock> missed;
    const absl::Status status = manager_.ExplainMiss(tokens, keys, missed);
    EXPECT_TRUE(status.ok()) << status;
    return missed;
  }
  std::int64_t Count(MissReason reason) const {
    return manager_.prefix_cache_metrics()
        .blocks_missed[static_cast<std::size_t>(reason)];
  }

  KvCacheManager manager_;
};

TEST_F(MissedBlockTest, WhatWasNeverThereIsCold) {
  EXPECT_THAT(
      Explain(Tokens(0, 10)),
      ElementsAre(Missed(0, MissReason::kCold), Missed(1, MissReason::kCold)));
  Run(Tokens(0, 9));
  EXPECT_THAT(Explain(Tokens(0, 13)),
              ElementsAre(Missed(2, MissReason::kCold)));
  EXPECT_EQ(Count(MissReason::kCold), 2);
}

TEST_F(MissedBlockTest, AHitIsNotMissed) {
  Run(Tokens(0, 9));
  EXPECT_THAT(Explain(Tokens(0, 9)), IsEmpty());
}

TEST_F(MissedBlockTest, AnEvictionNamesItsTakerAndItsAge) {
  manager_.SetTime(100);
  Run(Tokens(0, 8));
  manager_.SetTime(250);
  const SequenceId taker = Run(Tokens(50, 16), {.tag = 77});  // all 4 blocks
  manager_.SetTime(1000);
  const std::vector<MissedBlock> missed = Explain(Tokens(0, 9));
  // The end of a prefix goes first.
  const MissedBlock last{.index = 1,
                         .reason = MissReason::kEvicted,
                         .removal = RemovalReason::kCapacity,
                         .taker = taker,
                         .taker_tag = 77,
                         .age_ns = 750,
                         .removals_since = 1};
  MissedBlock first = last;
  first.index = 0;
  first.removals_since = 0;
  EXPECT_THAT(missed, ElementsAre(first, last));
}

TEST_F(MissedBlockTest, TheClientAndTheWeightsTakeBlocksToo) {
  const SequenceId id = Admit(Tokens(0, 8));
  const std::vector<BlockId> blocks(manager_.block_table(id).begin(),
                                    manager_.block_table(id).end());
  ASSERT_TRUE(manager_.Evict(std::span(blocks).last(1)).ok());
  std::vector<MissedBlock> missed = Explain(Tokens(0, 9));
  ASSERT_THAT(missed, ElementsAre(Missed(1, MissReason::kEvicted)));
  EXPECT_EQ(missed[0].removal, RemovalReason::kEvicted);
  EXPECT_EQ(missed[0].taker, SequenceId(0));

  manager_.InvalidatePrefixCache();
  missed = Explain(Tokens(0, 9));
  ASSERT_THAT(missed, ElementsAre(Missed(0, MissReason::kEvicted),
                                  Missed(1, MissReason::kEvicted)));
  EXPECT_EQ(missed[0].removal, RemovalReason::kWeights);
  EXPECT_EQ(missed[1].removal, RemovalReason::kEvicted);
}

TEST_F(MissedBlockTest, TheCountsAreOfWhatAnAdmissionFound) {
  // Not of what it did to the cache: the same append evicts what it missed.
  Run(Tokens(0, 8));
  Run(Tokens(50, 16));  // cold, and takes what the first one had
  EXPECT_EQ(Count(MissReason::kCold), 2 + 4);
  Run(Tokens(0, 8));
  EXPECT_EQ(Count(MissReason::kEvicted), 2);
  EXPECT_EQ(Count(MissReason::kCold), 6);
  // Block 1 is cached, and the last token must be computed.
  Run(Tokens(0, 8));
  EXPECT_EQ(Count(MissReason::kAlignment), 1);
  EXPECT_EQ(Count(MissReason::kEvicted), 2);
}

TEST_F(MissedBlockTest, SaltAndAdapterAreToldFromNeverSeen) {
  const std::vector<TokenId> tokens = Tokens(0, 9);
  const ContentKeys alice = {.salts = {{.salt = "alice"}}};
  Run(tokens, {.keys = alice});
  EXPECT_THAT(Explain(tokens, alice), IsEmpty());
  for (const ContentKeys& other :
       {ContentKeys{}, ContentKeys{.salts = {{.salt = "bob"}}},
        ContentKeys{.adapter = "alice"}}) {
    EXPECT_THAT(Explain(tokens, other),
                ElementsAre(Missed(0, MissReason::kOtherKeys),
                            Missed(1, MissReason::kOtherKeys)));
  }
  // Only from the salt on.
  const ContentKeys late = {
      .salts = {{.salt = "alice"}, {.salt = "x", .begin = TokenCount(4)}}};
  EXPECT_THAT(Explain(tokens, late),
              ElementsAre(Missed(1, MissReason::kOtherKeys)));
  Run(tokens, {.keys = late});
  EXPECT_EQ(Count(MissReason::kOtherKeys), 1);
}

TEST_F(MissedBlockTest, OwnContentThatWasEvictedComesBeforeThatOfOthers) {
  const std::vector<TokenId> tokens = Tokens(0, 4);
  Run(tokens);
  const SequenceId salted = Admit(tokens, {.keys = {.salts = {{.salt = "s"}}}});
  Run(Tokens(50, 12));  // all that is free
  EXPECT_THAT(Explain(Tokens(0, 5)),
              ElementsAre(Missed(0, MissReason::kEvicted)));
  ASSERT_TRUE(manager_.Release(salted).ok());
}

TEST_F(MissedBlockTest, WhatIsCachedBehindAGapIsSaidToBe) {
  const SequenceId id = Admit(Tokens(0, 12));
  const BlockId second = manager_.block_table(id)[1];
  ASSERT_TRUE(manager_.Evict(std::span(&second, 1)).ok());
  EXPECT_THAT(Explain(Tokens(0, 13)),
              ElementsAre(Missed(1, MissReason::kEvicted),
                          Missed(2, MissReason::kGap)));
}

TEST_F(MissedBlockTest, ASequenceIsAskedByItsOwnKeys) {
  const std::vector<TokenId> tokens = Tokens(0, 9);
  Run(tokens, {.keys = {.adapter = "a"}});
  std::vector<MissedBlock> missed;
  const SequenceId same = *manager_.AddSequence({.keys = {.adapter = "a"}});
  ASSERT_TRUE(manager_.ExplainMiss(same, tokens, missed).ok());
  EXPECT_THAT(missed, IsEmpty());
  const SequenceId other = *manager_.AddSequence();
  ASSERT_TRUE(manager_.ExplainMiss(other, tokens, missed).ok());
  EXPECT_EQ(missed.size(), 2u);
  ASSERT_TRUE(manager_.Release(other).ok());
  EXPECT_EQ(manager_.ExplainMiss(other, tokens, missed).code(),
            absl::StatusCode::kNotFound);
  manager_.InvalidatePrefixCache();
  EXPECT_EQ(manager_.ExplainMiss(same, tokens, missed).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(MissedBlockTest, AForkAndARewindGoOnUnderTheRightFingerprints) {
  std::vector<TokenId> tokens = Tokens(0, 8);
  const SequenceId id = Admit(tokens);
  const SequenceId fork = *manager_.Fork(id);
  std::vector<TokenId> forked = Tokens(0, 12);
  ASSERT_TRUE(*manager_.TryAppend(fork, TokenCount(4), forked));
  ASSERT_TRUE(manager_.Release(id).ok());
  ASSERT_TRUE(manager_.Truncate(fork, TokenCount(4)).ok());
  tokens = Tokens(0, 4);
  const std::vector<TokenId> rest = Tokens(90, 4);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  ASSERT_TRUE(*manager_.TryAppend(fork, TokenCount(4), tokens));
  ASSERT_TRUE(manager_.CheckInvariants().ok());
  ASSERT_TRUE(manager_.Release(fork).ok());
  Run(Tokens(50, 16));  // takes all
  tokens.push_back(1);
  for (const std::vector<TokenId>& old : {tokens, Tokens(0, 13)}) {
    for (const MissedBlock& block : Explain(old)) {
      EXPECT_EQ(block.reason, MissReason::kEvicted) << block.index;
    }
  }
}

TEST(MissedBlockOffTest, NothingIsSaidAndNothingCounted) {
  KvCacheManagerOptions options;
  options.pool = {.num_blocks = BlockCount(4), .prefix_caching = true};
  options.max_sequence_tokens = TokenCount(16);
  auto manager = KvCacheManager::Create(options);
  ASSERT_TRUE(manager.ok()) << manager.status();
  std::vector<MissedBlock> missed;
  EXPECT_EQ(manager->ExplainMiss({}, ContentKeys{}, missed).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(MissedBlockOffTest, ReasonsHaveNames) {
  EXPECT_EQ(MissReasonName(MissReason::kCold), "cold");
  EXPECT_EQ(MissReasonName(MissReason::kGap), "gap");
}

// Blocks of 4 and of 8 tokens: hits end at multiples of 8.
class MissedBlockOfGroupsTest : public MissedBlockTest {
 protected:
  MissedBlockOfGroupsTest() : MissedBlockTest({Full(4), Full(8)}, 20) {}
};

TEST_F(MissedBlockOfGroupsTest, ABlockBehindTheLastFullUnitIsCutByAlignment) {
  Run(Tokens(0, 16));
  // Three blocks of the first group agree, and one of the second.
  std::vector<TokenId> tokens = Tokens(0, 12);
  const std::vector<TokenId> rest = Tokens(90, 5);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  EXPECT_THAT(Explain(tokens), ElementsAre(Missed(2, MissReason::kAlignment),
                                           Missed(3, MissReason::kCold),
                                           Missed(1, MissReason::kCold, 1)));
  // All of it is there, but the last token must be computed.
  EXPECT_THAT(Explain(Tokens(0, 16)),
              ElementsAre(Missed(2, MissReason::kAlignment),
                          Missed(3, MissReason::kAlignment),
                          Missed(1, MissReason::kAlignment, 1)));
}

TEST_F(MissedBlockOfGroupsTest, AGroupIsToldThatAnotherLacksTheBlock) {
  const SequenceId id = Admit(Tokens(0, 16));
  const BlockId of_second = manager_.block_table(id, 1)[1];
  ASSERT_TRUE(manager_.Evict(std::span(&of_second, 1)).ok());
  EXPECT_THAT(Explain(Tokens(0, 17)),
              ElementsAre(Missed(2, MissReason::kOtherGroup),
                          Missed(3, MissReason::kOtherGroup),
                          Missed(1, MissReason::kEvicted, 1)));
}

}  // namespace
}  // namespace pagedkv
