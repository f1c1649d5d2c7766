// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_UNICODE_CLASSES_H_
#define EXAMPLES_ENGINE_UNICODE_CLASSES_H_

namespace pagedkv::engine {

/// What a regular expression calls \p{L}, \p{N} and \s.
[[nodiscard]] bool IsLetter(char32_t code_point);
[[nodiscard]] bool IsNumber(char32_t code_point);
[[nodiscard]] bool IsSpace(char32_t code_point);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_UNICODE_CLASSES_H_
