// SPDX-License-Identifier: Apache-2.0
#include "sim/report/decimal.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

std::string TrimZeros(std::string decimal) {
  decimal.erase(decimal.find_last_not_of('0') + 1);
  if (decimal.back() == '.') decimal.pop_back();
  return decimal;
}

}  // namespace

std::string FixedDecimal(double value) {
  std::string text = absl::StrFormat("%.6f", value);
  return text == "-0.000000" ? "0.000000" : text;
}

std::string ThousandthsToString(std::int64_t thousandths) {
  const char* sign = thousandths < 0 ? "-" : "";
  const std::int64_t whole = thousandths / 1000;
  const std::int64_t rest = thousandths % 1000;
  return TrimZeros(absl::StrFormat(
      "%s%d.%03d", sign, whole < 0 ? -whole : whole, rest < 0 ? -rest : rest));
}

std::string NanosecondsToSeconds(std::int64_t nanoseconds) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const char* sign = nanoseconds < 0 ? "-" : "";
  const std::int64_t whole = nanoseconds / kSecond;
  const std::int64_t rest = nanoseconds % kSecond;
  return TrimZeros(absl::StrFormat(
      "%s%d.%09d", sign, whole < 0 ? -whole : whole, rest < 0 ? -rest : rest));
}

std::string Grouped(std::int64_t value) {
  std::string digits = absl::StrFormat("%d", value);
  const std::size_t first = value < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3; i -= 3) {
    digits.insert(i - 3, ",");
  }
  return digits;
}

std::vector<std::int64_t> Apportion(std::span<const absl::int128> parts,
                                    std::int64_t units) {
  std::vector<std::int64_t> shares(parts.size(), 0);
  absl::int128 total = 0;
  for (absl::int128 part : parts) total += part;
  if (total == 0) return shares;

  std::vector<absl::int128> remainders(parts.size());
  std::int64_t left = units;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const absl::int128 product = parts[i] * units;
    shares[i] = static_cast<std::int64_t>(product / total);
    remainders[i] = product % total;
    left -= shares[i];
  }
  std::vector<std::size_t> order(parts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return remainders[a] != remainders[b] ? remainders[a] > remainders[b]
                                          : a < b;
  });
  for (std::size_t i = 0; left > 0; ++i, --left) ++shares[order[i]];
  return shares;
}

}  // namespace pagedkv::sim
