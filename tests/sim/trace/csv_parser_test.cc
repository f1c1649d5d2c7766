// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

TEST(CsvParserTest, ReadsAzure2023) {
  const ReadResult read = ReadText(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-16 18:15:46.6805900,374,44\r\n"
      "2023-11-16 18:15:50.9951690,396,109");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "azure");
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_EQ(read.requests[0].arrival_ns, 0);
  EXPECT_EQ(read.requests[0].prompt_tokens, 374);
  EXPECT_EQ(read.requests[0].output_tokens, 44);
  EXPECT_EQ(read.requests[1].id, 1);
  EXPECT_EQ(read.requests[1].arrival_ns, 4'314'579'000);
  EXPECT_EQ(read.requests[1].prompt_tokens, 396);
  EXPECT_EQ(read.requests[1].output_tokens, 109);
  EXPECT_TRUE(read.requests[1].block_ids.empty());
  EXPECT_EQ(read.summary.trace_block_tokens, 0);
}

TEST(CsvParserTest, ReadsAzure2024WithAndWithoutAFraction) {
  const ReadResult read = ReadText(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n"
      "2024-05-10 00:00:00.009930+00:00,2162,5\n"
      "2024-05-10 00:00:01+00:00,2399,6\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "azure");
  ASSERT_EQ(read.requests.size(), 2U);
  EXPECT_EQ(read.requests[1].arrival_ns, 990'070'000);
}

TEST(CsvParserTest, ReadsAzure2025Multimodal) {
  const ReadResult read = ReadText(
      "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
      "2024-10-15 12:00:00.5,3,1111,22\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.format, "azure");
  ASSERT_EQ(read.requests.size(), 1U);
  EXPECT_EQ(read.requests[0].prompt_tokens, 1111);
  EXPECT_EQ(read.requests[0].output_tokens, 22);
}

TEST(CsvParserTest, ReadsBurstGptOfEitherVersionByName) {
  const ReadResult sessions = ReadText(
      "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response "
      "tokens,Total tokens,Log Type\n"
      "5,\"a,b\",1.5,ChatGPT,472,18,490,Conversation log\n"
      "45.25,,,\"GPT-4 \"\"turbo\"\"\",1087,230,1317,API log\n");
  ASSERT_TRUE(sessions.status.ok()) << sessions.message();
  EXPECT_EQ(sessions.summary.format, "burstgpt");
  ASSERT_EQ(sessions.requests.size(), 2U);
  EXPECT_EQ(sessions.requests[1].arrival_ns, 40'250'000'000);
  EXPECT_EQ(sessions.requests[1].prompt_tokens, 1087);
  EXPECT_EQ(sessions.requests[1].output_tokens, 230);

  const ReadResult plain = ReadText(
      "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
      "5,ChatGPT,472,18,490,Conversation log\n");
  ASSERT_TRUE(plain.status.ok()) << plain.message();
  EXPECT_EQ(plain.summary.format, "burstgpt");
  EXPECT_EQ(plain.requests.at(0).prompt_tokens, 472);
}

TEST(CsvParserTest, CountsFailedRequestsOfBurstGpt) {
  const ReadResult read = ReadText(
      "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
      "5,ChatGPT,472,0,472,Conversation log\n"
      "6,ChatGPT,0,0,0,Conversation log\n"
      "7,ChatGPT,10,1,11,Conversation log\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.rows, 3);
  EXPECT_EQ(read.summary.kept, 1);
  EXPECT_EQ(read.summary.dropped, DroppedRows{.zero_output = 2});
  // Failed requests are dropped, their time is not.
  EXPECT_EQ(read.requests.at(0).arrival_ns, 2'000'000'000);
}

TEST(CsvParserTest, ReadsVidurAndSplitwiseWithAndWithoutArrivals) {
  const ReadResult timed = ReadText(
      "arrived_at,num_prefill_tokens,num_decode_tokens\n"
      "5e-05,100,10\n"
      "0.3,200,20\n");
  ASSERT_TRUE(timed.status.ok()) << timed.message();
  EXPECT_EQ(timed.summary.format, "vidur");
  ASSERT_EQ(timed.requests.size(), 2U);
  EXPECT_EQ(timed.requests[1].arrival_ns, 299'950'000);
  EXPECT_EQ(timed.requests[1].prompt_tokens, 200);
  EXPECT_EQ(timed.requests[1].output_tokens, 20);

  const ReadResult untimed = ReadText(
      ",num_prefill_tokens,num_decode_tokens,pd_ratio\n"
      "0,100,10,10.0\n"
      "1,200,20,10.0\n");
  ASSERT_TRUE(untimed.status.ok()) << untimed.message();
  EXPECT_EQ(untimed.summary.format, "splitwise");
  ASSERT_EQ(untimed.requests.size(), 2U);
  EXPECT_EQ(untimed.requests[1].arrival_ns, 0);
  EXPECT_EQ(untimed.requests[1].prompt_tokens, 200);
  EXPECT_EQ(untimed.summary.span_ns, 0);
  EXPECT_EQ(untimed.summary.rate(), 0.0);

  const ReadResult simulator = ReadText(
      "request_id,request_type,application_id,arrival_timestamp,batch_size,"
      "prompt_size,token_size\n"
      "0,2,0,0.5,1,100,10\n");
  ASSERT_TRUE(simulator.status.ok()) << simulator.message();
  EXPECT_EQ(simulator.summary.format, "splitwise-sim");
  EXPECT_EQ(simulator.requests.at(0).prompt_tokens, 100);
}

TEST(CsvParserTest, ReadsColumnsInAnyOrderWithBlanksAndQuotes) {
  const ReadResult read = ReadText(
      "\"GeneratedTokens\", ContextTokens ,TIMESTAMP\n"
      "\"44\", 374 ,\"2023-11-16 18:15:46\"\n");
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.requests.at(0).prompt_tokens, 374);
  EXPECT_EQ(read.requests.at(0).output_tokens, 44);
}

}  // namespace
}  // namespace pagedkv::sim
