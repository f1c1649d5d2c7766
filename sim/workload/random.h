// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_RANDOM_H_
#define SIM_WORKLOAD_RANDOM_H_

#include <cstdint>

#include "sim/trace/mix64.h"

namespace pagedkv::sim {

/// A stream of random numbers that is the same on every machine, compiler and
/// C++ library: SplitMix64, and only integer arithmetic after it. Not
/// std::*_distribution, whose results each library chooses, nor std::log, whose
/// last bit does. Streams of one seed are independent of each other.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream)
      : state_(Mix64(seed + kGolden) ^ Mix64(~stream)) {}

  /// Uniform over all 32-bit words.
  std::uint32_t Word() {
    state_ += kGolden;
    return static_cast<std::uint32_t>(Mix64(state_) >> 32);
  }

  /// Exponential with mean 2^32: the gap between Poisson arrivals, in 2^-32 of
  /// the mean gap. By von Neumann's comparisons (1951): a falling run that
  /// starts at x has odd length with probability exp(-x).
  std::uint64_t Exponential() {
    for (std::uint64_t whole = 0;; ++whole) {
      const std::uint32_t first = Word();
      bool odd = true;
      std::uint32_t last = first;
      for (std::uint32_t next = Word(); next < last; next = Word()) {
        last = next;
        odd = !odd;
      }
      if (odd) return (whole << 32) + first;
    }
  }

 private:
  static constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;
  std::uint64_t state_;
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_RANDOM_H_
