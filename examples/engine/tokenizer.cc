// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/tokenizer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/engine/unicode_classes.h"
#include "examples/engine/utf8.h"
#include "nlohmann/json.hpp"

namespace pagedkv::engine {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxVocabSize = 1 << 24;
constexpr TokenId kNoToken = -1;

// The code point that a vocabulary writes for each byte, so that all are
// visible (GPT-2's bytes_to_unicode).
std::array<char32_t, 256> VisibleBytes() {
  std::array<char32_t, 256> visible = {};
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_visible = (byte >= '!' && byte <= '~') ||
                            (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    visible[byte] = is_visible ? byte : next++;
  }
  return visible;
}

// The bytes for which a vocabulary's entry stands; nullopt if it has others
// than those above.
std::optional<std::string> BytesOfEntry(
    std::string_view entry, const std::map<char32_t, char>& byte_of) {
  std::string bytes;
  while (!entry.empty()) {
    const CodePoint point = DecodeUtf8(entry);
    const auto found = byte_of.find(point.value);
    if (found == byte_of.end()) return std::nullopt;
    bytes.push_back(found->second);
    entry.remove_prefix(point.num_bytes);
  }
  return bytes;
}

const json* Find(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string TextOf(const json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>()
                                                : "";
}

bool IsTrue(const json* value) {
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

// The two sides of a merge: ["a", "b"], or "a b".
std::optional<std::pair<std::string, std::string>> SidesOf(const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
      merge[1].is_string()) {
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string text = merge.get<std::string>();
  const std::size_t space = text.find(' ');
  if (space == std::string::npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

// The length of the run of code points at the start of `text` for which
// `is_in` holds.
template <typename Class>
std::size_t RunLength(std::string_view text, const Class& is_in) {
  std::size_t length = 0;
  while (length < text.size()) {
    const CodePoint point = DecodeUtf8(text.substr(length));
    if (!is_in(point.value)) break;
    length += point.num_bytes;
  }
  return length;
}

bool IsOther(char32_t point) {
  return !IsSpace(point) && !IsLetter(point) && !IsNumber(point);
}

}  // namespace

std::size_t FirstPieceLength(std::string_view text) {
  for (const std::string_view ending :
       {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.substr(0, ending.size()) == ending) return ending.size();
  }
  const std::size_t space = text[0] == ' ' ? 1 : 0;
  const std::string_view word = text.substr(space);
  for (const auto& is_in : {IsLetter, IsNumber, IsOther}) {
    const std::size_t length = RunLength(word, is_in);
    if (length > 0) return space + length;
  }
  // Spaces: the last of them goes with what follows, unless it is alone.
  const std::size_t spaces = RunLength(text, IsSpace);
  if (spaces == text.size()) return spaces;
  std::size_t last = 0;
  for (std::size_t next = 0; next < spaces;) {
    last = next;
    next += DecodeUtf8(text.substr(next)).num_bytes;
  }
  return last > 0 ? last : spaces;
}

/// Reads a tokenizer.json. The first mistake is kept.
class TokenizerParser {
 public:
  explicit TokenizerParser(std::string_view source) : source_(source) {}

  absl::StatusOr<Tokenizer> Parse(std::string_view text) {
    const json file = json::parse(text.begin(), text.end(), nullptr,
                                  /*allow_exceptions=*/false);
    if (!file.is_object()) Fail("is no JSON object");
    if (status_.ok()) CheckMethod(file);
    if (status_.ok()) ReadVocabulary(file["model"]);
    if (status_.ok()) ReadMerges(file["model"]);
    if (status_.ok()) ReadAddedTokens(file);
    if (!status_.ok()) return status_;
    return std::move(tokenizer_);
  }

 private:
  void Fail(std::string_view what) {
    if (!status_.ok()) return;
    status_ =
        absl::InvalidArgumentError(absl::StrFormat("%s: %s", source_, what));
  }

  void CheckMethod(const json& file) {
    const json* model = Find(file, "model");
    if (model == nullptr || TextOf(Find(*model, "type")) != "BPE") {
      Fail("its model is not BPE");
    }
    if (Find(file, "normalizer") != nullptr) {
      Fail("has a normalizer, and this engine knows none");
    }
    const json* splits = Find(file, "pre_tokenizer");
    bool byte_level = false;
    const auto check = [&](const json& split) {
      const std::string type = TextOf(Find(split, "type"));
      if (type == "ByteLevel" && !IsTrue(Find(split, "add_prefix_space"))) {
        byte_level = true;
      } else if (type == "Digits" && IsTrue(Find(split, "individual_digits"))) {
        tokenizer_.split_digits_ = true;
      } else {
        Fail("its pre_tokenizer is not ByteLevel, with or without Digits");
      }
    };
    if (splits != nullptr && TextOf(Find(*splits, "type")) == "Sequence") {
      const json* list = Find(*splits, "pretokenizers");
      if (list != nullptr && list->is_array()) {
        for (const json& split : *list) check(split);
      }
    } else if (splits != nullptr) {
      check(*splits);
    }
    if (!byte_level) Fail("its pre_tokenizer is not ByteLevel");
  }

  // The entry's place, or nothing, and then it is a mistake.
  std::optional<std::size_t> TokenOf(const json& value) {
    if (!value.is_number_integer() || value < 0 || value >= kMaxVocabSize) {
      Fail("has a token whose id is no whole number below 2^24");
      return std::nullopt;
    }
    return value.get<std::size_t>();
  }
  void Grow(std::size_t token) {
    std::vector<std::string>& bytes_of = tokenizer_.bytes_of_;
    if (token >= bytes_of.size()) bytes_of.resize(token + 1);
  }

  void ReadVocabulary(const json& model) {
    const json* vocab = Find(model, "vocab");
    if (vocab == nullptr || !vocab->is_object()) {
      Fail("its model has no vocab");
      return;
    }
    std::map<char32_t, char> byte_of;
    const std::array<char32_t, 256> visible = VisibleBytes();
    for (std::size_t byte = 0; byte < visible.size(); ++byte) {
      byte_of[visible[byte]] = static_cast<char>(byte);
    }
    for (const auto& [entry, value] : vocab->items()) {
      const std::optional<std::size_t> token = TokenOf(value);
      if (!token) return;
      Grow(*token);
      // Special tokens are in the vocabulary too, under names of their own.
      tokenizer_.bytes_of_[*token] = BytesOfEntry(entry, byte_of).value_or("");
      tokens_[entry] = static_cast<TokenId>(*token);
    }
    for (std::size_t byte = 0; byte < visible.size(); ++byte) {
      std::string entry;
      AppendUtf8(visible[byte], entry);
      const auto found = tokens_.find(entry);
      tokenizer_.token_of_byte_[byte] =
          found == tokens_.end() ? kNoToken : found->second;
    }
  }

  void ReadMerges(const json& model) {
    const json* merges = Find(model, "merges");
    if (merges == nullptr || !merges->is_array()) {
      Fail("its model has no merges");
      return;
    }
    std::int32_t rank = 0;
    for (const json& merge : *merges) {
      const auto sides = SidesOf(merge);
      const auto left = tokens_.find(sides ? sides->first : "");
      const auto right = tokens_.find(sides ? sides->second : "");
      const auto result =
          tokens_.find(sides ? sides->first + sides->second : "");
      if (left == tokens_.end() || right == tokens_.end() ||
          result == tokens_.end()) {
        Fail(absl::StrFormat("merge %d is not of tokens of the vocab", rank));
        return;
      }
      tokenizer_.merges_.try_emplace(
          {left->second, right->second},
          Tokenizer::Merge{.rank = rank, .result = result->second});
      ++rank;
    }
  }

  void ReadAddedTokens(const json& file) {
    const json* added = Find(file, "added_tokens");
    if (added == nullptr) return;
    for (const json& entry : *added) {
      const json* id = Find(entry, "id");
      const std::string content = TextOf(Find(entry, "content"));
      if (id == nullptr || content.empty()) {
        Fail("has an added token without id or content");
        return;
      }
      const std::optional<std::size_t> token = TokenOf(*id);
      if (!token) return;
      Grow(*token);
      tokenizer_.bytes_of_[*token].clear();
      tokenizer_.special_[content] = static_cast<TokenId>(*token);
    }
  }

  std::string source_;
  absl::Status status_;
  Tokenizer tokenizer_;
  std::map<std::string, TokenId, std::less<>> tokens_;  // as the vocab has them
};

absl::StatusOr<Tokenizer> Tokenizer::Parse(std::string_view text,
                                           std::string_view source) {
  return TokenizerParser(source).Parse(text);
}

Tokenizer Tokenizer::Bytes() {
  Tokenizer tokenizer;
  for (std::int32_t byte = 0; byte < 256; ++byte) {
    tokenizer.bytes_of_.emplace_back(1, static_cast<char>(byte));
    tokenizer.token_of_byte_[byte] = byte;
  }
  tokenizer.special_["<|endoftext|>"] = 256;
  tokenizer.bytes_of_.emplace_back();
  return tokenizer;
}

std::string_view Tokenizer::Decode(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return "";
  return bytes_of_[static_cast<std::size_t>(token)];
}

std::optional<TokenId> Tokenizer::FindSpecial(std::string_view name) const {
  const auto found = special_.find(name);
  if (found == special_.end()) return std::nullopt;
  return found->second;
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text,
                                       bool special) const {
  std::vector<TokenId> tokens;
  while (special && !text.empty()) {
    // The first special token; of those that begin at the same place, the
    // longest.
    std::size_t begin = std::string_view::npos;
    std::size_t length = 0;
    TokenId token = 0;
    for (const auto& [name, id] : special_) {
      const std::size_t at = text.find(name);
      if (at < begin || (at == begin && name.size() > length)) {
        begin = at;
        length = name.size();
        token = id;
      }
    }
    if (begin == std::string_view::npos) break;
    EncodeText(text.substr(0, begin), tokens);
    tokens.push_back(token);
    text.remove_prefix(begin + length);
  }
  EncodeText(text, tokens);
  return tokens;
}

void Tokenizer::EncodeText(std::string_view text,
                           std::vector<TokenId>& tokens) const {
  while (!text.empty()) {
    // Up to the next digit, and then the digit alone.
    std::size_t part = text.size();
    if (split_digits_) {
      part = RunLength(text, [](char32_t point) { return !IsNumber(point); });
      if (part == 0) part = DecodeUtf8(text).num_bytes;
    }
    std::string_view rest = text.substr(0, part);
    text.remove_prefix(part);
    while (!rest.empty()) {
      const std::size_t length = FirstPieceLength(rest);
      EncodePiece(rest.substr(0, length), tokens);
      rest.remove_prefix(length);
    }
  }
}

void Tokenizer::EncodePiece(std::string_view piece,
                            std::vector<TokenId>& tokens) const {
  std::vector<TokenId> parts;
  for (const char byte : piece) {
    const TokenId token = token_of_byte_[static_cast<unsigned char>(byte)];
    if (token != kNoToken) parts.push_back(token);
  }
  while (parts.size() > 1) {
    // The pair that was merged first in training, wherever it stands.
    const Merge* best = nullptr;
    Pair pair;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = merges_.find(Pair(parts[i], parts[i + 1]));
      if (found != merges_.end() &&
          (best == nullptr || found->second.rank < best->rank)) {
        best = &found->second;
        pair = found->first;
      }
    }
    if (best == nullptr) break;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const bool merges = i + 1 < parts.size() && parts[i] == pair.first &&
                          parts[i + 1] == pair.second;
      parts[kept++] = merges ? best->result : parts[i];
      if (merges) ++i;
    }
    parts.resize(kept);
  }
  tokens.insert(tokens.end(), parts.begin(), parts.end());
}

}  // namespace pagedkv::engine
