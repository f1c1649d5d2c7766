// SPDX-License-Identifier: Apache-2.0
#include "sim/catalogue/json_text.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// Deeper documents are attacks: copying a value uses the call stack.
constexpr int kMaxDepth = 64;

/// Accepts every document that is valid and not too deep, and keeps where the
/// first mistake is: without exceptions, `json::parse` does not tell.
class Validator : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ <= kMaxDepth; }
  bool start_array(std::size_t) override { return ++depth_ <= kMaxDepth; }
  bool end_object() override { return --depth_ >= 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t position, const std::string&,
                   const json::exception&) override {
    position_ = position;
    return false;
  }

  [[nodiscard]] bool too_deep() const { return depth_ > kMaxDepth; }
  /// Bytes read up to and including the one that is wrong.
  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  int depth_ = 0;
  std::size_t position_ = 0;
};

}  // namespace

absl::StatusOr<json> ParseJson(std::string_view text, std::string_view source) {
  Validator validator;
  if (json::sax_parse(text, &validator)) {
    return json::parse(text, nullptr, /*allow_exceptions=*/false);
  }
  if (validator.too_deep()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: nested more than %d levels deep", source, kMaxDepth));
  }
  const std::size_t read = std::max<std::size_t>(validator.position(), 1);
  const std::string_view before =
      text.substr(0, std::min(text.size(), read - 1));
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
  asked_.emplace(key);
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

double JsonObjectReader::Number(std::string_view key, double min, double max) {
  const json* value = Find(key);
  if (value == nullptr) {
    FailMissing({key});
    return min;
  }
  if (!value->is_number() || !(value->get<double>() >= min) ||
      !(value->get<double>() <= max)) {
    Fail(absl::StrFormat("'%s' must be a number from %g to %g", key, min, max));
    return min;
  }
  return value->get<double>();
}

double JsonObjectReader::NumberOr(std::string_view key, double min, double max,
                                  double fallback) {
  return Has(key) ? Number(key, min, max) : fallback;
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

void JsonObjectReader::RefuseOtherKeys() {
  if (!object_.is_object()) return;
  for (const auto& [key, value] : object_.items()) {
    if (asked_.contains(key)) continue;
    // It counts more than a key that is missing: most often it is that one.
    status_ = absl::OkStatus();
    Fail(absl::StrFormat("unknown key '%s'; known here are %s", key,
                         absl::StrJoin(asked_, ", ")));
    return;
  }
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
