// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_RANDOM_H_
#define EXAMPLES_ENGINE_RANDOM_H_

#include <cstdint>

namespace pagedkv::engine {

/// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators",
/// 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  [[nodiscard]] std::uint64_t Next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// A multiple of 2^-24 in [0, 1).
  [[nodiscard]] float NextUniform() {
    return static_cast<float>(Next() >> 40) * 0x1p-24F;
  }
  /// A multiple of 2^-53 in [0, 1).
  [[nodiscard]] double NextDouble() {
    return static_cast<double>(Next() >> 11) * 0x1p-53;
  }

 private:
  std::uint64_t state_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_RANDOM_H_
