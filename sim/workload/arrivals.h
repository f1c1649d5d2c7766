// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_ARRIVALS_H_
#define SIM_WORKLOAD_ARRIVALS_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"

#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Overwrites the arrivals by a Poisson process of `rate` per second, the first
/// at 0. InvalidArgument unless `rate` is positive and the arrivals stay within
/// 292 years; they are unspecified then.
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
