// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_ZIPF_H_
#define SIM_WORKLOAD_ZIPF_H_

#include <cstdint>
#include <vector>

#include "sim/workload/random.h"

namespace pagedkv::sim {

/// Ranks 0, 1, ... `count` - 1, of which rank r is drawn in proportion to
/// 1 / (r + 1)^s. Eight bytes per rank. The same on every machine.
class Zipf {
 public:
  /// `thousandths` is 1,000 * s; 0: all ranks alike.
  /// REQUIRES: 1 <= count <= 2^20, 0 <= thousandths <= 10,000.
  Zipf(std::int64_t count, std::int32_t thousandths);

  /// O(log count).
  [[nodiscard]] std::int64_t Draw(Random& random) const;

 private:
  std::vector<std::uint64_t> sums_;  // of the weights up to and with each rank
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_ZIPF_H_
