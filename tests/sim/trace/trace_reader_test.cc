// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::int64_t> Ids(const ReadResult& read) {
  std::vector<std::int64_t> ids;
  for (const TraceRequest& request : read.requests) ids.push_back(request.id);
  return ids;
}

constexpr std::string_view kMixed =
    "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    "1,100,10\n"    // 0: kept
    "2,100,0\n"     // 1: zero output
    "\n"            // no row
    "3,4000,200\n"  // 2: long
    "x,1,1\n"       // 3: malformed
    "2.5,1,1\n"     // 4: out of order
    "3,7,0\n"       // 5: zero output
    "2,0,5\n"       // 6: malformed, whatever else it is
    "2,9,0\n"       // 7: zero output before out of order
    "3,10,20\n";    // 8: kept

TEST(TraceReaderTest, AccountsForEveryRow) {
  const ReadResult read =
      ReadText(kMixed, {.skip_malformed = true, .max_sequence_tokens = 4199});
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_THAT(Ids(read), ElementsAre(0, 8));
  const TraceSummary& summary = read.summary;
  EXPECT_EQ(summary.rows, 9);
  EXPECT_EQ(summary.kept, 2);
  EXPECT_EQ(summary.dropped, (DroppedRows{.malformed = 2,
                                          .zero_output = 3,
                                          .out_of_order = 1,
                                          .over_max_seq = 1}));
  EXPECT_EQ(summary.rows, summary.kept + summary.dropped.total());
  EXPECT_EQ(summary.span_ns, 2'000'000'000);
  EXPECT_EQ(summary.prompt_tokens, 110);
  EXPECT_EQ(summary.output_tokens, 30);
  EXPECT_DOUBLE_EQ(summary.rate(), 0.5);
  EXPECT_THAT(summary.sha256, ::testing::SizeIs(64));
}

TEST(TraceReaderTest, KeepsARequestOfExactlyTheMaximum) {
  const ReadResult read =
      ReadText(kMixed, {.skip_malformed = true, .max_sequence_tokens = 4200});
  EXPECT_THAT(Ids(read), ElementsAre(0, 2, 8));
}

TEST(TraceReaderTest, KeepsRowsOutOfOrderOnRequest) {
  const ReadResult read =
      ReadText(kMixed, {.skip_malformed = true, .keep_out_of_order = true});
  EXPECT_THAT(Ids(read), ElementsAre(0, 2, 4, 8));
  EXPECT_EQ(read.summary.dropped.out_of_order, 0);
}

TEST(TraceReaderTest, StopsAtTheFirstMalformedRowUnlessToldToSkip) {
  const ReadResult read = ReadText(kMixed);
  EXPECT_THAT(Ids(read), ElementsAre(0, 2));
  EXPECT_THAT(read.message(), HasSubstr(":6:1: arrived_at: expected a time"));
  EXPECT_THAT(read.message(), HasSubstr("--skip-malformed"));
}

TEST(TraceReaderTest, StopsAfterTheRequestsAskedForAndHashesTheWholeFile) {
  const TestFile file(kMixed);
  const ReadResult some = ReadAll(file.path(), {.max_requests = 2});
  ASSERT_TRUE(some.status.ok()) << some.message();
  EXPECT_THAT(Ids(some), ElementsAre(0, 2));
  EXPECT_EQ(some.summary.rows, 3);
  const ReadResult all = ReadAll(file.path(), {.skip_malformed = true});
  EXPECT_EQ(some.summary.sha256, all.summary.sha256);
  EXPECT_EQ(some.summary.name,
            std::filesystem::path(file.path()).filename().string());
}

TEST(TraceReaderTest, DoesNotShiftArrivalsByWhatItDrops) {
  const std::string content =
      "arrived_at,num_prefill_tokens,num_decode_tokens\n"
      "10,5000,1\n"
      "12,10,1\n";
  EXPECT_EQ(ReadText(content).requests.at(1).arrival_ns, 2'000'000'000);
  EXPECT_EQ(
      ReadText(content, {.max_sequence_tokens = 100}).requests.at(0).arrival_ns,
      2'000'000'000);
}

TEST(TraceReaderTest, ChecksBlockIdsOnlyIfStrict) {
  const auto row = [](std::string_view ids, int prompt) {
    return R"({"timestamp":0,"input_length":)" + std::to_string(prompt) +
           R"(,"output_length":1,"hash_ids":[)" + std::string(ids) + "]}\n";
  };
  const std::string fork = row("1,2,3", 1100) + row("1,2,4", 1100);
  EXPECT_TRUE(ReadText(fork, {.strict = true}).status.ok());

  const std::string other_parent = fork + row("1,5,3", 1100);
  EXPECT_TRUE(ReadText(other_parent).status.ok());
  EXPECT_THAT(ReadText(other_parent, {.strict = true}).message(),
              HasSubstr(":3:1: block id 3 follows block id 5 here, and block "
                        "id 2 before"));
  // As a root: an id without a parent is not one with any parent.
  EXPECT_THAT(ReadText(fork + row("2", 10), {.strict = true}).message(),
              HasSubstr(":3:1: block id 2 follows the start here"));
  EXPECT_THAT(ReadText(row("1,1", 600), {.strict = true}).message(),
              HasSubstr("block id 1 follows block id 1 here, and the start"));

  // A row that is skipped does not speak against later ones.
  const ReadResult skipped = ReadText(fork + row("6,7,3", 1100) + row("7", 10),
                                      {.skip_malformed = true, .strict = true});
  EXPECT_EQ(skipped.summary.dropped.malformed, 1);
  EXPECT_EQ(skipped.summary.kept, 3);

  const std::string short_one = row("1,2", 1025);
  EXPECT_TRUE(ReadText(short_one).status.ok());
  EXPECT_THAT(ReadText(short_one, {.strict = true}).message(),
              HasSubstr("expected 3 block ids for 1025 tokens in blocks of "
                        "512, found 2"));
  EXPECT_TRUE(
      ReadText(short_one, {.strict = true, .block_tokens = 1024}).status.ok());
}

// Every kind of damage, for every family.

struct Family {
  std::string_view name;
  std::string_view header;  // with its line end; empty for JSON
  std::string_view row;     // a good one, without its line end
  std::string_view prompt;  // as it stands in `row`
  std::string_view key;     // of the prompt, as messages name it

  friend void PrintTo(const Family& family, std::ostream* out) {
    *out << family.name;
  }
};

class TraceReaderMalformedTest : public ::testing::TestWithParam<Family> {
 protected:
  /// The second row has the prompt replaced; it stands in line `bad_line()`.
  static std::string WithPrompt(std::string_view text) {
    std::string bad(GetParam().row);
    bad.replace(bad.find(GetParam().prompt), GetParam().prompt.size(), text);
    return Content(bad);
  }
  static std::string Content(std::string_view second_row) {
    return std::string(GetParam().header) + std::string(GetParam().row) + "\n" +
           std::string(second_row) + "\n" + std::string(GetParam().row) + "\n";
  }
  static int bad_line() { return GetParam().header.empty() ? 2 : 3; }
  static int prompt_column() {
    return static_cast<int>(GetParam().row.find(GetParam().prompt)) + 1;
  }

  /// Reading stops with an error at the line, and going on counts one row.
  static std::string ErrorOf(const std::string& content) {
    const TestFile file(content);
    const ReadResult read = ReadAll(file.path());
    EXPECT_EQ(read.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(read.message(), StartsWith(file.path() + ":" +
                                           std::to_string(bad_line()) + ":"));
    EXPECT_EQ(read.message().find('\n'), std::string::npos);
    const ReadResult skipped = ReadAll(file.path(), {.skip_malformed = true});
    EXPECT_TRUE(skipped.status.ok()) << skipped.message();
    EXPECT_EQ(skipped.summary.dropped, DroppedRows{.malformed = 1});
    EXPECT_EQ(skipped.summary.kept, skipped.summary.rows - 1);
    return read.message().substr(file.path().size() + 1);
  }
};

TEST_P(TraceReaderMalformedTest, ReadsTheGoodRows) {
  const ReadResult read = ReadText(Content(GetParam().row));
  ASSERT_TRUE(read.status.ok()) << read.message();
  EXPECT_EQ(read.summary.kept, 3);
  EXPECT_EQ(read.summary.format, GetParam().name);
}

TEST_P(TraceReaderMalformedTest, RefusesNumbersThatAreNone) {
  const std::string at = std::to_string(bad_line()) + ":" +
                         std::to_string(prompt_column()) + ": " +
                         std::string(GetParam().key) + ": expected";
  for (const std::string_view bad :
       {"-5", "2147483648", "123456789012345678901234567890", "12x", "1.5",
        "\"\"", "true", "\xE4", "0x1F", "NaN"}) {
    const std::string message = ErrorOf(WithPrompt(bad));
    if (bad == "\"\"") {
      // The quotes of a CSV field do not belong to it.
      EXPECT_THAT(message, HasSubstr(": expected"));
    } else if (bad != "\xE4" || !GetParam().header.empty()) {
      EXPECT_THAT(message, StartsWith(at));
    }
  }
}

TEST_P(TraceReaderMalformedTest, RefusesAPromptOfNothing) {
  EXPECT_THAT(ErrorOf(WithPrompt("0")), HasSubstr("a prompt of 0 tokens"));
  ErrorOf(WithPrompt(""));
}

TEST_P(TraceReaderMalformedTest, RefusesEveryTruncationOfARow) {
  const std::string_view row = GetParam().row;
  // A number may lose digits unseen; CSV rows end in one.
  const std::size_t seen =
      GetParam().header.empty() ? row.size() - 1 : row.rfind(',');
  for (std::size_t size = 1; size <= seen; ++size) {
    SCOPED_TRACE(size);
    ErrorOf(Content(row.substr(0, size)));
  }
}

TEST_P(TraceReaderMalformedTest, RefusesNulBytesInANumber) {
  ErrorOf(WithPrompt(std::string_view("1\0002", 3)));
}

TEST_P(TraceReaderMalformedTest, RefusesTextAfterTheRow) {
  ErrorOf(Content(std::string(GetParam().row) + ",7"));
}

TEST_P(TraceReaderMalformedTest, RefusesAHugeLine) {
  const std::string huge(LineReader::kMaxLineBytes + 10, '1');
  EXPECT_THAT(ErrorOf(WithPrompt(huge)),
              HasSubstr("the line is longer than 16 MiB"));
}

TEST_P(TraceReaderMalformedTest, RefusesAFileOfAnotherEncoding) {
  std::string wide;
  for (const char c : Content(GetParam().row)) {
    wide += c;
    wide += '\0';
  }
  EXPECT_THAT(ReadText(wide).message(), HasSubstr(":1:1: no text of a known"));
  EXPECT_THAT(ReadText("\xFF\xFE" + wide).message(), HasSubstr(":1: the file"));
}

TEST_P(TraceReaderMalformedTest, NamesAHeaderOrKeyThatIsMissing) {
  std::string content = Content(GetParam().row);
  for (std::size_t at = content.find(GetParam().key); at != std::string::npos;
       at = content.find(GetParam().key)) {
    content.replace(at, GetParam().key.size(), "nothing");
  }
  const std::string message = ReadText(content).message();
  EXPECT_THAT(message, HasSubstr(":1:1: unknown trace format: "));
  EXPECT_THAT(message, HasSubstr("nothing"));
  EXPECT_THAT(message, HasSubstr("known are"));
}

INSTANTIATE_TEST_SUITE_P(
    Families, TraceReaderMalformedTest,
    ::testing::Values(
        Family{"azure", "TIMESTAMP,ContextTokens,GeneratedTokens\n",
               "2023-11-16 18:15:46.6805900,374,44", "374", "ContextTokens"},
        Family{"burstgpt",
               "Timestamp,Model,Request tokens,Response tokens,Total "
               "tokens,Log Type\n",
               "5,ChatGPT,472,18,490,API log", "472", "Request tokens"},
        Family{"vidur", "arrived_at,num_prefill_tokens,num_decode_tokens\n",
               "0.5,374,44", "374", "num_prefill_tokens"},
        Family{"splitwise", "num_prefill_tokens,num_decode_tokens\n", "374,44",
               "374", "num_prefill_tokens"},
        Family{"splitwise-sim",
               "request_id,arrival_timestamp,prompt_size,token_size\n",
               "9,0.5,374,44", "374", "prompt_size"},
        Family{
            "mooncake", "",
            R"({"timestamp": 1, "input_length": 374, "output_length": 44, "hash_ids": [0]})",
            "374", "input_length"},
        Family{
            "qwen-bailian", "",
            R"({"chat_id": 1, "timestamp": 1.5, "input_length": 374, "output_length": 44, "hash_ids": [5]})",
            "374", "input_length"},
        Family{
            "llmservingsim", "",
            R"({"input_toks": 374, "output_toks": 44, "arrival_time_ns": 1})",
            "374", "input_toks"}),
    [](const auto& info) {
      std::string name(info.param.name);
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

TEST(TraceReaderTest, RefusesAFileWithoutRows) {
  EXPECT_THAT(ReadText("").message(), HasSubstr(":1: the file is empty"));
  EXPECT_THAT(ReadText("\n\r\n").message(), HasSubstr("the file is empty"));
  EXPECT_THAT(ReadText("TIMESTAMP,ContextTokens,GeneratedTokens\n\n").message(),
              HasSubstr("no row after the header"));
}

TEST(TraceReaderTest, RefusesBadBlockIdsWithTheirColumn) {
  for (const std::string_view bad :
       {"[0, -1]", "[0, 1.5]", "[0, \"1\"]", "[0, 18446744073709551616]",
        "[0, [1]]", "7", "{}", "\"0\"", "[0, 1 2]"}) {
    const std::string row =
        R"({"timestamp":0,"input_length":9,"output_length":1,"hash_ids":)" +
        std::string(bad) + "}";
    const TestFile file(row);
    const ReadResult read = ReadAll(file.path());
    EXPECT_THAT(read.message(), StartsWith(file.path() + ":1:")) << bad;
    EXPECT_THAT(read.message(), HasSubstr("hash_ids: expected an array"))
        << bad;
  }
}

TEST(TraceReaderTest, RefusesAnUnclosedQuote) {
  const ReadResult read = ReadText(
      "Timestamp,Model,Request tokens,Response tokens\n"
      "5,\"ChatGPT,472,18\n");
  EXPECT_THAT(read.message(),
              HasSubstr(":2:3: a quoted field without its end"));
}

TEST(TraceReaderTest, NamesAFileThatCannotBeOpened) {
  EXPECT_THAT(ReadAll("/nonexistent/trace.csv").message(),
              HasSubstr("/nonexistent/trace.csv"));
  EXPECT_THAT(ReadAll(::testing::TempDir()).message(), HasSubstr("a folder"));
  // Opens, for root too, and fails on reading.
  EXPECT_THAT(ReadAll("/proc/self/mem").message(), HasSubstr("/proc/self/mem"));
}

}  // namespace
}  // namespace pagedkv::sim
