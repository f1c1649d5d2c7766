// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<TraceRequest> Requests() {
  return {{.id = 0,
           .arrival_ns = 0,
           .prompt_tokens = 600,
           .output_tokens = 1,
           .block_ids = {0, 18446744073709551615U}},
          {.id = 1,
           .arrival_ns = 1'500'000,
           .prompt_tokens = 20,
           .output_tokens = 2,
           .block_ids = {3}},
          {.id = 2,
           .arrival_ns = 40LL * 86'400 * 1'000'000'000 + 100,
           .prompt_tokens = 2147483647,
           .output_tokens = 3,
           .block_ids = {}}};
}

std::string Write(std::string_view path, BlockSize block = BlockSize(512)) {
  auto writer = TraceWriter::ForPath(path, {.block = block});
  EXPECT_TRUE(writer.ok());
  std::string text(writer->header());
  for (const TraceRequest& request : Requests()) writer->Append(request, text);
  return text;
}

TEST(TraceWriterTest, WritesWhatTheReaderReads) {
  for (const std::string path : {"out.csv", "out.jsonl"}) {
    const bool ids = path == "out.jsonl";
    const ReadResult read = ReadText(Write(path), {.strict = true});
    ASSERT_TRUE(read.status.ok()) << read.message();
    const std::vector<TraceRequest> expected = Requests();
    ASSERT_EQ(read.requests.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(read.requests[i].arrival_ns, expected[i].arrival_ns);
      EXPECT_EQ(read.requests[i].prompt_tokens, expected[i].prompt_tokens);
      EXPECT_EQ(read.requests[i].output_tokens, expected[i].output_tokens);
      if (ids) {
        EXPECT_EQ(read.requests[i].block_ids, expected[i].block_ids);
      } else {
        EXPECT_THAT(read.requests[i].block_ids, IsEmpty());
      }
    }
  }
}

TEST(TraceWriterTest, WritesWholeMillisecondsWithoutAFraction) {
  EXPECT_THAT(Write("a.jsonl"), HasSubstr("\"timestamp\": 0,"));
  EXPECT_THAT(Write("a.jsonl"), HasSubstr("\"timestamp\": 1.5,"));
}

TEST(TraceWriterTest, BringsBlockIdsToTheSizeOfTheFormat) {
  // Blocks of 16: 600 tokens have 38, of which the two ids cover 32 tokens.
  const ReadResult read = ReadText(Write("a.jsonl", BlockSize(16)));
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.requests[0].block_ids.size(), 1U);
  EXPECT_EQ(read.requests[1].block_ids.size(), 1U);
}

TEST(TraceWriterTest, KeepsBlocksOfAnotherSizeWhereAskedTo) {
  auto writer = TraceWriter::ForPath(
      "a.jsonl", {.block = BlockSize(16), .out_block = BlockSize(16)});
  ASSERT_TRUE(writer.ok());
  std::string text;
  writer->Append({.prompt_tokens = 20, .output_tokens = 1, .block_ids = {3, 4}},
                 text);
  EXPECT_EQ(text,
            "{\"timestamp\": 0, \"input_length\": 20, \"output_length\": 1, "
            "\"block_tokens\": 16, \"hash_ids\": [3, 4]}\n");
}

TEST(TraceWriterTest, WritesSessionsAsMooncakePlus) {
  auto writer = TraceWriter::ForPath("a.jsonl", {.sessions = true});
  ASSERT_TRUE(writer.ok());
  std::string text;
  for (const TraceRequest& request : std::vector<TraceRequest>{
           {.id = 10, .prompt_tokens = 5, .output_tokens = 1},
           {.id = 11, .prompt_tokens = 6, .output_tokens = 1},
           {.id = 12,
            .prompt_tokens = 7,
            .output_tokens = 1,
            .follows = 10,
            .delay_ns = 1'500'000},
           {.id = 13, .prompt_tokens = 8, .output_tokens = 1, .follows = 10}}) {
    writer->Append(request, text);
  }
  EXPECT_EQ(text,
            "{\"session_id\": \"0\", \"timestamp\": 0, \"input_length\": 5, "
            "\"output_length\": 1}\n"
            "{\"session_id\": \"1\", \"timestamp\": 0, \"input_length\": 6, "
            "\"output_length\": 1}\n"
            "{\"session_id\": \"0\", \"delay\": 1.5, \"input_length\": 7, "
            "\"output_length\": 1}\n"
            "{\"session_id\": \"0\", \"follows\": 0, \"delay\": 0, "
            "\"input_length\": 8, \"output_length\": 1}\n");
}

TEST(TraceWriterTest, KnowsOnlyTwoKindsOfFile) {
  EXPECT_THAT(
      std::string(TraceWriter::ForPath("a.parquet", {}).status().message()),
      HasSubstr("a.parquet: unknown kind of trace"));
  EXPECT_FALSE(TraceWriter::ForPath("csv", {}).ok());
}

}  // namespace
}  // namespace pagedkv::sim
