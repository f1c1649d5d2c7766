// SPDX-License-Identifier: Apache-2.0
#include "sim/study/units.h"

#include <cmath>
#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

struct Unit {
  const char* name;
  std::int64_t scale;
};

constexpr std::int64_t kKilo = 1000;
constexpr std::int64_t kKibi = 1024;

constexpr Unit kByteUnits[] = {
    {"", 1},
    {"B", 1},
    {"KB", kKilo},
    {"MB", kKilo* kKilo},
    {"GB", kKilo* kKilo* kKilo},
    {"TB", kKilo* kKilo* kKilo* kKilo},
    {"KiB", kKibi},
    {"MiB", kKibi* kKibi},
    {"GiB", kKibi* kKibi* kKibi},
    {"TiB", kKibi* kKibi* kKibi* kKibi},
};

constexpr std::int64_t kSecondNs = 1'000'000'000;

constexpr Unit kTimeUnits[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1'000'000},
    {"s", kSecondNs},
    {"min", 60 * kSecondNs},
    {"h", 3600 * kSecondNs},
};

/// A number with at most this many decimals, times a unit of at most 2^42,
/// stays below 2^63.
constexpr int kMaxDecimals = 6;

/// Reads digits from the front of `text`; false on overflow.
bool TakeDigits(std::string_view& text, std::int64_t& value, int& count) {
  while (!text.empty() &&
         absl::ascii_isdigit(static_cast<unsigned char>(text.front()))) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, text.front() - '0', &value)) {
      return false;
    }
    ++count;
    text.remove_prefix(1);
  }
  return true;
}

absl::StatusOr<std::int64_t> ParseQuantity(std::string_view text,
                                           std::span<const Unit> units,
                                           const char* kind,
                                           const char* example) {
  const auto bad = [&] {
    return absl::InvalidArgumentError(absl::StrFormat(
        "'%s' is not a %s: write it like %s", text, kind, example));
  };
  const auto too_large = [&] {
    return absl::OutOfRangeError(
        absl::StrFormat("'%s' is too large for a %s", text, kind));
  };
  std::string_view rest = text;
  std::int64_t whole = 0;
  std::int64_t fraction = 0;
  int digits = 0;
  int decimals = 0;
  if (!TakeDigits(rest, whole, digits)) return too_large();
  if (digits == 0) return bad();
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    if (!TakeDigits(rest, fraction, decimals)) return bad();
    if (decimals == 0 || decimals > kMaxDecimals) return bad();
  }
  if (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  const std::string name = absl::AsciiStrToLower(std::string(rest));
  for (const Unit& unit : units) {
    if (name != absl::AsciiStrToLower(unit.name)) continue;
    std::int64_t divisor = 1;
    for (int i = 0; i < decimals; ++i) divisor *= 10;
    std::int64_t value = 0;
    if (__builtin_mul_overflow(whole, unit.scale, &value) ||
        __builtin_add_overflow(value, fraction * unit.scale / divisor,
                               &value)) {
      return too_large();
    }
    return value;
  }
  return bad();
}

double RoundToMicro(double value) { return std::round(value * 1e6) / 1e6; }

std::string FormatDecimals(double value) {
  return absl::StrFormat("%.*f", std::abs(value) < 0.01 ? 6 : 3, value);
}

}  // namespace

absl::StatusOr<Bytes> ParseBytes(std::string_view text) {
  const absl::StatusOr<std::int64_t> bytes = ParseQuantity(
      text, kByteUnits, "size", "12GiB (2^30), 24GB (10^9), 800KiB or 4096");
  if (!bytes.ok()) return bytes.status();
  return Bytes(*bytes);
}

absl::StatusOr<std::int64_t> ParseDurationNs(std::string_view text) {
  return ParseQuantity(text, kTimeUnits, "time",
                       "20ms, 1.5s, 10us, 5ns, 2min or 2h");
}

double ToGb(Bytes bytes) {
  return RoundToMicro(static_cast<double>(bytes.value()) / 1e9);
}

double ToGib(Bytes bytes) {
  return RoundToMicro(static_cast<double>(bytes.value()) / 0x1p30);
}

std::string FormatGb(Bytes bytes) { return FormatDecimals(ToGb(bytes)); }

std::string FormatGib(Bytes bytes) { return FormatDecimals(ToGib(bytes)); }

}  // namespace pagedkv::sim
