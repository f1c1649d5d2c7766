// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/zipf.h"

#include <algorithm>

#include "absl/numeric/int128.h"

#include "sim/workload/fixed_point.h"

namespace pagedkv::sim {

Zipf::Zipf(std::int64_t count, std::int32_t thousandths) {
  sums_.reserve(static_cast<std::size_t>(count));
  std::uint64_t sum = 0;
  for (std::int64_t rank = 1; rank <= count; ++rank) {
    const std::uint64_t exponent = Log2(static_cast<std::uint64_t>(rank)) *
                                   static_cast<std::uint64_t>(thousandths) /
                                   1000;
    // Of 2^40: the sum of 2^20 weights stays below 2^61.
    sum += std::max<std::uint64_t>(1, PowerOfHalf(exponent) >> 22);
    sums_.push_back(sum);
  }
}

std::int64_t Zipf::Draw(Random& random) const {
  const std::uint64_t high = random.Word();
  const std::uint64_t word = (high << 32) | random.Word();
  const std::uint64_t at =
      absl::Uint128High64(absl::uint128(word) * sums_.back());
  return std::upper_bound(sums_.begin(), sums_.end(), at) - sums_.begin();
}

}  // namespace pagedkv::sim
