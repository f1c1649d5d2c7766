// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/utf8.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace pagedkv::engine {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr CodePoint kInvalid{.value = kReplacement, .num_bytes = 1};

// Bytes of the code point that begins with `first`; 0: none does.
std::size_t Length(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  if (first >= 0xF0 && first < 0xF5) return 4;
  return 0;
}

bool IsContinuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

}  // namespace

CodePoint DecodeUtf8(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const std::size_t length = Length(first);
  if (length == 1) return {.value = first, .num_bytes = 1};
  if (length == 0 || length > text.size()) return kInvalid;
  char32_t value = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[i])) return kInvalid;
    value = (value << 6) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  const char32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  const bool is_surrogate = value >= 0xD800 && value < 0xE000;
  if (value < least || value > 0x10FFFF || is_surrogate) return kInvalid;
  return {.value = value, .num_bytes = length};
}

void AppendUtf8(char32_t code_point, std::string& text) {
  const auto append = [&](char32_t bits) {
    text.push_back(static_cast<char>(static_cast<unsigned char>(bits)));
  };
  if (code_point < 0x80) {
    append(code_point);
    return;
  }
  const int num_more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
  const char32_t mark = num_more == 1 ? 0xC0 : num_more == 2 ? 0xE0 : 0xF0;
  append(mark | (code_point >> (6 * num_more)));
  for (int i = num_more - 1; i >= 0; --i) {
    append(0x80U | ((code_point >> (6 * i)) & 0x3FU));
  }
}

std::string ValidUtf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const CodePoint point = DecodeUtf8(text);
    AppendUtf8(point.value, valid);
    text.remove_prefix(point.num_bytes);
  }
  return valid;
}

std::string Utf8Stream::Append(std::string_view bytes) {
  pending_ += bytes;
  // The last code point may lack bytes: at most three are there.
  std::size_t shown = pending_.size();
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, shown); ++back) {
    const char byte = pending_[shown - back];
    if (IsContinuation(byte)) continue;
    if (Length(static_cast<unsigned char>(byte)) > back) shown -= back;
    break;
  }
  std::string text = ValidUtf8(std::string_view(pending_).substr(0, shown));
  pending_.erase(0, shown);
  return text;
}

std::string Utf8Stream::Finish() {
  return ValidUtf8(std::exchange(pending_, {}));
}

}  // namespace pagedkv::engine
