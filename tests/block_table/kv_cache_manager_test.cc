// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_cache_manager.h"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

KvCacheManagerOptions Options(std::int64_t num_blocks,
                              std::initializer_list<int> block_sizes = {4}) {
  KvCacheManagerOptions options;
  options.pool.num_blocks = BlockCount(num_blocks);
  options.groups.clear();
  for (const int size : block_sizes) {
    options.groups.push_back({.block_size = BlockSize(size)});
  }
  options.max_sequence_tokens = TokenCount(64);
  options.max_sequences = 16;
  return options;
}

// A manager of blocks of 4 tokens that will issue `free_order` first.
KvCacheManager IssuingInOrder(const std::vector<int>& free_order) {
  auto manager = *KvCacheManager::Create(
      Options(static_cast<std::int64_t>(free_order.size()) + 1));
  std::vector<SequenceId> holder_of;
  for (std::size_t i = 0; i < free_order.size(); ++i) {
    holder_of.push_back(*manager.AddSequence());
    EXPECT_TRUE(*manager.TryAppend(holder_of.back(), TokenCount(4)));
  }
  for (const int block : free_order) {
    const SequenceId holder = holder_of[static_cast<std::size_t>(block) - 1];
    EXPECT_EQ(manager.block_table(holder)[0], BlockId(block));
    EXPECT_TRUE(manager.Release(holder).ok());
  }
  manager.ClearDirty();
  return manager;
}

SequenceId Add(KvCacheManager& manager, std::int64_t tokens) {
  const SequenceId id = *manager.AddSequence();
  EXPECT_TRUE(*manager.TryAppend(id, TokenCount(tokens)));
  return id;
}

bool Append(KvCacheManager& manager, SequenceId id, std::int64_t tokens,
            const AppendOptions& options = {}) {
  const absl::StatusOr<bool> granted =
      manager.TryAppend(id, TokenCount(tokens), options);
  EXPECT_TRUE(granted.ok()) << granted.status();
  return granted.ok() && *granted;
}

std::vector<int> Table(const KvCacheManager& manager, SequenceId id,
                       int group = 0) {
  std::vector<int> ids;
  for (const BlockId block : manager.block_table(id, group)) {
    ids.push_back(block.value());
  }
  return ids;
}

std::vector<BlockCopy> Copies(const KvCacheManager& manager) {
  return {manager.copies().begin(), manager.copies().end()};
}

std::int64_t Slot(const KvCacheManager& manager, SequenceId id,
                  std::int32_t position) {
  std::int64_t slot = -1;
  manager.FillSlotMapping(id, position, {&slot, 1});
  return slot;
}

int References(const KvCacheManager& manager, int block) {
  return manager.pool().ref_count(BlockId(block));
}

void ExpectSound(const KvCacheManager& manager) {
  const absl::Status status = manager.CheckInvariants();
  EXPECT_TRUE(status.ok()) << status;
}

// The walk-throughs of "Efficient Memory Management for Large Language Model
// Serving with PagedAttention" (SOSP 2023), block size 4. The free list is
// arranged so that the figures' block ids come out.
class PagedAttentionPaperTest : public testing::Test {};

TEST_F(PagedAttentionPaperTest, Figure6BlocksComeOneByOneAsTokensDo) {
  KvCacheManager manager = IssuingInOrder({7, 1, 3, 2, 4, 5, 6, 8});
  // "Four score and seven | years ago our"
  const SequenceId a = Add(manager, 7);
  EXPECT_THAT(Table(manager, a), ElementsAre(7, 1));
  EXPECT_EQ(Slot(manager, a, 3), 7 * 4 + 3);
  EXPECT_EQ(Slot(manager, a, 6), 1 * 4 + 2);
  // "fathers" fills the last slot that is reserved.
  ASSERT_TRUE(Append(manager, a, 1));
  EXPECT_THAT(Table(manager, a), ElementsAre(7, 1));
  EXPECT_EQ(Slot(manager, a, 7), 1 * 4 + 3);
  // "brought" needs a new block.
  ASSERT_TRUE(Append(manager, a, 1));
  EXPECT_THAT(Table(manager, a), ElementsAre(7, 1, 3));
  EXPECT_EQ(Slot(manager, a, 8), 3 * 4);
  ExpectSound(manager);
}

TEST_F(PagedAttentionPaperTest, Figure7TwoRequestsInterleaveInThePool) {
  KvCacheManager manager = IssuingInOrder({7, 1, 5, 2, 3, 4, 6, 8});
  const SequenceId a = Add(manager, 7);
  const SequenceId b = Add(manager, 5);  // "It was the best | of"
  ASSERT_TRUE(Append(manager, a, 1));
  ASSERT_TRUE(Append(manager, b, 1));  // "times"
  ASSERT_TRUE(Append(manager, a, 1));
  EXPECT_THAT(Table(manager, a), ElementsAre(7, 1, 3));
  EXPECT_THAT(Table(manager, b), ElementsAre(5, 2));
  EXPECT_EQ(Slot(manager, b, 5), 2 * 4 + 1);
  ExpectSound(manager);
}

TEST_F(PagedAttentionPaperTest, Figure8CopyOnWriteTakesARefCountFrom2To1) {
  KvCacheManager manager = IssuingInOrder({7, 1, 3, 2, 4, 5, 6, 8});
  const SequenceId a1 = Add(manager, 7);
  const SequenceId a2 = *manager.Fork(a1);
  EXPECT_THAT(Table(manager, a2), ElementsAre(7, 1));
  EXPECT_EQ(References(manager, 7), 2);
  EXPECT_EQ(References(manager, 1), 2);
  EXPECT_THAT(Copies(manager), IsEmpty());

  // A1 goes on with "fathers": it gets a copy of the last block, 3.
  ASSERT_TRUE(Append(manager, a1, 1));
  EXPECT_THAT(Table(manager, a1), ElementsAre(7, 3));
  EXPECT_EQ(References(manager, 1), 1);
  const BlockCopy copy{0, BlockId(1), BlockId(3), 3};
  EXPECT_THAT(Copies(manager), ElementsAre(copy));

  // A2 goes on with "mothers": block 1 is its own by then.
  ASSERT_TRUE(Append(manager, a2, 1));
  EXPECT_THAT(Table(manager, a2), ElementsAre(7, 1));
  EXPECT_THAT(Copies(manager), ElementsAre(copy));
  EXPECT_EQ(References(manager, 7), 2);
  ExpectSound(manager);
}

TEST_F(PagedAttentionPaperTest, Figure9ABeamOfFourFrees2458AndAllocates9To12) {
  // The figure's block 0 is block 13 here, where 0 is the null block.
  KvCacheManager manager =
      IssuingInOrder({13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const auto append_block = [&](SequenceId id) {
    ASSERT_TRUE(Append(manager, id, 4));
  };
  // All share the first block; candidate 3 digresses from the second on, 0 to
  // 2 share three blocks and diverge at the fourth.
  const SequenceId candidate0 = Add(manager, 4);
  const SequenceId candidate3 = *manager.Fork(candidate0);
  append_block(candidate0);
  append_block(candidate3);
  append_block(candidate0);
  append_block(candidate3);
  const SequenceId candidate1 = *manager.Fork(candidate0);
  const SequenceId candidate2 = *manager.Fork(candidate0);
  append_block(candidate0);
  append_block(candidate1);
  append_block(candidate2);
  append_block(candidate3);
  ASSERT_THAT(Table(manager, candidate0), ElementsAre(13, 1, 3, 5));
  ASSERT_THAT(Table(manager, candidate1), ElementsAre(13, 1, 3, 6));
  ASSERT_THAT(Table(manager, candidate2), ElementsAre(13, 1, 3, 7));
  ASSERT_THAT(Table(manager, candidate3), ElementsAre(13, 2, 4, 8));
  EXPECT_EQ(References(manager, 13), 4);
  EXPECT_EQ(References(manager, 3), 3);

  // The best four go on from candidates 1 and 2.
  const SequenceId second_of_1 = *manager.Fork(candidate1);
  const SequenceId second_of_2 = *manager.Fork(candidate2);
  ASSERT_TRUE(manager.Release(candidate0).ok());
  ASSERT_TRUE(manager.Release(candidate3).ok());
  for (const int freed : {2, 4, 5, 8}) {
    EXPECT_EQ(References(manager, freed), 0) << freed;
  }
  EXPECT_EQ(manager.pool().num_used(), BlockCount(5));
  for (const SequenceId id :
       {candidate1, second_of_1, candidate2, second_of_2}) {
    append_block(id);
  }
  EXPECT_THAT(Table(manager, candidate1), ElementsAre(13, 1, 3, 6, 9));
  EXPECT_THAT(Table(manager, second_of_1), ElementsAre(13, 1, 3, 6, 10));
  EXPECT_THAT(Table(manager, candidate2), ElementsAre(13, 1, 3, 7, 11));
  EXPECT_THAT(Table(manager, second_of_2), ElementsAre(13, 1, 3, 7, 12));
  EXPECT_EQ(References(manager, 3), 4);
  EXPECT_EQ(References(manager, 6), 2);
  EXPECT_EQ(References(manager, 7), 2);
  // Full blocks are shared for good: a beam copies nothing.
  EXPECT_THAT(Copies(manager), IsEmpty());
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, RefusesOptionsOutOfRangeByName) {
  const auto refusal = [](const auto& change) {
    KvCacheManagerOptions options = Options(8);
    change(options);
    const absl::Status status = KvCacheManager::Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  using O = KvCacheManagerOptions;
  EXPECT_THAT(refusal([](O& o) { o.groups.clear(); }), HasSubstr("group"));
  EXPECT_THAT(refusal([](O& o) { o.groups.resize(kMaxKvCacheGroups + 1); }),
              HasSubstr("group"));
  EXPECT_THAT(refusal([](O& o) { o.groups[0].block_size = BlockSize(0); }),
              HasSubstr("block_size"));
  EXPECT_THAT(refusal([](O& o) { o.max_sequence_tokens = TokenCount(0); }),
              HasSubstr("max_sequence_tokens"));
  EXPECT_THAT(refusal([](O& o) { o.max_sequences = 0; }),
              HasSubstr("max_sequences"));
  EXPECT_THAT(refusal([](O& o) { o.pool.num_blocks = BlockCount(1); }),
              HasSubstr("num_blocks"));
}

TEST(KvCacheManagerTest, ExhaustionIsAnAnswerAndChangesNothingInAnyGroup) {
  // 5 blocks: 8 tokens take 2 in the group of 4, 4 in the group of 2.
  auto manager = *KvCacheManager::Create(Options(6, {4, 2}));
  const SequenceId id = Add(manager, 4);
  manager.ClearDirty();
  EXPECT_FALSE(Append(manager, id, 4));
  EXPECT_EQ(manager.num_tokens(id), TokenCount(4));
  EXPECT_THAT(Table(manager, id, 0), ElementsAre(1));
  EXPECT_THAT(Table(manager, id, 1), ElementsAre(2, 3));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(2));
  EXPECT_THAT(manager.tables(0).dirty_ranges(), IsEmpty());
  EXPECT_TRUE(Append(manager, id, 2));
  EXPECT_THAT(Table(manager, id, 0), ElementsAre(1, 4));
  EXPECT_THAT(Table(manager, id, 1), ElementsAre(2, 3, 5));
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, ACopyThatDoesNotFitChangesNothing) {
  auto manager = *KvCacheManager::Create(Options(2));
  const SequenceId a = Add(manager, 3);
  const SequenceId b = *manager.Fork(a);
  EXPECT_EQ(manager.BlocksToCover(b, TokenCount(4)), BlockCount(1));
  EXPECT_FALSE(Append(manager, b, 1));
  EXPECT_EQ(References(manager, 1), 2);
  EXPECT_THAT(Copies(manager), IsEmpty());
  // When the other has gone, the block need not be copied.
  ASSERT_TRUE(manager.Release(a).ok());
  EXPECT_EQ(manager.BlocksToCover(b, TokenCount(4)), BlockCount(0));
  EXPECT_TRUE(Append(manager, b, 1));
  EXPECT_THAT(Copies(manager), IsEmpty());
}

TEST(KvCacheManagerTest, AnAppendOfNothingNeedsNoBlock) {
  auto manager = *KvCacheManager::Create(Options(2));
  const SequenceId a = Add(manager, 3);
  const SequenceId b = *manager.Fork(a);
  EXPECT_EQ(manager.BlocksToCover(b, TokenCount(3)), BlockCount(0));
  EXPECT_TRUE(Append(manager, b, 0));
  EXPECT_THAT(Table(manager, b), ElementsAre(1));
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, LookaheadIsReservedAndCutAtTheLongestSequence) {
  auto manager = *KvCacheManager::Create(Options(32));
  const SequenceId id = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, id, 3, {.lookahead = TokenCount(6)}));
  EXPECT_EQ(manager.num_tokens(id), TokenCount(3));
  EXPECT_THAT(Table(manager, id), ElementsAre(1, 2, 3));
  ASSERT_TRUE(Append(manager, id, 9));
  EXPECT_THAT(Table(manager, id), ElementsAre(1, 2, 3));
  ASSERT_TRUE(Append(manager, id, 50, {.lookahead = TokenCount(1000)}));
  EXPECT_EQ(Table(manager, id).size(), 16u);
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, MustFitAsksForAllAndTakesOnlyWhatTheAppendNeeds) {
  auto manager = *KvCacheManager::Create(Options(5));
  const SequenceId id = *manager.AddSequence();
  EXPECT_FALSE(Append(manager, id, 4, {.must_fit = TokenCount(17)}));
  EXPECT_TRUE(Append(manager, id, 4, {.must_fit = TokenCount(16)}));
  EXPECT_THAT(Table(manager, id), ElementsAre(1));
}

TEST(KvCacheManagerTest, TheWatermarkIsKeptOnlyWhereAskedFor) {
  KvCacheManagerOptions options = Options(11);
  options.pool.watermark = 0.2;
  auto manager = *KvCacheManager::Create(options);
  const SequenceId id = *manager.AddSequence();
  EXPECT_FALSE(Append(manager, id, 33, {.keep_watermark = true}));
  EXPECT_TRUE(Append(manager, id, 32, {.keep_watermark = true}));
  EXPECT_TRUE(Append(manager, id, 8));
  EXPECT_EQ(manager.pool().num_free(), BlockCount(0));
}

TEST(KvCacheManagerTest, TruncateGivesBlocksBackAndRewindKeepsThem) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId id = Add(manager, 13);
  ASSERT_TRUE(manager.Rewind(id, TokenCount(5)).ok());
  EXPECT_EQ(manager.num_tokens(id), TokenCount(5));
  EXPECT_THAT(Table(manager, id), ElementsAre(1, 2, 3, 4));
  ASSERT_TRUE(manager.Truncate(id, TokenCount(4)).ok());
  EXPECT_THAT(Table(manager, id), ElementsAre(1));
  // The last block was given back first, behind those never used.
  ASSERT_TRUE(Append(manager, id, 28));
  EXPECT_THAT(Table(manager, id), ElementsAre(1, 5, 6, 7, 8, 4, 3, 2));
  EXPECT_EQ(manager.Truncate(id, TokenCount(33)).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(manager.Rewind(id, TokenCount(-1)).code(),
            absl::StatusCode::kOutOfRange);
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, AfterARewindSharedBlocksAreCopiedUpToTheNewEnd) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId a = Add(manager, 8);
  const SequenceId b = *manager.Fork(a);
  ASSERT_TRUE(manager.Rewind(b, TokenCount(2)).ok());
  EXPECT_EQ(manager.BlocksToCover(b, TokenCount(8)), BlockCount(2));
  ASSERT_TRUE(Append(manager, b, 6));
  // Block 1 with what is left of it; block 2 is written anew.
  EXPECT_THAT(Table(manager, a), ElementsAre(1, 2));
  EXPECT_THAT(Table(manager, b), ElementsAre(3, 4));
  EXPECT_THAT(Copies(manager),
              ElementsAre(BlockCopy{0, BlockId(1), BlockId(3), 2}));
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, EachGroupCopiesItsOwnSharedBlock) {
  auto manager = *KvCacheManager::Create(Options(12, {4, 2, 8}));
  const SequenceId a = Add(manager, 5);  // blocks 1 2 | 3 4 5 | 6
  const SequenceId b = *manager.Fork(a);
  ASSERT_TRUE(Append(manager, b, 1));
  EXPECT_THAT(Copies(manager),
              ElementsAre(BlockCopy{0, BlockId(2), BlockId(7), 1},
                          BlockCopy{1, BlockId(5), BlockId(8), 1},
                          BlockCopy{2, BlockId(6), BlockId(9), 5}));
  manager.ClearCopies();
  EXPECT_THAT(Copies(manager), IsEmpty());
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, AForkSharesNoLookahead) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId a = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, a, 4, {.lookahead = TokenCount(4)}));
  const SequenceId b = *manager.Fork(a);
  EXPECT_THAT(Table(manager, a), ElementsAre(1, 2));
  EXPECT_THAT(Table(manager, b), ElementsAre(1));
  const SequenceId empty = *manager.Fork(*manager.AddSequence());
  EXPECT_THAT(Table(manager, empty), IsEmpty());
  ExpectSound(manager);
}

TEST(KvCacheManagerTest, ReleaseGivesTheLastBlockBackFirstGroupByGroup) {
  auto manager = *KvCacheManager::Create(Options(6, {4, 2}));
  const SequenceId id = Add(manager, 6);  // 1 2 | 3 4 5
  ASSERT_TRUE(manager.Release(id).ok());
  EXPECT_THAT(
      manager.pool().FreeBlocks(),
      ElementsAre(BlockId(2), BlockId(1), BlockId(5), BlockId(4), BlockId(3)));
}

TEST(KvCacheManagerTest, AStaleIdIsNotFoundThoughItsRowIsInUseAgain) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId stale = Add(manager, 4);
  ASSERT_TRUE(manager.Release(stale).ok());
  const SequenceId id = Add(manager, 4);
  ASSERT_EQ(KvCacheManager::row(id), KvCacheManager::row(stale));
  for (const SequenceId wrong :
       {stale, SequenceId(), SequenceId(7), SequenceId(~std::uint64_t{0})}) {
    EXPECT_FALSE(manager.IsLive(wrong));
    EXPECT_EQ(manager.TryAppend(wrong, TokenCount(1)).status().code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(manager.Fork(wrong).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(manager.Truncate(wrong, TokenCount(0)).code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(manager.Rewind(wrong, TokenCount(0)).code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(manager.Release(wrong).code(), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(manager.num_tokens(id), TokenCount(4));
  EXPECT_EQ(manager.num_sequences(), 1);
}

TEST(KvCacheManagerTest, NoSequenceGrowsBeyondTheLongest) {
  auto manager = *KvCacheManager::Create(Options(32));
  const SequenceId id = Add(manager, 60);
  const absl::Status status = manager.TryAppend(id, TokenCount(5)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("64"));
  EXPECT_EQ(manager.TryAppend(id, TokenCount(-1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(manager.num_tokens(id), TokenCount(60));
  EXPECT_TRUE(Append(manager, id, 4));
}

TEST(KvCacheManagerTest, RefusesMoreSequencesThanAllowed) {
  KvCacheManagerOptions options = Options(9);
  options.max_sequences = 2;
  auto manager = *KvCacheManager::Create(options);
  const SequenceId a = Add(manager, 4);
  const SequenceId b = *manager.Fork(a);
  EXPECT_EQ(manager.AddSequence().status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(manager.Fork(a).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(References(manager, 1), 2);
  ASSERT_TRUE(manager.Release(b).ok());
  EXPECT_TRUE(manager.Fork(a).ok());
}

TEST(KvCacheManagerTest, SlotMappingFollowsTheTableAcrossBlocks) {
  KvCacheManager manager = IssuingInOrder({3, 1, 2});
  const SequenceId id = Add(manager, 10);
  std::vector<std::int64_t> slots(6);
  manager.FillSlotMapping(id, 3, slots);
  EXPECT_THAT(slots, ElementsAre(15, 4, 5, 6, 7, 8));
}

TEST(KvCacheManagerTest, CsrListsTheBlocksThatHoldTokens) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId a = *manager.AddSequence();
  ASSERT_TRUE(Append(manager, a, 5, {.lookahead = TokenCount(8)}));
  const SequenceId empty = *manager.AddSequence();
  const SequenceId b = Add(manager, 4);
  CsrBlockTables csr;
  manager.FillCsr(std::vector<SequenceId>{b, empty, a}, csr);
  EXPECT_THAT(csr.indptr, ElementsAre(0, 1, 1, 3));
  EXPECT_THAT(csr.indices, ElementsAre(5, 1, 2));
  EXPECT_THAT(csr.last_page_len, ElementsAre(4, 0, 1));
}

TEST(KvCacheManagerTest, OnlyAppendsThatTakeABlockMakeARowDirty) {
  auto manager = *KvCacheManager::Create(Options(9));
  const SequenceId a = Add(manager, 6);
  const SequenceId b = Add(manager, 8);
  manager.ClearDirty();
  ASSERT_TRUE(Append(manager, a, 1));
  EXPECT_THAT(manager.tables().dirty_ranges(), IsEmpty());
  ASSERT_TRUE(Append(manager, b, 1));
  EXPECT_THAT(manager.tables().dirty_ranges(),
              ElementsAre(DirtyRange{KvCacheManager::row(b), 2, 3}));
  ASSERT_TRUE(manager.Release(a).ok());
  EXPECT_THAT(manager.tables().dirty_ranges(),
              ElementsAre(DirtyRange{KvCacheManager::row(b), 2, 3},
                          DirtyRange{KvCacheManager::row(a), 0, 2}));
}

TEST(KvCacheManagerTest, BlocksForSumsOverTheGroups) {
  const auto manager = *KvCacheManager::Create(Options(9, {4, 2, 16}));
  EXPECT_EQ(manager.BlocksFor(TokenCount(0)), BlockCount(0));
  EXPECT_EQ(manager.BlocksFor(TokenCount(5)), BlockCount(2 + 3 + 1));
}

}  // namespace
}  // namespace pagedkv
