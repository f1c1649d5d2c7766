// SPDX-License-Identifier: Apache-2.0
#include "sim/report/window_means.h"

#include <algorithm>
#include <cstddef>

#include "absl/numeric/int128.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

/// sum / weight in thousandths, rounded half up. REQUIRES: weight > 0.
std::int64_t MeanThousandths(absl::int128 sum, absl::int128 weight) {
  return static_cast<std::int64_t>((sum * 1000 + weight / 2) / weight);
}

}  // namespace

std::vector<WindowMeans> MeansOfWindows(const RunStatistics& statistics) {
  std::vector<WindowMeans> windows;
  for (std::size_t i = 0; i < statistics.windows().size(); ++i) {
    const StatisticsWindow& window = statistics.windows()[i];
    const ExactIntegrals& time = window.time;
    if (time.weight == 0) continue;
    absl::int128 total = 0;
    for (absl::int128 slots : time.slots) total += slots;

    WindowMeans means;
    means.begin_ns = static_cast<std::int64_t>(i) * statistics.window_ns();
    means.length_ns = static_cast<std::int64_t>(time.weight);
    means.capacity = MeanThousandths(total, time.weight);
    std::ranges::copy(Apportion(time.slots, means.capacity),
                      means.causes.begin());
    means.running = MeanThousandths(time.running, time.weight);
    means.waiting = MeanThousandths(time.waiting, time.weight);
    means.preemptions = window.preemptions;
    means.largest_free = MeanThousandths(time.largest_free, time.weight);
    windows.push_back(means);
  }
  return windows;
}

}  // namespace pagedkv::sim
