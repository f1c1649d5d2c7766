// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_ARRIVALS_H_
#define SIM_WORKLOAD_ARRIVALS_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/trace/trace_request.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {

/// The arrivals of a Poisson process, one by one. The same arguments give the
/// same ones on every machine. Thread-compatible.
class PoissonArrivals {
 public:
  /// `rate` is per second; InvalidArgument unless it is positive.
  static absl::StatusOr<PoissonArrivals> Create(double rate,
                                                std::uint64_t seed);
  /// The next arrival, in nanoseconds; the first is 0. InvalidArgument when
  /// they get past 292 years.
  absl::StatusOr<std::int64_t> Next();

 private:
  PoissonArrivals(double rate, std::uint64_t seed);

  double rate_;
  double unit_ns_;
  Random random_;
  // In 2^-32 of the mean gap: summed in integers and scaled once, so that a
  // workload at another rate is the same one at another speed.
  std::uint64_t sum_ = 0;
};

/// Overwrites the arrivals by those of `PoissonArrivals`; where it fails, they
/// are unspecified.
absl::Status SetPoissonArrivals(double rate, std::uint64_t seed,
                                std::span<TraceRequest> requests);

/// Scales the arrivals of requests in order, so that their mean rate, number of
/// gaps over time from first to last, is `rate` per second: the pattern stays,
/// with the delays of turns that follow others as part of it.
/// Where all arrive at once there is no pattern, and they become Poisson.
/// Errors as above.
absl::Status ApplyRate(double rate, std::uint64_t seed,
                       std::span<TraceRequest> requests);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_ARRIVALS_H_
