// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/slot_sanitizer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::HasSubstr;

constexpr BlockId kA{1};
constexpr BlockId kB{2};
constexpr BlockId kC{3};
constexpr SequenceId kSequence{0x100000007};

// Group 0 has blocks of 4 tokens, group 1 of 100.
SlotSanitizer Create() {
  return *SlotSanitizer::Create(BlockCount(8),
                                std::vector{BlockSize(4), BlockSize(100)});
}

TEST(SlotSanitizerTest, WhatWasWrittenMayBeRead) {
  SlotSanitizer sanitizer = Create();
  const std::vector<FreshBlock> fresh = {{kA}, {kB}};
  ASSERT_TRUE(sanitizer.OnStep({.fresh = fresh}).ok());
  ASSERT_TRUE(
      sanitizer.OnWrite(0, std::vector<std::int64_t>{4, 5, 6, 7, -1, 8}).ok());
  const std::vector<BlockId> table = {kA, kB};
  EXPECT_TRUE(sanitizer.CheckRead(kSequence, 0, table, TokenCount(5)).ok());
  const absl::Status status =
      sanitizer.CheckRead(kSequence, 0, table, TokenCount(6));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0x100000007"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("group 0: token 5"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("block 2 at offset 1"));
}

TEST(SlotSanitizerTest, ABlockThatIsIssuedAgainHoldsNothing) {
  SlotSanitizer sanitizer = Create();
  ASSERT_TRUE(sanitizer.OnWrite(1, std::vector<std::int64_t>{100, 199}).ok());
  EXPECT_TRUE(sanitizer.is_written(kA, 0));
  EXPECT_TRUE(sanitizer.is_written(kA, 99));
  EXPECT_FALSE(sanitizer.is_written(kA, 98));
  const std::vector<FreshBlock> fresh = {{kA}};
  ASSERT_TRUE(sanitizer.OnStep({.fresh = fresh}).ok());
  EXPECT_FALSE(sanitizer.is_written(kA, 0));
  EXPECT_FALSE(sanitizer.is_written(kA, 99));
}

TEST(SlotSanitizerTest, ACopyTakesWhatItsSourceHas) {
  SlotSanitizer sanitizer = Create();
  ASSERT_TRUE(sanitizer.OnWrite(0, std::vector<std::int64_t>{4, 6, 7}).ok());
  ASSERT_TRUE(sanitizer.OnWrite(0, std::vector<std::int64_t>{9, 11}).ok());
  const std::vector<BlockCopy> copies = {{0, kA, kB, 3}};
  ASSERT_TRUE(sanitizer.OnStep({.copies = copies}).ok());
  EXPECT_TRUE(sanitizer.is_written(kB, 0));
  EXPECT_FALSE(sanitizer.is_written(kB, 1));
  EXPECT_TRUE(sanitizer.is_written(kB, 2));
  EXPECT_TRUE(sanitizer.is_written(kB, 3));  // of before
}

TEST(SlotSanitizerTest, ACopyOfManyTokensTakesAllOfThem) {
  SlotSanitizer sanitizer = Create();
  std::vector<std::int64_t> slots;
  for (std::int64_t i = 0; i < 100; ++i) slots.push_back(100 + i);
  ASSERT_TRUE(sanitizer.OnWrite(1, slots).ok());
  const std::vector<BlockCopy> copies = {{1, kA, kB, 70}, {1, kA, kC, 64}};
  ASSERT_TRUE(sanitizer.OnStep({.copies = copies}).ok());
  const std::vector<BlockId> b = {kB};
  const std::vector<BlockId> c = {kC};
  EXPECT_TRUE(sanitizer.CheckRead(kSequence, 1, b, TokenCount(70)).ok());
  EXPECT_FALSE(sanitizer.CheckRead(kSequence, 1, b, TokenCount(71)).ok());
  EXPECT_TRUE(sanitizer.CheckRead(kSequence, 1, c, TokenCount(64)).ok());
  EXPECT_FALSE(sanitizer.CheckRead(kSequence, 1, c, TokenCount(65)).ok());
}

TEST(SlotSanitizerTest, ABlockThatWaitsForACopyIsReadByItBefore) {
  SlotSanitizer sanitizer = Create();
  ASSERT_TRUE(sanitizer.OnWrite(0, std::vector<std::int64_t>{4}).ok());
  const std::vector<BlockCopy> copies = {{0, kA, kB, 1}};
  const std::vector<FreshBlock> fresh = {{kB}, {kA, 1}};
  ASSERT_TRUE(sanitizer.OnStep({.fresh = fresh, .copies = copies}).ok());
  EXPECT_FALSE(sanitizer.is_written(kA, 0));
  EXPECT_TRUE(sanitizer.is_written(kB, 0));
}

TEST(SlotSanitizerTest, WhatIsSwappedComesBackAsItWas) {
  SlotSanitizer sanitizer = Create();
  SlotSanitizer swap_space = Create();
  ASSERT_TRUE(sanitizer.OnWrite(0, std::vector<std::int64_t>{4, 5}).ok());
  const std::vector<BlockSwap> out = {{0, kA, kC, 2}};
  const std::vector<BlockSwap> in = {{0, kB, kC, 2}};
  const std::vector<FreshBlock> fresh = {{kA}, {kB}};
  // A is issued to another in the step that swaps it out.
  ASSERT_TRUE(sanitizer
                  .OnStep({.swap_outs = out, .fresh = fresh, .swap_ins = in},
                          &swap_space)
                  .ok());
  EXPECT_FALSE(sanitizer.is_written(kA, 0));
  const std::vector<BlockId> b = {kB};
  EXPECT_TRUE(sanitizer.CheckRead(kSequence, 0, b, TokenCount(2)).ok());
  EXPECT_FALSE(sanitizer.CheckRead(kSequence, 0, b, TokenCount(3)).ok());
  EXPECT_EQ(sanitizer.OnStep({.swap_outs = out}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SlotSanitizerTest, NullBlocksAreNotLookedAtAndMissingOnesAreFound) {
  SlotSanitizer sanitizer = Create();
  ASSERT_TRUE(sanitizer.OnWrite(0, std::vector<std::int64_t>{8, 9}).ok());
  const std::vector<BlockId> table = {kNullBlock, kA, kB};
  EXPECT_FALSE(sanitizer.CheckRead(kSequence, 0, table, TokenCount(10)).ok());
  EXPECT_TRUE(
      sanitizer.CheckRead(kSequence, 0, table, TokenCount(10), TokenCount(8))
          .ok());
  const absl::Status status =
      sanitizer.CheckRead(kSequence, 0, table, TokenCount(13), TokenCount(12));
  EXPECT_THAT(std::string(status.message()), HasSubstr("token 12"));
}

TEST(SlotSanitizerTest, WhatIsNotThereIsRefused) {
  SlotSanitizer sanitizer = Create();
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(sanitizer.OnWrite(2, {}).code(), kInvalid);
  EXPECT_EQ(sanitizer.OnWrite(0, std::vector<std::int64_t>{32}).code(),
            kInvalid);
  for (const BlockCopy& copy :
       {BlockCopy{2, kA, kB, 1}, BlockCopy{0, BlockId(8), kB, 1},
        BlockCopy{0, kA, BlockId(-1), 1}, BlockCopy{0, kA, kB, 5}}) {
    EXPECT_EQ(sanitizer.OnStep({.copies = {&copy, 1}}).code(), kInvalid);
  }
  const FreshBlock fresh{BlockId(8)};
  EXPECT_EQ(sanitizer.OnStep({.fresh = {&fresh, 1}}).code(), kInvalid);
  EXPECT_EQ(SlotSanitizer::Create(BlockCount(0), std::vector{BlockSize(4)})
                .status()
                .code(),
            kInvalid);
  EXPECT_EQ(SlotSanitizer::Create(BlockCount(4), {}).status().code(), kInvalid);
}

}  // namespace
}  // namespace pagedkv
