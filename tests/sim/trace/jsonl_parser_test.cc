// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(JsonlParserTest, ReadsMooncake) {
  const ReadResult read = ReadText(
      R"({"timestamp": 0, "input_length": 675, "output_length": 500, )"
      R"("hash_ids": [0, 18446744073709551615]})"
      "\n"
      R"({"timestamp":3052,"input_length":3,"output_length":1,"hash_ids":[7]})");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "mooncake");
  EXPECT_EQ(read.summary.trace_block_tokens, 512);
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_EQ(read.requests[0].prompt_tokens, 675);
  EXPECT_EQ(read.requests[0].output_tokens, 500);
  EXPECT_THAT(read.requests[0].block_ids,
              ElementsAre(0, 18446744073709551615U));
  EXPECT_EQ(read.requests[1].arrival_ns, 3'052'000'000);
  EXPECT_THAT(read.requests[1].block_ids, ElementsAre(7));
}

constexpr std::string_view kMooncakePlus =
    R"({"session_id":"a","created_time":100,"input_tokens":10,"output_tokens":1})"
    "\n"
    R"({"session_id":"b","created_time":150,"input_tokens":20,"output_tokens":2})"
    "\n"
    R"({"session_id":"a","delay":500,"input_tokens":30,"output_tokens":3})"
    "\n"
    R"({"session_id":"a","delay_ms":0.5,"timestamp":null,"input_length":40,"output_length":4})"
    "\n"
    R"({"session_id":"b","created_time":200,"input_tokens":50,"output_tokens":5})";

TEST(JsonlParserTest, ReadsTheSessionsOfMooncakePlus) {
  const ReadResult read = ReadText(kMooncakePlus);
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "mooncake");
  ASSERT_EQ(read.requests.size(), 5U);
  EXPECT_EQ(read.requests[1].arrival_ns, 50'000'000);
  EXPECT_EQ(read.requests[2].arrival_ns, 500'000'000);
  EXPECT_EQ(read.requests[2].prompt_tokens, 30);
  EXPECT_EQ(read.requests[3].arrival_ns, 500'500'000);
  EXPECT_EQ(read.requests[3].output_tokens, 4);
  // A turn that follows later does not make the rows below it late.
  EXPECT_EQ(read.requests[4].arrival_ns, 100'000'000);
  EXPECT_EQ(read.summary.dropped.total(), 0);
  EXPECT_EQ(read.summary.span_ns, 500'500'000);
}

std::vector<std::int64_t> Follows(const ReadResult& read) {
  std::vector<std::int64_t> follows;
  for (const TraceRequest& request : read.requests) {
    follows.push_back(request.follows);
  }
  return follows;
}

TEST(JsonlParserTest, TurnsWithADelayWaitForTheTurnBefore) {
  const ReadResult read = ReadText(kMooncakePlus);
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_THAT(Follows(read), ElementsAre(-1, -1, 0, 2, -1));
  EXPECT_EQ(read.requests[2].delay_ns, 500'000'000);
  EXPECT_EQ(read.requests[3].delay_ns, 500'000);
  EXPECT_EQ(read.requests[4].delay_ns, 0);
  EXPECT_EQ(read.summary.closed_loop_turns, 2);
  EXPECT_EQ(read.summary.open_loop_turns, 0);
}

TEST(JsonlParserTest, OpenLoopNoTurnWaits) {
  const ReadResult read =
      ReadText(kMooncakePlus, {.sessions = SessionLoop::kOpen});
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_THAT(Follows(read), ElementsAre(-1, -1, -1, -1, -1));
  EXPECT_EQ(read.summary.closed_loop_turns, 0);
  EXPECT_EQ(read.summary.open_loop_turns, 2);
  EXPECT_EQ(read.requests[3].arrival_ns, 500'500'000);
}

TEST(JsonlParserTest, ClosedLoopTurnsWithATimeWaitAsWell) {
  const ReadResult read =
      ReadText(kMooncakePlus, {.sessions = SessionLoop::kClosed});
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_THAT(Follows(read), ElementsAre(-1, -1, 0, 2, 1));
  EXPECT_EQ(read.requests[4].delay_ns, 50'000'000);
  EXPECT_EQ(read.requests[4].arrival_ns, 100'000'000);
}

// The second turn failed: the third waits for the first, by both delays.
TEST(JsonlParserTest, ATurnFollowsTheLatestOneThatIsKept) {
  const ReadResult read = ReadText(
      R"({"session_id":"a","timestamp":0,"input_length":10,"output_length":1})"
      "\n"
      R"({"session_id":"a","delay":5,"input_length":20,"output_length":0})"
      "\n"
      R"({"session_id":"a","delay":7,"input_length":30,"output_length":3})"
      "\n"
      R"({"session_id":"b","timestamp":10,"input_length":9,"output_length":0})"
      "\n"
      R"({"session_id":"b","delay":1,"input_length":10,"output_length":1})");
  ASSERT_TRUE(read.status.ok()) << read.message();
  ASSERT_EQ(read.requests.size(), 3U);
  EXPECT_EQ(read.requests[1].id, 2);
  EXPECT_EQ(read.requests[1].follows, 0);
  EXPECT_EQ(read.requests[1].delay_ns, 12'000'000);
  // No turn of its session is left to wait for.
  EXPECT_EQ(read.requests[2].follows, -1);
  EXPECT_EQ(read.requests[2].arrival_ns, 11'000'000);
  EXPECT_EQ(read.summary.closed_loop_turns, 1);
  EXPECT_EQ(read.summary.open_loop_turns, 1);
}

constexpr std::string_view kQwenTurns =
    R"({"chat_id": 7, "parent_chat_id": -1, "timestamp": 1.0, )"
    R"("input_length": 16, "output_length": 2, "hash_ids": [1]})"
    "\n"
    R"({"chat_id": 8, "parent_chat_id": 7, "timestamp": 4.0, )"
    R"("input_length": 17, "output_length": 1, "hash_ids": [1, 2]})"
    "\n"
    R"({"chat_id": 9, "parent_chat_id": 7, "timestamp": 5.5, )"
    R"("input_length": 17, "output_length": 1, "hash_ids": [1, 3]})"
    "\n"
    R"({"chat_id": 10, "parent_chat_id": 3, "timestamp": 6.0, )"
    R"("input_length": 17, "output_length": 1, "hash_ids": [1, 4]})";

TEST(JsonlParserTest, QwenBailianIsOpenLoopUnlessAskedFor) {
  const ReadResult recorded = ReadText(kQwenTurns);
  ASSERT_TRUE(recorded.status.ok()) << recorded.message();
  EXPECT_THAT(Follows(recorded), ElementsAre(-1, -1, -1, -1));
  EXPECT_EQ(recorded.summary.open_loop_turns, 0);  // all have arrivals

  const ReadResult closed =
      ReadText(kQwenTurns, {.sessions = SessionLoop::kClosed});
  ASSERT_TRUE(closed.status.ok()) << closed.message();
  EXPECT_THAT(Follows(closed), ElementsAre(-1, 0, 0, -1));
  EXPECT_EQ(closed.requests[2].delay_ns, 4'500'000'000);
}

TEST(JsonlParserTest, ReadsWhatTraceWriterAddsToMooncake) {
  const ReadResult read = ReadText(
      R"({"session_id":"0","timestamp":0,"input_length":5,"output_length":4,)"
      R"("block_tokens":4,"hash_ids":[1,2],"output_hash_ids":[2,3]})"
      "\n"
      R"({"session_id":"0","delay":2,"input_length":9,"output_length":1,)"
      R"("block_tokens":4,"hash_ids":[1,2,3]})"
      "\n"
      R"({"session_id":"0","follows":0,"delay":3,"input_length":9,)"
      R"("output_length":1,"block_tokens":4,"hash_ids":[1,2,4]})");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.trace_block_tokens, 4);
  EXPECT_THAT(read.requests[0].output_block_ids, ElementsAre(2, 3));
  EXPECT_THAT(read.requests[1].output_block_ids, IsEmpty());
  EXPECT_THAT(Follows(read), ElementsAre(-1, 0, 0));
  EXPECT_EQ(read.requests[2].delay_ns, 3'000'000);
}

TEST(JsonlParserTest, RefusesWhatContradictsTheFirstRow) {
  constexpr std::string_view kFirst =
      R"({"timestamp":0,"input_length":5,"output_length":4,"block_tokens":4})"
      "\n";
  EXPECT_THAT(ReadText(std::string(kFirst) +
                       R"({"timestamp":0,"input_length":5,"output_length":4,)"
                       R"("block_tokens":8})")
                  .message(),
              HasSubstr(":2:66: block_tokens: expected 4 as in the first row, "
                        "found 8"));
  EXPECT_THAT(ReadText(R"({"timestamp":0,"input_length":5,"output_length":4,)"
                       R"("block_tokens":0})")
                  .message(),
              HasSubstr("block_tokens: expected 1 or more, found \"0\""));
  EXPECT_THAT(ReadText(R"({"timestamp":0,"input_length":5,"output_length":4,)"
                       R"("follows":-1})")
                  .message(),
              HasSubstr("follows: expected the number of a row, found \"-1\""));
  EXPECT_THAT(
      ReadText(R"({"delay":0,"input_length":5,"output_length":4,"follows":3})")
          .message(),
      HasSubstr("a delay, but no earlier turn"));
}

TEST(JsonlParserTest, RefusesADelayWithoutAnEarlierTurn) {
  const ReadResult read = ReadText(
      R"({"session_id":"a","timestamp":100,"input_length":10,"output_length":1})"
      "\n"
      R"({"session_id":"b","delay":5,"input_length":10,"output_length":1})");
  EXPECT_THAT(read.message(), HasSubstr(":2:1: a delay, but no earlier turn"));
}

TEST(JsonlParserTest, ReadsQwenBailian) {
  const ReadResult read = ReadText(
      R"({"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, )"
      R"("input_length": 33, "output_length": 2, "type": "text", "turn": 1, )"
      R"("hash_ids": [1089, 1090, 1091]})"
      "\n"
      R"({"chat_id": 160, "parent_chat_id": 159, "timestamp": 61.5, )"
      R"("input_length": 16, "output_length": 1, "type": "te\"xt", "turn": 2, )"
      R"("hash_ids": [1]})"
      "\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "qwen-bailian");
  EXPECT_EQ(read.summary.trace_block_tokens, 16);
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_THAT(read.requests[0].block_ids, ElementsAre(1089, 1090, 1091));
  EXPECT_EQ(read.requests[1].arrival_ns, 386'000'000);
}

TEST(JsonlParserTest, ReadsLlmServingSimWithoutItsTokens) {
  const ReadResult read = ReadText(
      R"({"input_toks": 3, "output_toks": 531, "arrival_time_ns": 46926808, )"
      R"("input_tok_ids": [5971, 2927, 220]})"
      "\n"
      R"({"input_toks": 9, "output_toks": 1, "arrival_time_ns": 46926809})"
      "\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "llmservingsim");
  EXPECT_EQ(read.summary.trace_block_tokens, 0);
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_EQ(read.requests[0].prompt_tokens, 3);
  EXPECT_THAT(read.requests[0].block_ids, IsEmpty());
  EXPECT_THAT(read.requests[0].prompt_token_ids, IsEmpty());
  EXPECT_EQ(read.requests[1].arrival_ns, 1);
}

TEST(JsonlParserTest, ReadsTokenIdsWhenAskedTo) {
  const TraceReaderOptions options{.token_ids = true};
  const std::string head = R"({"output_toks": 1, "arrival_time_ns": 0, )";
  const ReadResult read = ReadText(
      head + R"("input_toks": 3, "input_tok_ids": [5971, 0, 2147483647]})" +
          "\n" + head + R"("input_toks": 9, "input_tok_ids": null})" + "\n" +
          head + R"("input_toks": 1, "input_tok_ids": [7]})",
      options);
  ASSERT_TRUE(read.status.ok()) << read.message();
  ASSERT_EQ(read.requests.size(), 3U);
  EXPECT_THAT(read.requests[0].prompt_token_ids,
              ElementsAre(5971, 0, 2147483647));
  EXPECT_THAT(read.requests[1].prompt_token_ids, IsEmpty());
  EXPECT_THAT(read.requests[2].prompt_token_ids, ElementsAre(7));

  EXPECT_THAT(
      ReadText(head + R"("input_toks": 3, "input_tok_ids": [1, 2]})", options)
          .message(),
      HasSubstr("2 token ids of a prompt of 3 tokens"));
  EXPECT_THAT(
      ReadText(head + R"("input_toks": 1, "input_tok_ids": [2147483648]})",
               options)
          .message(),
      HasSubstr("input_tok_ids: expected an array of whole numbers from 0 to "
                "2147483647, found \"2147483648\""));
}

TEST(JsonlParserTest, ReadsRowsWithoutAnyArrivalAsArrivingAtOnce) {
  const ReadResult read = ReadText(R"({"input_length":10,"output_length":1})"
                                   "\n"
                                   R"({"input_length":20,"output_length":2})");
  ASSERT_TRUE(read.status.ok()) << read.message();
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_EQ(read.requests[1].arrival_ns, 0);
}

TEST(JsonlParserTest, NamesTheKeysThatItDoesNotKnow) {
  const ReadResult read =
      ReadText(R"({"text_input": "hello", "timestamp": 1})");
  EXPECT_THAT(read.message(), HasSubstr(":1:1: unknown trace format: keys "
                                        "\"text_input,timestamp\"; known are"));
  EXPECT_THAT(read.message(), HasSubstr("qwen-bailian"));
}

TEST(JsonlParserTest, SaysThatShareGptNeedsATokenizer) {
  const ReadResult read = ReadText(R"([{"id": "x", "conversations": []}])");
  EXPECT_THAT(read.message(), HasSubstr("need a tokenizer"));
}

}  // namespace
}  // namespace pagedkv::sim
