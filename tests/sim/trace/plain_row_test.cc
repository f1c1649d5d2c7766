// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/plain_row.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>

#include "sim/trace/line_reader.h"
#include "sim/trace/row_parser.h"

namespace pagedkv::sim {
namespace {

/// A line as a reader hands it out: its end and anything else are behind it.
class Line {
 public:
  explicit Line(std::string_view text, std::string_view end = "\n")
      : text_(std::string(text) + std::string(end) +
              std::string(LineReader::kPadding, '9')),
        size_(text.size()) {}
  [[nodiscard]] std::string_view text() const {
    return std::string_view(text_).substr(0, size_);
  }

 private:
  std::string text_;
  std::size_t size_;
};

/// The general parser: a fourth column keeps it from the plain rows.
class GeneralParser {
 public:
  GeneralParser() {
    RowError error;
    parser_ =
        MakeCsvParser("TIMESTAMP,ContextTokens,GeneratedTokens,Other", error);
  }
  bool Parse(std::string_view row, TraceRow& result) {
    RowError error;
    return parser_->Parse(Line(std::string(row) + ",").text(), result, error);
  }

 private:
  std::unique_ptr<RowParser> parser_;
};

void ExpectSame(const TraceRow& a, const TraceRow& b) {
  EXPECT_EQ(a.arrival_ns, b.arrival_ns);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.output_tokens, b.output_tokens);
}

TEST(PlainRowReaderTest, ReadsTheRowsOfAzureAsTheGeneralParserDoes) {
  PlainRowReader plain;
  GeneralParser general;
  for (const char* row :
       {"2023-11-16 18:15:46.6805900,374,44", "2024-05-10 00:00:00,2162,5",
        "2024-05-10 00:00:00.009930+00:00,2162,5",
        "2024-05-10 00:00:01+00:00,2399,6", "2024-05-10 00:00:59.9,0,0",
        "2024-05-10 00:01:00.123456789+00:00,999999999,000000001",
        "2024-12-31T23:59:59.000000001,1,1", "2025-01-01T00:00:00,1,2"}) {
    SCOPED_TRACE(row);
    TraceRow found;
    TraceRow expected;
    ASSERT_TRUE(plain.Read(Line(row).text(), found));
    ASSERT_TRUE(general.Parse(row, expected));
    ExpectSame(found, expected);
  }
}

TEST(PlainRowReaderTest, LeavesOtherRowsToTheGeneralParser) {
  PlainRowReader plain;
  TraceRow row;
  ASSERT_TRUE(plain.Read(Line("2024-05-10 00:00:00,1,1").text(), row));
  for (const char* other :
       {"", "2024-05-10 00:00:0,1,1", "2024-05-10 00:00:60,1,1",
        "2024-05-10 00:00:00.,1,1", "2024-05-10 00:00:00.1234567890,1,1",
        "2024-05-10 00:00:00+01:00,1,1", "2024-05-10 00:00:00Z,1,1",
        "2024-05-10 00:00:00-00:00,1,1", "2024-13-10 00:00:00,1,1",
        "2024-05-10 00:00:00,1,1,", "2024-05-10 00:00:00,1,1 ",
        "2024-05-10 00:00:00, 1,1", "2024-05-10 00:00:00,,111",
        "2024-05-10 00:00:00,111,", "2024-05-10 00:00:00,1111",
        "2024-05-10 00:00:00,-1,1", "2024-05-10 00:00:00,1234567890,1",
        "2024-05-10 00:00:00,1,1234567890", "\"2024-05-10 00:00:00\",1,1"}) {
    EXPECT_FALSE(plain.Read(Line(other).text(), row)) << other;
  }
}

TEST(PlainRowReaderTest, DoesNotTakeWhatIsBehindALineWithoutEnd) {
  PlainRowReader plain;
  TraceRow row;
  EXPECT_FALSE(plain.Read(Line("2024-05-10 00:00:00,1,1", "").text(), row));
}

TEST(PlainRowReaderTest, NeverAcceptsWhatTheGeneralParserReadsOtherwise) {
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  constexpr std::string_view kCharacters = "0123456789:-+,. T\"Zx\r";
  PlainRowReader plain;
  GeneralParser general;
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string row = i % 2 == 0 ? "2024-05-10 00:00:00.009930+00:00,2162,5"
                                 : "2023-11-16 18:15:46,374,44";
    for (std::uint64_t edits = random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % row.size();
      const char character = kCharacters[random() % kCharacters.size()];
      switch (random() % 3) {
        case 0:
          row[at] = character;
          break;
        case 1:
          row.insert(at, 1, character);
          break;
        default:
          row.erase(at, 1);
      }
    }
    TraceRow found;
    TraceRow expected;
    if (!plain.Read(Line(row).text(), found)) {
      ++refused;
      continue;
    }
    ++accepted;
    ASSERT_TRUE(general.Parse(row, expected)) << row;
    ExpectSame(found, expected);
  }
  EXPECT_GT(accepted, 2'000);
  EXPECT_GT(refused, 2'000);
}

}  // namespace
}  // namespace pagedkv::sim
