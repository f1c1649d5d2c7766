// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_FIXED_POINT_H_
#define SIM_WORKLOAD_FIXED_POINT_H_

#include <cstdint>

namespace pagedkv::sim {

/// Powers and logarithms that are the same on every machine: integers only.
/// std::exp2, std::log2 and std::pow differ in the last bit between C
/// libraries, and a drawn number that depends on them would differ as well.

/// log2(`value`) in 1/2^32, rounded down. REQUIRES: value > 0.
[[nodiscard]] std::uint64_t Log2(std::uint64_t value);

/// 2^-x in 1/2^62, for x = `exponent` / 2^32. Exact to some 2^-58.
[[nodiscard]] std::uint64_t PowerOfHalf(std::uint64_t exponent);

/// e^-x in 1/2^62, for x = `exponent` / 2^32; 0 where that is below 2^-62.
[[nodiscard]] std::uint64_t ExpOfMinus(std::uint64_t exponent);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_FIXED_POINT_H_
