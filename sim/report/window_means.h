// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_WINDOW_MEANS_H_
#define SIM_REPORT_WINDOW_MEANS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "sim/accounting/causes.h"
#include "sim/report/run_statistics.h"

namespace pagedkv::sim {

/// Means inside one window of time, in thousandths of slots and of sequences.
struct WindowMeans {
  std::int64_t begin_ns = 0;
  std::int64_t length_ns = 0;
  std::int64_t capacity = 0;
  std::array<std::int64_t, kNumCauses> causes{};  ///< sum to `capacity`
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  std::int64_t preemptions = 0;  ///< events, not a mean
  std::int64_t largest_free = 0;
};

/// Of each window that any time was spent in, in order.
std::vector<WindowMeans> MeansOfWindows(const RunStatistics& statistics);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_WINDOW_MEANS_H_
