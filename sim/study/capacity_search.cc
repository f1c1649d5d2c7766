// SPDX-License-Identifier: Apache-2.0
#include "sim/study/capacity_search.h"

#include <algorithm>
#include <cmath>

namespace pagedkv::sim {
namespace {

/// One step towards harder or easier amounts; the same at the end of the range.
std::int64_t Step(const AmountRange& range, std::int64_t amount, bool harder) {
  const bool less = harder == range.more_is_easier;
  return std::clamp(less ? amount / 2 : amount * 2, range.least, range.most);
}

bool AreClose(const AmountRange& range, std::int64_t a, std::int64_t b) {
  const auto [low, high] = std::minmax(a, b);
  return high - low <= 1 || static_cast<double>(high - low) <=
                                range.precision * static_cast<double>(low);
}

std::int64_t GeometricMean(std::int64_t a, std::int64_t b) {
  const auto [low, high] = std::minmax(a, b);
  const double mean = std::sqrt(static_cast<double>(low)) *
                      std::sqrt(static_cast<double>(high));
  return std::clamp(static_cast<std::int64_t>(mean), low + 1, high - 1);
}

}  // namespace

absl::StatusOr<std::optional<std::int64_t>> FindHardestThatMeets(
    const AmountRange& range, const TryAmounts& try_amounts) {
  std::optional<std::int64_t> meets;
  std::optional<std::int64_t> fails;
  const auto try_one = [&](std::int64_t amount) {
    const absl::StatusOr<std::vector<bool>> met = try_amounts({amount});
    if (met.ok()) (met->front() ? meets : fails) = amount;
    return met.status();
  };
  std::int64_t amount = std::clamp(range.start, range.least, range.most);
  if (absl::Status status = try_one(amount); !status.ok()) return status;
  while (!meets || !fails) {
    const std::int64_t next = Step(range, amount, /*harder=*/meets.has_value());
    if (next == amount) return meets;
    amount = next;
    if (absl::Status status = try_one(amount); !status.ok()) return status;
  }
  while (!AreClose(range, *meets, *fails)) {
    if (absl::Status status = try_one(GeometricMean(*meets, *fails));
        !status.ok()) {
      return status;
    }
  }
  return meets;
}

std::vector<std::int64_t> AmountsAround(const AmountRange& range,
                                        std::int64_t amount) {
  constexpr int kPercents[] = {50, 70, 80, 90, 95, 105, 110, 120, 150, 200};
  std::vector<std::int64_t> amounts;
  for (const int percent : kPercents) {
    const std::int64_t each = amount * percent / 100;
    if (each < range.least || each > range.most || each == amount) continue;
    if (!amounts.empty() && amounts.back() == each) continue;
    amounts.push_back(each);
  }
  return amounts;
}

}  // namespace pagedkv::sim
