// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/tokenizer.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/random.h"
#include "examples/engine/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A tokenizer.json with all bytes, two merges and a special token.
json Small() {
  json vocab = json::object();
  int next = 0;
  int invisible = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_visible = (byte >= '!' && byte <= '~') ||
                            (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string entry;
    AppendUtf8(static_cast<char32_t>(is_visible ? byte : invisible++), entry);
    vocab[entry] = next++;
  }
  vocab["he"] = 256;
  vocab["hel"] = 257;
  vocab["<|end|>"] = 258;
  return {{"model",
           {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"h e", "he l"}}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Digits"}, {"individual_digits", true}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}}},
          {"added_tokens", {{{"id", 258}, {"content", "<|end|>"}}}}};
}

Tokenizer Parse(const json& file) {
  auto tokenizer = Tokenizer::Parse(file.dump(), "t.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string Error(const std::string& text) {
  const auto tokenizer = Tokenizer::Parse(text, "t.json");
  EXPECT_FALSE(tokenizer.ok());
  return std::string(tokenizer.status().message());
}

std::vector<std::string> Pieces(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    const std::size_t length = FirstPieceLength(text);
    pieces.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return pieces;
}

std::string Decode(const Tokenizer& tokenizer,
                   const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += tokenizer.Decode(token);
  return text;
}

TEST(TokenizerTest, PiecesAreThoseOfGpt2) {
  EXPECT_THAT(Pieces("Hello world, it's  12 o'clock!\n"),
              ElementsAre("Hello", " world", ",", " it", "'s", " ", " 12", " o",
                          "'", "clock", "!", "\n"));
  EXPECT_THAT(Pieces("a\n\n b  "), ElementsAre("a", "\n\n", " b", "  "));
  EXPECT_THAT(Pieces("\t\tx"), ElementsAre("\t", "\t", "x"));
  EXPECT_THAT(Pieces("we've we'll'"),
              ElementsAre("we", "'ve", " we", "'ll", "'"));
  EXPECT_THAT(Pieces("été 你好٣²"), ElementsAre("été", " 你好", "٣²"));
}

TEST(TokenizerTest, MergesInTheOrderOfTraining) {
  const Tokenizer tokenizer = Parse(Small());
  EXPECT_THAT(tokenizer.Encode("hell", false), ElementsAre(257, 'l' - 0));
  EXPECT_THAT(tokenizer.Encode("ehe", false), ElementsAre('e' - 0, 256));
}

TEST(TokenizerTest, SpecialTokensAreTextUnlessAskedFor) {
  const Tokenizer tokenizer = Parse(Small());
  EXPECT_THAT(tokenizer.Encode("he<|end|>he", true),
              ElementsAre(256, 258, 256));
  EXPECT_GT(tokenizer.Encode("he<|end|>he", false).size(), 3U);
  EXPECT_EQ(tokenizer.FindSpecial("<|end|>"), 258);
  EXPECT_FALSE(tokenizer.FindSpecial("<|none|>"));
  EXPECT_EQ(tokenizer.Decode(258), "");
  EXPECT_EQ(tokenizer.Decode(-1), "");
  EXPECT_EQ(tokenizer.Decode(9999), "");
}

TEST(TokenizerTest, AnyBytesComeBack) {
  const Tokenizer small = Parse(Small());
  const Tokenizer bytes = Tokenizer::Bytes();
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    while (random.Next() % 20 != 0) {
      text.push_back(static_cast<char>(random.Next() % 256));
    }
    EXPECT_EQ(Decode(small, small.Encode(text, false)), text);
    EXPECT_EQ(Decode(bytes, bytes.Encode(text, false)), text);
  }
}

TEST(TokenizerTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(Error("{"), HasSubstr("t.json: is no JSON object"));
  json file = Small();
  file["model"]["type"] = "Unigram";
  EXPECT_THAT(Error(file.dump()), HasSubstr("not BPE"));
  file = Small();
  file["model"]["vocab"]["he"] = -1;
  EXPECT_THAT(Error(file.dump()), HasSubstr("no whole number below 2^24"));
  file = Small();
  file["model"]["merges"].push_back("x y");
  EXPECT_THAT(Error(file.dump()), HasSubstr("merge 2 is not"));
  file = Small();
  file["model"].erase("vocab");
  EXPECT_THAT(Error(file.dump()), HasSubstr("no vocab"));
  file = Small();
  file["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(Error(file.dump()), HasSubstr("normalizer"));
  file = Small();
  file["pre_tokenizer"] = {{"type", "Metaspace"}};
  EXPECT_THAT(Error(file.dump()), HasSubstr("ByteLevel"));
  file = Small();
  file["added_tokens"] = {{{"id", 3}}};
  EXPECT_THAT(Error(file.dump()), HasSubstr("without id or content"));
}

TEST(Utf8StreamTest, ShowsWholeCodePointsOnly) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Append("a\xE4\xBD"), "a");
  EXPECT_EQ(stream.Append("\xA0"), "\xE4\xBD\xA0");
  EXPECT_EQ(stream.Append("\xF0\x9F"), "");
  EXPECT_EQ(stream.Finish(), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(stream.Append("\xFFz"), "\xEF\xBF\xBDz");
}

TEST(Utf8StreamTest, PiecesGiveTheSameTextAsTheWhole) {
  Random random(4);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) {
      if (random.Next() % 4 == 0) {
        text.push_back(static_cast<char>(random.Next() % 256));
      } else {
        AppendUtf8(static_cast<char32_t>(random.Next() % 0xD800), text);
      }
    }
    Utf8Stream stream;
    std::string shown;
    for (const char byte : text) shown += stream.Append({&byte, 1});
    EXPECT_EQ(shown + stream.Finish(), ValidUtf8(text));
  }
}

}  // namespace
}  // namespace pagedkv::engine
