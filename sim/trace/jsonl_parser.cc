// SPDX-License-Identifier: Apache-2.0
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "sim/trace/line_reader.h"
#include "sim/trace/number.h"
#include "sim/trace/row_parser.h"

namespace pagedkv::sim {
namespace {

namespace json = simdjson::ondemand;

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

/// What a key means. Keys without a meaning are passed over unread: texts and
/// tags would only cost memory here.
enum class Role {
  kArrival,
  kDelay,
  kSession,
  kPreviousSession,
  kFollowsRow,
  kPrompt,
  kOutput,
  kBlockTokens,
  kBlocks,
  kOutputBlocks,
  kTokenIds,
};

constexpr std::string_view kBlockTokensKey = "block_tokens";

struct Key {
  std::string_view name;
  Role role;
};

struct JsonlFormat {
  std::string_view name;
  std::string_view marker;  ///< a key that only this format has; may be empty
  std::int64_t unit_ns;     ///< of arrivals
  std::int32_t block_tokens;
  std::span<const Key> keys;
};

constexpr std::array kServingSimKeys = {
    Key{"arrival_time_ns", Role::kArrival},
    Key{"input_toks", Role::kPrompt},
    Key{"output_toks", Role::kOutput},
    Key{"input_tok_ids", Role::kTokenIds},
};
constexpr std::array kQwenKeys = {
    Key{"timestamp", Role::kArrival},
    Key{"input_length", Role::kPrompt},
    Key{"output_length", Role::kOutput},
    Key{"hash_ids", Role::kBlocks},
    Key{"chat_id", Role::kSession},
    Key{"parent_chat_id", Role::kPreviousSession},
};
constexpr std::array kMooncakeKeys = {
    Key{"timestamp", Role::kArrival},
    Key{"input_length", Role::kPrompt},
    Key{"output_length", Role::kOutput},
    Key{"hash_ids", Role::kBlocks},
    // As Dynamo and AIPerf extend it.
    Key{"created_time", Role::kArrival},
    Key{"input_tokens", Role::kPrompt},
    Key{"output_tokens", Role::kOutput},
    Key{"session_id", Role::kSession},
    Key{"delay", Role::kDelay},
    Key{"delay_ms", Role::kDelay},
    // As TraceWriter extends it.
    Key{"follows", Role::kFollowsRow},
    Key{kBlockTokensKey, Role::kBlockTokens},
    Key{"output_hash_ids", Role::kOutputBlocks},
};

/// A first row belongs to the first format whose marker it has, and a key for
/// the prompt and one for the output.
constexpr std::array<JsonlFormat, 3> kFormats = {{
    // casys-kaist/LLMServingSim.
    {"llmservingsim", "", 1, 0, kServingSimKeys},
    // alibaba-edu/qwen-bailian-usagetraces-anon.
    {"qwen-bailian", "chat_id", 1'000'000'000, 16, kQwenKeys},
    // kvcache-ai/Mooncake.
    {"mooncake", "", 1'000'000, 512, kMooncakeKeys},
}};

std::string_view TrimEnd(std::string_view token) {
  const std::size_t last = token.find_last_not_of(" \t\r\n");
  return token.substr(0, last + 1);
}

std::size_t ColumnOf(std::string_view line, const char* at) {
  const bool inside = at >= line.data() && at < line.data() + line.size();
  return (inside ? static_cast<std::size_t>(at - line.data()) : line.size()) +
         1;
}

/// Calls `visit(key, value)` for each member of the object that `line` is,
/// until it returns false. False, with `error`, if the line is no JSON object;
/// a member that is passed over is checked for its structure only.
template <typename Visit>
bool VisitMembers(json::parser& parser, std::string_view line, RowError& error,
                  Visit visit) {
  json::document document;
  const auto fail = [&](simdjson::error_code code) {
    const char* at = nullptr;
    if (document.current_location().get(at) != simdjson::SUCCESS) at = nullptr;
    error.column = at == nullptr ? line.size() + 1 : ColumnOf(line, at);
    error.message =
        absl::StrCat("no JSON object: ", simdjson::error_message(code));
    return false;
  };
  simdjson::error_code code =
      parser.iterate(line, line.size() + simdjson::SIMDJSON_PADDING)
          .get(document);
  if (code != simdjson::SUCCESS) {
    error.column = line.size() + 1;
    error.message =
        absl::StrCat("no JSON object: ", simdjson::error_message(code));
    return false;
  }
  json::object object;
  code = document.get_object().get(object);
  if (code != simdjson::SUCCESS) return fail(code);
  for (auto result : object) {
    json::field field;
    if (code = std::move(result).get(field); code != simdjson::SUCCESS) {
      return fail(code);
    }
    std::string_view key;
    if (code = field.unescaped_key().get(key); code != simdjson::SUCCESS) {
      return fail(code);
    }
    if (!visit(key, field.value())) return false;
  }
  // Past the end there is no location.
  if (const char* at;
      document.current_location().get(at) == simdjson::SUCCESS) {
    return fail(simdjson::TRAILING_CONTENT);
  }
  return true;
}

class JsonlParser final : public RowParser {
 public:
  JsonlParser(const JsonlFormat& format, bool timed, bool token_ids,
              std::int32_t block_tokens)
      : format_(format),
        timed_(timed),
        token_ids_(token_ids),
        block_tokens_(block_tokens > 0 ? block_tokens : format.block_tokens),
        names_sessions_(HasKey(format, Role::kPreviousSession)),
        names_rows_(HasKey(format, Role::kFollowsRow)) {}

  [[nodiscard]] std::string_view format() const override {
    return format_.name;
  }
  [[nodiscard]] std::int32_t block_tokens() const override {
    return block_tokens_;
  }
  [[nodiscard]] bool names_rows() const override { return names_rows_; }

  bool Parse(std::string_view line, TraceRow& row, RowError& error) override {
    row.arrival_ns = 0;
    row.session.clear();
    row.previous.clear();
    row.follows_row = -1;
    row.block_ids.clear();
    row.token_ids.clear();
    row.output_block_ids.clear();
    bool has_arrival = false;
    bool has_delay = false;
    bool has_prompt = false;
    bool has_output = false;
    std::int64_t delay_ns = 0;
    const auto visit = [&](std::string_view key, json::value value) {
      const Key* known = Find(key);
      if (known == nullptr) return true;
      if (known->role == Role::kTokenIds && !token_ids_) return true;
      const std::string_view token = TrimEnd(value.raw_json_token());
      if (token == "null") return true;
      bool ok = true;
      switch (known->role) {
        case Role::kArrival:
          has_arrival = true;
          ok = ParseTime(token, format_.unit_ns, row.arrival_ns, error.message);
          break;
        case Role::kDelay:
          has_delay = true;
          ok = ParseTime(token, format_.unit_ns, delay_ns, error.message);
          break;
        case Role::kSession:
          row.session.assign(token);  // a string or a number, as it is written
          break;
        case Role::kPreviousSession:
          if (token != "-1") row.previous.assign(token);
          break;
        case Role::kFollowsRow:
          ok = absl::SimpleAtoi(std::string(token), &row.follows_row) &&
               row.follows_row >= 0;
          if (!ok) {
            error.message = absl::StrCat("expected the number of a row, found ",
                                         Quote(token));
          }
          break;
        case Role::kBlockTokens: {
          std::int32_t tokens = 0;
          ok = ParseTokens(token, tokens, error.message);
          if (ok && tokens != block_tokens_) {
            ok = false;
            error.message =
                absl::StrCat("expected ", block_tokens_,
                             " as in the first row, found ", tokens);
          }
          break;
        }
        case Role::kPrompt:
          has_prompt = true;
          ok = ParseTokens(token, row.prompt_tokens, error.message);
          break;
        case Role::kOutput:
          has_output = true;
          ok = ParseTokens(token, row.output_tokens, error.message);
          break;
        case Role::kBlocks:
          return ReadIds(line, known->name, value, row.block_ids, error);
        case Role::kOutputBlocks:
          return ReadIds(line, known->name, value, row.output_block_ids, error);
        case Role::kTokenIds:
          return ReadIds(line, known->name, value, row.token_ids, error);
      }
      if (!ok) {
        error.column = ColumnOf(line, token.data());
        error.message = absl::StrCat(known->name.data(), ": ", error.message);
      }
      return ok;
    };
    if (!VisitMembers(parser_, line, error, visit)) return false;
    error.column = 1;
    if (!has_prompt) return Missing(Role::kPrompt, error);
    if (!has_output) return Missing(Role::kOutput, error);
    if (!row.token_ids.empty() &&
        std::cmp_not_equal(row.token_ids.size(), row.prompt_tokens)) {
      error.message =
          absl::StrCat(row.token_ids.size(), " token ids of a prompt of ",
                       row.prompt_tokens, " tokens");
      return false;
    }
    if (!names_sessions_) row.previous = row.session;
    row.follows_turn = !has_arrival && has_delay;
    if (row.follows_turn) {
      row.arrival_ns = delay_ns;
    } else if (timed_ && !has_arrival) {
      return Missing(Role::kArrival, error);
    }
    return true;
  }

  /// Whether a first row with these keys is of `format`.
  static bool Has(const JsonlFormat& format,
                  std::span<const std::string> present, Role role) {
    for (const Key& key : format.keys) {
      if (key.role != role) continue;
      for (const std::string& name : present) {
        if (name == key.name) return true;
      }
    }
    return false;
  }

 private:
  static bool HasKey(const JsonlFormat& format, Role role) {
    return std::any_of(format.keys.begin(), format.keys.end(),
                       [role](const Key& key) { return key.role == role; });
  }

  const Key* Find(std::string_view name) const {
    for (const Key& key : format_.keys) {
      if (key.name == name) return &key;
    }
    return nullptr;
  }

  bool Missing(Role role, RowError& error) const {
    for (const Key& key : format_.keys) {
      if (key.role != role) continue;
      error.message = absl::StrCat("no \"", key.name.data(), "\" in the row");
      break;
    }
    return false;
  }

  /// An array of whole numbers, none beyond the greatest `Id`.
  template <typename Id>
  static bool ReadIds(std::string_view line, std::string_view key,
                      json::value value, std::vector<Id>& ids,
                      RowError& error) {
    const auto fail = [&](std::string_view token) {
      error.column = ColumnOf(line, token.data());
      error.message = absl::StrCat(std::string(key),
                                   ": expected an array of whole numbers "
                                   "from 0 to ",
                                   std::numeric_limits<Id>::max(), ", found ",
                                   Quote(TrimEnd(token)));
      return false;
    };
    const std::string_view start = value.raw_json_token();
    json::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) return fail(start);
    for (auto result : array) {
      json::value element;
      if (std::move(result).get(element) != simdjson::SUCCESS) {
        return fail(start);
      }
      const std::string_view token = element.raw_json_token();
      std::uint64_t id = 0;
      if (element.get_uint64().get(id) != simdjson::SUCCESS ||
          std::cmp_greater(id, std::numeric_limits<Id>::max())) {
        return fail(token);
      }
      ids.push_back(static_cast<Id>(id));
    }
    return true;
  }

  const JsonlFormat& format_;
  bool timed_;  // the first row has an arrival, so every row must
  bool token_ids_;
  std::int32_t block_tokens_;
  bool names_sessions_;  // that rows go on from, beside the row's own
  bool names_rows_;
  json::parser parser_;
};

}  // namespace

std::unique_ptr<RowParser> MakeJsonlParser(std::string_view line,
                                           bool token_ids, RowError& error) {
  json::parser parser;
  std::vector<std::string> keys;
  std::int32_t block_tokens = 0;
  const auto visit = [&](std::string_view key, json::value value) {
    keys.emplace_back(key);
    if (key != kBlockTokensKey) return true;
    const std::string_view token = TrimEnd(value.raw_json_token());
    if (ParseTokens(token, block_tokens, error.message) && block_tokens > 0) {
      return true;
    }
    error = {.column = ColumnOf(line, token.data()),
             .message = absl::StrCat("block_tokens: expected 1 or more, found ",
                                     Quote(token))};
    return false;
  };
  if (!VisitMembers(parser, line, error, visit)) return nullptr;
  for (const JsonlFormat& format : kFormats) {
    const bool marked =
        format.marker.empty() ||
        std::find(keys.begin(), keys.end(), format.marker) != keys.end();
    if (marked && JsonlParser::Has(format, keys, Role::kPrompt) &&
        JsonlParser::Has(format, keys, Role::kOutput)) {
      return std::make_unique<JsonlParser>(
          format, JsonlParser::Has(format, keys, Role::kArrival), token_ids,
          block_tokens);
    }
  }
  std::string names;
  for (const std::string& key : keys) {
    absl::StrAppend(&names, names.empty() ? "" : ",", key);
  }
  error = {.column = 1, .message = UnknownFormat("keys " + Quote(names))};
  return nullptr;
}

std::string DescribeJsonlFormats() {
  std::string text;
  for (const JsonlFormat& format : kFormats) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", format.name.data(), " (",
                    format.marker.data(), format.marker.empty() ? "" : ",",
                    format.keys[1].name.data(), ",", format.keys[2].name.data(),
                    ")");
  }
  return text;
}

}  // namespace pagedkv::sim
