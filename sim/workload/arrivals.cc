// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/arrivals.h"

#include <cmath>

#include "absl/strings/str_cat.h"

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

PoissonArrivals::PoissonArrivals(double rate, std::uint64_t seed)
    : rate_(rate),
      unit_ns_(1e9 / rate / 4294967296.0),
      random_(seed, kArrivalStream) {}

absl::StatusOr<PoissonArrivals> PoissonArrivals::Create(double rate,
                                                        std::uint64_t seed) {
  if (absl::Status checked = CheckRate(rate); !checked.ok()) return checked;
  return PoissonArrivals(rate, seed);
}

absl::StatusOr<std::int64_t> PoissonArrivals::Next() {
  const double ns = static_cast<double>(sum_) * unit_ns_;
  if (!(ns < kMaxNs)) return RateTooLow(rate_);
  sum_ += random_.Exponential();
  return std::llround(ns);
}

absl::Status SetPoissonArrivals(double rate, std::uint64_t seed,
                                std::span<TraceRequest> requests) {
  absl::StatusOr<PoissonArrivals> arrivals =
      PoissonArrivals::Create(rate, seed);
  if (!arrivals.ok()) return arrivals.status();
  for (TraceRequest& request : requests) {
    const absl::StatusOr<std::int64_t> arrival_ns = arrivals->Next();
    if (!arrival_ns.ok()) return arrival_ns.status();
    request.arrival_ns = *arrival_ns;
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
