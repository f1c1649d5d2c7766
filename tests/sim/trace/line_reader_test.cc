// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/line_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Lines(const std::string& content) {
  const TestFile file(content);
  auto reader = LineReader::Open(file.path());
  EXPECT_TRUE(reader.ok());
  std::vector<std::string> lines;
  LineReader::Line line;
  for (;;) {
    auto more = (*reader)->Next(line);
    EXPECT_TRUE(more.ok());
    if (!*more) break;
    lines.push_back(line.too_long ? "<too long>" : std::string(line.text));
    EXPECT_EQ((*reader)->line_number(),
              static_cast<std::int64_t>(lines.size()));
  }
  return lines;
}

TEST(LineReaderTest, TakesEitherLineEndAndALastLineWithoutOne) {
  EXPECT_THAT(Lines("a\nb\r\n\nc"), ElementsAre("a", "b", "", "c"));
  EXPECT_THAT(Lines("a\r\n"), ElementsAre("a"));
  EXPECT_THAT(Lines("a\r"), ElementsAre("a"));
  EXPECT_THAT(Lines(""), ElementsAre());
}

TEST(LineReaderTest, SkipsAByteOrderMarkOfUtf8) {
  EXPECT_THAT(Lines("\xEF\xBB\xBF"
                    "a\nb"),
              ElementsAre("a", "b"));
  EXPECT_THAT(Lines("\xEF\xBB\xBF"), ElementsAre());
}

TEST(LineReaderTest, KeepsLinesWholeAcrossItsBuffer) {
  std::vector<std::string> expected;
  std::string content;
  for (int i = 0; i < 300; ++i) {
    expected.emplace_back(static_cast<std::size_t>(i * 37), 'a' + i % 26);
    content += expected.back() + (i % 2 == 0 ? "\n" : "\r\n");
  }
  EXPECT_EQ(Lines(content), expected);
}

TEST(LineReaderTest, PassesOverALineThatIsTooLong) {
  const std::string longest(LineReader::kMaxLineBytes, 'x');
  EXPECT_THAT(Lines("a\n" + longest + longest + "\nb\n"),
              ElementsAre("a", "<too long>", "b"));
  EXPECT_THAT(Lines("a\n" + longest + longest), ElementsAre("a", "<too long>"));
  EXPECT_EQ(Lines(longest + "\nb\n").back(), "b");
}

TEST(LineReaderTest, HashesAllBytesHoweverManyLinesWereRead) {
  // SHA-256 of "abc", from FIPS 180-2.
  const std::string expected =
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  const TestFile file("abc");
  for (const bool read : {false, true}) {
    auto reader = LineReader::Open(file.path());
    ASSERT_TRUE(reader.ok());
    LineReader::Line line;
    if (read) {
      ASSERT_TRUE((*reader)->Next(line).ok());
    }
    auto hash = (*reader)->Finish();
    ASSERT_TRUE(hash.ok());
    EXPECT_EQ(*hash, expected);
  }
}

TEST(LineReaderTest, HashesOnlyIfAskedTo) {
  const TestFile file("a\nb\n");
  auto reader = LineReader::Open(file.path(), /*with_hash=*/false);
  ASSERT_TRUE(reader.ok());
  LineReader::Line line;
  ASSERT_TRUE(*(*reader)->Next(line));
  EXPECT_EQ(line.text, "a");
  EXPECT_EQ(*(*reader)->Finish(), "");
}

TEST(LineReaderTest, NamesAFileThatCannotBeRead) {
  const std::string missing = ::testing::TempDir() + "pagedkv_no_such_file";
  auto reader = LineReader::Open(missing);
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr(missing));

  reader = LineReader::Open(::testing::TempDir());
  ASSERT_FALSE(reader.ok());
  EXPECT_THAT(std::string(reader.status().message()),
              HasSubstr(::testing::TempDir() + ": a folder"));
}

TEST(LineReaderTest, SaysHowToMendAFileThatIsNoText) {
  const TestFile utf16(std::string_view("\xFF\xFE"
                                        "T\0I\0",
                                        6),
                       "utf16");
  EXPECT_THAT(std::string(LineReader::Open(utf16.path()).status().message()),
              HasSubstr("utf16:1: the file is UTF-16; convert it: iconv"));
  const TestFile gzip("\x1F\x8B\x08", "gzip");
  EXPECT_THAT(std::string(LineReader::Open(gzip.path()).status().message()),
              HasSubstr("gunzip"));
  const TestFile zstd("\x28\xB5\x2F\xFD", "zstd");
  EXPECT_THAT(std::string(LineReader::Open(zstd.path()).status().message()),
              HasSubstr("unzstd"));
}

}  // namespace
}  // namespace pagedkv::sim
