// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_SESSION_STARTS_H_
#define SIM_WORKLOAD_SESSION_STARTS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/workload/random.h"
#include "sim/workload/workload_spec.h"

namespace pagedkv::sim {

/// The times at which sessions of a class start, one by one. The gaps are
/// independent, exponential (Poisson), gamma or constant; a profile stretches
/// time where its rate is low. Another rate gives the same gaps at another
/// speed, but for the profile. Integers only, after the rate.
class SessionStarts {
 public:
  /// Starts at `speed` times the rate of `spec`, which must outlive it.
  SessionStarts(const ArrivalSpec& spec, double speed, Random random);

  /// Nanoseconds; does not fall. None past 292 years.
  [[nodiscard]] std::optional<std::int64_t> Next();

 private:
  [[nodiscard]] std::uint64_t Gap();
  [[nodiscard]] std::int64_t InProfile(std::int64_t even_ns) const;

  const ArrivalSpec& spec_;
  double unit_ns_;                // 2^-32 of the mean gap
  std::uint64_t sum_ = 0;         // of gaps, in these units
  std::uint64_t squared_cv_ = 0;  // in 1/2^32, as the shape
  std::uint64_t shape_ = 0;
  std::vector<std::uint64_t> sums_;  // of the profile, before each part
  Random random_;
};

/// Gamma with the given shape, and a scale of 1, both in 1/2^32: the sum of
/// exponentials for the whole of the shape, and for its fraction Johnk's method
/// (1964). REQUIRES: shape > 0.
[[nodiscard]] std::uint64_t DrawGamma(std::uint64_t shape, Random& random);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_SESSION_STARTS_H_
