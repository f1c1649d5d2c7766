// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/prompts.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace pagedkv::engine {
namespace {

using nlohmann::json;

// What is wrong with the line; empty if nothing is.
std::string ParsePrompt(std::string_view line, Prompt& prompt) {
  const json object = json::parse(line.begin(), line.end(), nullptr,
                                  /*allow_exceptions=*/false);
  if (!object.is_object()) return "is no JSON object";
  bool has_prompt = false;
  for (const auto& [key, value] : object.items()) {
    if (key == "prompt") {
      if (!value.is_string()) return "\"prompt\" is no text";
      prompt.text = value.get<std::string>();
      has_prompt = true;
    } else if (key == "max_tokens") {
      if (!value.is_number_integer() || value < 1 || value > 1 << 24) {
        return "\"max_tokens\" is no whole number from 1 to 2^24";
      }
      prompt.max_tokens = value.get<std::int32_t>();
    } else if (key == "id") {
      if (!value.is_string() && !value.is_number_integer()) {
        return "\"id\" is neither a text nor a whole number";
      }
      prompt.id = value.is_string() ? value.get<std::string>() : value.dump();
    } else {
      return absl::StrFormat(
          "has the key %s: known are prompt, max_tokens and id",
          json(key).dump());
    }
  }
  if (!has_prompt) return "has no \"prompt\"";
  return "";
}

}  // namespace

absl::StatusOr<std::vector<Prompt>> ParsePrompts(std::string_view text,
                                                 std::string_view source,
                                                 std::int32_t max_tokens,
                                                 std::size_t num_before) {
  std::vector<Prompt> prompts;
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Prompt prompt{.id = absl::StrCat(num_before + prompts.size()),
                  .text = "",
                  .max_tokens = max_tokens};
    const std::string wrong = ParsePrompt(line, prompt);
    if (!wrong.empty()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s:%d: %s", source, number, wrong));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::string ChatPrompt(std::string_view system, std::string_view text) {
  return absl::StrFormat(
      "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n"
      "<|im_start|>assistant\n",
      system, text);
}

}  // namespace pagedkv::engine
