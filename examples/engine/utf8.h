// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_UTF8_H_
#define EXAMPLES_ENGINE_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace pagedkv::engine {

/// A code point and the bytes that it takes. What is no UTF-8 comes as U+FFFD,
/// byte by byte.
struct CodePoint {
  char32_t value = 0;
  std::size_t num_bytes = 0;
};

/// The first code point of `text`, which is not empty.
[[nodiscard]] CodePoint DecodeUtf8(std::string_view text);
void AppendUtf8(char32_t code_point, std::string& text);
/// `text` with U+FFFD in place of each byte that is no UTF-8.
[[nodiscard]] std::string ValidUtf8(std::string_view text);

/// Text that arrives in pieces which may end within a code point.
class Utf8Stream {
 public:
  /// What of all pieces up to `bytes` can be shown, and has not been yet.
  std::string Append(std::string_view bytes);
  /// What is left at the end.
  std::string Finish();

 private:
  std::string pending_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_UTF8_H_
