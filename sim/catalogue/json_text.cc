// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/json_text.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// Accepts everything, and keeps where the first syntax error is: without
/// exceptions, `json::parse` does not tell.
class ErrorLocator : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&,
                   const json::exception&) override {
    position_ = position;
    return false;
  }

  /// Bytes read up to and including the one that is wrong.
  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  std::size_t position_ = 0;
};

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text, std::string_view source) {
  json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_discarded()) return document;
  ErrorLocator locator;
  json::sax_parse(text, &locator);
  const std::string_view before = text.substr(
      0,
      std::min(text.size(), locator.position() -
                                std::min<std::size_t>(locator.position(), 1)));
  const std::size_t line_begin = before.rfind('\n') + 1;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s:%d:%d: this is not valid JSON", source,
                      std::count(before.begin(), before.end(), '\n') + 1,
                      before.size() - line_begin + 1));
}

JsonObjectReader::JsonObjectReader(const json& object, std::string source)
    : object_(object), source_(std::move(source)) {
  if (!object_.is_object()) Fail("a JSON object is needed here");
}

const json* JsonObjectReader::Find(std::string_view key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(std::string(key));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const json* JsonObjectReader::FindFirst(const Keys& keys,
                                        std::string_view* name) const {
  for (const std::string_view key : keys) {
    *name = key;
    if (const json* value = Find(key)) return value;
  }
  return nullptr;
}

std::int64_t JsonObjectReader::Integer(const Keys& keys, std::int64_t max) {
  std::string_view name;
  const json* value = FindFirst(keys, &name);
  if (value == nullptr) {
    FailMissing(keys);
    return 1;
  }
  const bool fits =
      value->is_number_integer() &&
      (value->is_number_unsigned()
           ? value->get<std::uint64_t>() <= static_cast<std::uint64_t>(max)
           : value->get<std::int64_t>() <= max);
  if (!fits || value->get<std::int64_t>() < 1) {
    Fail(absl::StrFormat("'%s' must be an integer from 1 to %d", name, max));
    return 1;
  }
  return value->get<std::int64_t>();
}

std::int64_t JsonObjectReader::IntegerOr(const Keys& keys, std::int64_t max,
                                         std::int64_t fallback) {
  std::string_view name;
  return FindFirst(keys, &name) == nullptr ? fallback : Integer(keys, max);
}

bool JsonObjectReader::FlagOr(std::string_view key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Fail(absl::StrFormat("'%s' must be true or false", key));
    return fallback;
  }
  return value->get<bool>();
}

std::string JsonObjectReader::Text(const Keys& keys) {
  std::string_view name;
  const json* value = FindFirst(keys, &name);
  if (value == nullptr) {
    FailMissing(keys);
    return {};
  }
  if (!value->is_string()) {
    Fail(absl::StrFormat("'%s' must be a string", name));
    return {};
  }
  return value->get<std::string>();
}

std::string JsonObjectReader::TextOr(const Keys& keys,
                                     std::string_view fallback) {
  std::string_view name;
  return FindFirst(keys, &name) == nullptr ? std::string(fallback) : Text(keys);
}

void JsonObjectReader::Fail(std::string_view problem) {
  if (!status_.ok()) return;
  status_ =
      absl::InvalidArgumentError(absl::StrFormat("%s: %s", source_, problem));
}

void JsonObjectReader::FailMissing(const Keys& keys) {
  Fail(absl::StrFormat("'%s' is missing", keys.front()));
}

}  // namespace pagedkv::sim
