// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/session_starts.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "absl/numeric/int128.h"

#include "sim/workload/fixed_point.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kOne = std::uint64_t{1} << 32;
constexpr double kMaxNs = 9.2e18;

/// numerator / denominator, where 1 is 2^32; the largest if that is too much.
std::uint64_t Ratio(std::uint64_t numerator, std::uint64_t denominator) {
  const absl::uint128 ratio = (absl::uint128(numerator) << 32) / denominator;
  return ratio > std::numeric_limits<std::uint64_t>::max()
             ? std::numeric_limits<std::uint64_t>::max()
             : absl::Uint128Low64(ratio);
}

}  // namespace

std::uint64_t DrawGamma(std::uint64_t shape, Random& random) {
  std::uint64_t sum = 0;
  for (std::uint64_t whole = shape >> 32; whole > 0; --whole) {
    sum += random.Exponential();
  }
  const std::uint64_t rest = shape % kOne;
  if (rest == 0) return sum;
  for (;;) {
    // u^(1/rest) for a uniform u is e^-(exponential / rest).
    const std::uint64_t x = ExpOfMinus(Ratio(random.Exponential(), rest));
    const std::uint64_t y =
        ExpOfMinus(Ratio(random.Exponential(), kOne - rest));
    if (x + y > std::uint64_t{1} << 62 || x + y == 0) continue;
    const absl::uint128 share = absl::uint128(random.Exponential()) * x;
    return sum + absl::Uint128Low64(share / (x + y));
  }
}

SessionStarts::SessionStarts(const ArrivalSpec& spec, double speed,
                             Random random)
    : spec_(spec),
      unit_ns_(1e9 / (spec.sessions_per_s * speed) / 4294967296.0),
      random_(random) {
  if (spec.kind == ArrivalKind::kGamma) {
    const double squared = spec.burstiness_cv * spec.burstiness_cv;
    squared_cv_ = static_cast<std::uint64_t>(std::llround(squared * kOne));
    shape_ = static_cast<std::uint64_t>(std::llround(kOne / squared));
  }
  std::uint64_t sum = 0;
  for (const std::uint32_t rate : spec.profile) {
    sums_.push_back(sum);
    sum += rate;
  }
  if (!sums_.empty()) sums_.push_back(sum);
}

std::optional<std::int64_t> SessionStarts::Next() {
  sum_ += Gap();
  const double ns = static_cast<double>(sum_) * unit_ns_;
  if (!(ns < kMaxNs)) return std::nullopt;
  return InProfile(std::llround(ns));
}

std::uint64_t SessionStarts::Gap() {
  switch (spec_.kind) {
    case ArrivalKind::kConstant:
      return kOne;
    case ArrivalKind::kPoisson:
      return random_.Exponential();
    case ArrivalKind::kGamma:
      break;
  }
  return absl::Uint128Low64(
      (absl::uint128(DrawGamma(shape_, random_)) * squared_cv_) >> 32);
}

// The part of the profile with the share s of its sum takes the share s of a
// period at the mean rate.
std::int64_t SessionStarts::InProfile(std::int64_t even_ns) const {
  if (sums_.empty()) return even_ns;
  const std::int64_t begin_ns = even_ns / spec_.period_ns * spec_.period_ns;
  const auto period = static_cast<std::uint64_t>(spec_.period_ns);
  const absl::uint128 at =
      absl::uint128(static_cast<std::uint64_t>(even_ns - begin_ns)) *
      sums_.back();
  const auto after =
      std::upper_bound(sums_.begin(), sums_.end(), at,
                       [period](const absl::uint128& value, std::uint64_t sum) {
                         return value < absl::uint128(sum) * period;
                       });
  const auto part = static_cast<std::size_t>(after - sums_.begin()) - 1;
  const std::size_t parts = spec_.profile.size();
  const absl::uint128 into =
      (at - absl::uint128(sums_[part]) * period) / spec_.profile[part];
  return begin_ns + static_cast<std::int64_t>(absl::Uint128Low64(
                        (into + absl::uint128(part) * period) / parts));
}

}  // namespace pagedkv::sim
