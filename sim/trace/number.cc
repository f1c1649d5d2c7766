// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/number.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

bool Fail(std::string& error, std::string_view expected,
          std::string_view text) {
  error = "expected ";
  error += expected;
  error += ", found ";
  error += Quote(text);
  return false;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// The number that the first `count` characters are, or -1.
int TakeDigits(std::string_view& text, std::size_t count) {
  if (text.size() < count) return -1;
  int value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!IsDigit(text[i])) return -1;
    value = 10 * value + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool Take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

/// Reads the digits of a fraction as billionths; finer ones are cut off.
std::int64_t TakeBillionths(std::string_view& text) {
  std::int64_t value = 0;
  std::int64_t place = kNsPerSecond;
  while (!text.empty() && IsDigit(text.front())) {
    if (place > 1) {
      place /= 10;
      value += place * (text.front() - '0');
    }
    text.remove_prefix(1);
  }
  return value;
}

}  // namespace

std::string Quote(std::string_view text) {
  constexpr std::size_t kMaxShown = 60;
  const std::string_view shown = text.substr(0, kMaxShown);
  return absl::StrCat(
      "\"", absl::CHexEscape(absl::string_view(shown.data(), shown.size())),
      shown.size() < text.size() ? "..." : "", "\"");
}

bool ParseTokens(std::string_view text, std::int32_t& tokens,
                 std::string& error) {
  const char* end = text.data() + text.size();
  const auto [parsed, code] = std::from_chars(text.data(), end, tokens);
  if (code == std::errc() && parsed == end && tokens >= 0) return true;
  return Fail(error, "a number of tokens from 0 to 2147483647", text);
}

bool ParseTime(std::string_view text, std::int64_t unit_ns,
               std::int64_t& time_ns, std::string& error) {
  constexpr std::string_view kExpected =
      "a time, a decimal number not below 0 and within 292 years";
  const char* end = text.data() + text.size();
  std::int64_t whole = 0;
  const auto [parsed, code] = std::from_chars(text.data(), end, whole);
  std::string_view rest(parsed, static_cast<std::size_t>(end - parsed));
  std::int64_t billionths = 0;
  if (code == std::errc() && Take(rest, '.')) {
    billionths = TakeBillionths(rest);
  }
  if (code == std::errc() && rest.empty()) {
    // "-0.5" has whole == 0: the sign must be looked at as well.
    if (text.front() == '-' || whole >= kMaxInt64 / unit_ns) {
      return Fail(error, kExpected, text);
    }
    // Below 1e9 * 1e9.
    time_ns = whole * unit_ns + billionths * unit_ns / kNsPerSecond;
    return true;
  }
  // Scientific notation, as Python prints small floats.
  double value = 0;
  const auto [last, status] = std::from_chars(text.data(), end, value);
  const double ns = value * static_cast<double>(unit_ns);
  if (status != std::errc() || last != end || !(ns >= 0 && ns < 9.2e18)) {
    return Fail(error, kExpected, text);
  }
  time_ns = std::llround(ns);
  return true;
}

bool ParseDateTime(std::string_view text, std::int64_t& time_ns,
                   std::string& error) {
  constexpr std::string_view kExpected =
      "a time like 2023-11-16 18:15:46.6805900 between 1970 and 2199";
  std::string_view rest = text;
  const int year = TakeDigits(rest, 4);
  const bool dash1 = Take(rest, '-');
  const int month = TakeDigits(rest, 2);
  const bool dash2 = Take(rest, '-');
  const int day = TakeDigits(rest, 2);
  const bool blank = Take(rest, ' ') || Take(rest, 'T');
  const int hour = TakeDigits(rest, 2);
  const bool colon1 = Take(rest, ':');
  const int minute = TakeDigits(rest, 2);
  const bool colon2 = Take(rest, ':');
  const int second = TakeDigits(rest, 2);
  if (!dash1 || !dash2 || !blank || !colon1 || !colon2 || year < 1970 ||
      year > 2199 || month < 0 || day < 0 || hour < 0 || hour > 23 ||
      minute < 0 || minute > 59 || second < 0 || second > 59) {
    return Fail(error, kExpected, text);
  }
  const std::chrono::year_month_day date(
      std::chrono::year{year}, std::chrono::month(static_cast<unsigned>(month)),
      std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return Fail(error, kExpected, text);
  std::int64_t billionths = 0;
  if (Take(rest, '.')) {
    if (rest.empty() || !IsDigit(rest.front())) {
      return Fail(error, kExpected, text);
    }
    billionths = TakeBillionths(rest);
  }
  std::int64_t offset_minutes = 0;
  if (!rest.empty() && !Take(rest, 'Z')) {
    const bool east = Take(rest, '+');
    if (!east && !Take(rest, '-')) return Fail(error, kExpected, text);
    const int hours = TakeDigits(rest, 2);
    const bool colon = Take(rest, ':');
    const int minutes = TakeDigits(rest, 2);
    if (!colon || hours < 0 || hours > 14 || minutes < 0 || minutes > 59) {
      return Fail(error, kExpected, text);
    }
    offset_minutes = (east ? 1 : -1) * (60 * hours + minutes);
  }
  if (!rest.empty()) return Fail(error, kExpected, text);
  const std::int64_t days =
      std::chrono::sys_days(date).time_since_epoch().count();
  const std::int64_t seconds =
      ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
  if (seconds < 0) return Fail(error, kExpected, text);
  time_ns = seconds * kNsPerSecond + billionths;
  return true;
}

}  // namespace pagedkv::sim
