// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_PROMPTS_H_
#define EXAMPLES_ENGINE_PROMPTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pagedkv::engine {

/// A prompt as the user gives it.
struct Prompt {
  std::string id;
  std::string text;
  std::int32_t max_tokens = 0;
};

/// Reads prompts, one JSON object a line: {"prompt": TEXT}, with "max_tokens"
/// and "id" (a text or a number) as one likes. Without an id, a prompt's is its
/// place, from 0, behind the `num_before` that there are. InvalidArgument,
/// naming `source` and the line.
absl::StatusOr<std::vector<Prompt>> ParsePrompts(std::string_view text,
                                                 std::string_view source,
                                                 std::int32_t max_tokens,
                                                 std::size_t num_before);

/// `text` as the one message of a user, as ChatML writes a conversation.
std::string ChatPrompt(std::string_view system, std::string_view text);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_PROMPTS_H_
