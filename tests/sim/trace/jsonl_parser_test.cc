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

TEST(JsonlParserTest, ReadsTheSessionsOfMooncakePlusAsOpenLoop) {
  const ReadResult read = ReadText(
      R"({"session_id":"a","created_time":100,"input_tokens":10,"output_tokens":1})"
      "\n"
      R"({"session_id":"b","created_time":150,"input_tokens":20,"output_tokens":2})"
      "\n"
      R"({"session_id":"a","delay":500,"input_tokens":30,"output_tokens":3})"
      "\n"
      R"({"session_id":"a","delay_ms":0.5,"timestamp":null,"input_length":40,"output_length":4})"
      "\n"
      R"({"session_id":"b","created_time":200,"input_tokens":50,"output_tokens":5})");
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
  EXPECT_EQ(read.summary.open_loop_turns, 2);
  EXPECT_EQ(read.summary.span_ns, 500'500'000);
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
