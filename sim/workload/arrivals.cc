// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/arrivals.h"

#include <cmath>

#include "absl/strings/str_cat.h"

#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kArrivalStream = 0;
constexpr double kMaxNs = 9.2e18;

absl::Status CheckRate(double rate) {
  if (rate > 0 && std::isfinite(rate)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("rate: expected a number of requests per second above 0, "
                   "found ",
                   rate));
}

absl::Status RateTooLow(double rate) {
  return absl::InvalidArgumentError(absl::StrCat(
      "rate: ", rate, " requests per second put arrivals past 292 years"));
}

}  // namespace

absl::Status SetPoissonArrivals(double rate, std::uint64_t seed,
                                std::span<TraceRequest> requests) {
  if (absl::Status checked = CheckRate(rate); !checked.ok()) return checked;
  // Summed in integers, in 2^-32 of the mean gap, and scaled once: exact, so
  // that a workload at another rate is the same one at another speed.
  const double unit_ns = 1e9 / rate / 4294967296.0;
  Random random(seed, kArrivalStream);
  std::uint64_t sum = 0;
  for (TraceRequest& request : requests) {
    const double ns = static_cast<double>(sum) * unit_ns;
    if (!(ns < kMaxNs)) return RateTooLow(rate);
    request.arrival_ns = std::llround(ns);
    sum += random.Exponential();
  }
  return absl::OkStatus();
}

absl::Status ApplyRate(double rate, std::uint64_t seed,
                       std::span<TraceRequest> requests) {
  if (absl::Status checked = CheckRate(rate); !checked.ok()) return checked;
  if (requests.empty()) return absl::OkStatus();
  const std::int64_t span_ns =
      requests.back().arrival_ns - requests.front().arrival_ns;
  if (span_ns == 0) return SetPoissonArrivals(rate, seed, requests);
  const double factor = static_cast<double>(requests.size() - 1) * 1e9 / rate /
                        static_cast<double>(span_ns);
  if (!(static_cast<double>(requests.back().arrival_ns) * factor < kMaxNs)) {
    return RateTooLow(rate);
  }
  for (TraceRequest& request : requests) {
    request.arrival_ns =
        std::llround(static_cast<double>(request.arrival_ns) * factor);
    request.delay_ns =
        std::llround(static_cast<double>(request.delay_ns) * factor);
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
