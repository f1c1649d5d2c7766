// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_MIX64_H_
#define SIM_TRACE_MIX64_H_

#include <cstdint>

namespace pagedkv::sim {

/// A fixed bijection of 64-bit words that changes half the bits of the result
/// for each bit of the argument: the output function of SplitMix64 (Steele, Lea
/// and Flood, OOPSLA 2014). The same everywhere and for ever, since generated
/// workloads depend on it.
constexpr std::uint64_t Mix64(std::uint64_t word) {
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EB;
  return word ^ (word >> 31);
}

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_MIX64_H_
