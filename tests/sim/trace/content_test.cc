// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

namespace pagedkv::sim {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;

constexpr BlockSize kBlock{4};

std::vector<TokenId> Prompt(const TraceRequest& request) {
  std::vector<TokenId> tokens = {99};  // what was there before is gone
  PromptTokens(request, kBlock, tokens);
  return tokens;
}

std::vector<TokenId> Output(const TraceRequest& request) {
  std::vector<TokenId> tokens = {99};
  OutputTokens(request, kBlock, tokens);
  return tokens;
}

std::size_t CommonPrefix(const std::vector<TokenId>& a,
                         const std::vector<TokenId>& b) {
  const auto [end, other] =
      std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<std::size_t>(end - a.begin());
}

TEST(ContentTest, PromptsAreEqualAsFarAsTheirBlockIds) {
  const auto a = Prompt({.prompt_tokens = 10, .block_ids = {1, 2, 3}});
  const auto b = Prompt({.prompt_tokens = 12, .block_ids = {1, 2, 4}});
  const auto c = Prompt({.prompt_tokens = 11, .block_ids = {1, 2, 3}});
  EXPECT_EQ(a.size(), 10U);
  EXPECT_EQ(b.size(), 12U);
  EXPECT_EQ(CommonPrefix(a, b), 8U);
  EXPECT_EQ(CommonPrefix(a, c), 10U);  // a partial block of the same content
  EXPECT_THAT(a, Each(Ge(0)));
  EXPECT_EQ(std::set<TokenId>(a.begin(), a.end()).size(), a.size());
}

TEST(ContentTest, TokensAreTheSameOnEveryMachine) {
  EXPECT_THAT(Prompt({.id = 7, .prompt_tokens = 3, .block_ids = {5}}),
              ElementsAre(1593648547, 1391781118, 1713025921));
  EXPECT_THAT(Prompt({.id = 7, .prompt_tokens = 2}),
              ElementsAre(2142756710, 480726152));
}

TEST(ContentTest, WhatTheTraceDoesNotTellIsTheRequestsOwn) {
  const TraceRequest a = {.id = 1, .prompt_tokens = 10, .block_ids = {1, 2}};
  const TraceRequest b = {.id = 2, .prompt_tokens = 10, .block_ids = {1, 2}};
  EXPECT_EQ(CommonPrefix(Prompt(a), Prompt(b)), 8U);
  EXPECT_EQ(Prompt(a), Prompt(a));
  EXPECT_EQ(CommonPrefix(Prompt({.id = 1, .prompt_tokens = 6}),
                         Prompt({.id = 2, .prompt_tokens = 6})),
            0U);
}

TEST(ContentTest, TokenIdsOfTheTraceCountMoreThanBlockIds) {
  TraceRequest request = {.prompt_tokens = 3, .block_ids = {1}};
  request.prompt_token_ids = {11, 12, 13};
  EXPECT_THAT(Prompt(request), ElementsAre(11, 12, 13));
  request.prompt_token_ids = {11, 12, 13, 14};  // too many
  EXPECT_THAT(Prompt(request), ElementsAre(11, 12, 13));
  request.prompt_token_ids = {11};  // too few
  EXPECT_EQ(Prompt(request).size(), 3U);
  EXPECT_EQ(Prompt(request)[0], 11);
}

// 6 + 7 tokens in blocks of 4: the block that the prompt ends in is completed
// by the output, and the next turn shows all of it.
TEST(ContentTest, TheNextTurnShowsTheOutputInItsPrompt) {
  const TraceRequest turn = {.id = 1,
                             .prompt_tokens = 6,
                             .output_tokens = 7,
                             .block_ids = {1, 2},
                             .output_block_ids = {2, 3, 4}};
  const TraceRequest next = {
      .id = 2, .prompt_tokens = 15, .block_ids = {1, 2, 3, 4}};
  std::vector<TokenId> so_far = Prompt(turn);
  const std::vector<TokenId> output = Output(turn);
  EXPECT_EQ(output.size(), 7U);
  so_far.insert(so_far.end(), output.begin(), output.end());
  EXPECT_EQ(CommonPrefix(so_far, Prompt(next)), 13U);
}

// A trace such as Mooncake's has an id for a partial block that is not that of
// the full one.
TEST(ContentTest, LearnsTheOutputFromTheNextTurn) {
  const TraceRequest before = {
      .id = 1, .prompt_tokens = 6, .output_tokens = 7, .block_ids = {1, 9}};
  const TraceRequest next = {
      .id = 2, .prompt_tokens = 15, .block_ids = {1, 2, 3, 4}};
  TraceRequest turn = before;
  TellOutput(next, kBlock, turn);
  EXPECT_THAT(turn.block_ids, ElementsAre(1, 2));
  EXPECT_THAT(turn.output_block_ids, ElementsAre(2, 3, 4));

  // Another beginning, too short a prompt, or an answer that is known.
  for (const TraceRequest& other :
       {TraceRequest{.prompt_tokens = 15, .block_ids = {5, 2, 3, 4}},
        TraceRequest{.prompt_tokens = 12, .block_ids = {1, 2, 3}},
        TraceRequest{.prompt_tokens = 15, .block_ids = {1, 2, 3}}}) {
    turn = before;
    TellOutput(other, kBlock, turn);
    EXPECT_THAT(turn.block_ids, ElementsAre(1, 9));
    EXPECT_THAT(turn.output_block_ids, IsEmpty());
  }
  turn = before;
  turn.output_block_ids = {9, 8, 7};
  TellOutput(next, kBlock, turn);
  EXPECT_THAT(turn.output_block_ids, ElementsAre(9, 8, 7));
}

TEST(ContentTest, AnOutputThatNobodyShowsIsTheRequestsOwn) {
  const TraceRequest a = {
      .id = 1, .prompt_tokens = 4, .output_tokens = 5, .block_ids = {1}};
  const TraceRequest b = {
      .id = 2, .prompt_tokens = 4, .output_tokens = 5, .block_ids = {1}};
  EXPECT_EQ(Output(a).size(), 5U);
  EXPECT_EQ(CommonPrefix(Output(a), Output(b)), 0U);
}

}  // namespace
}  // namespace pagedkv::sim
