// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_RUN_STATISTICS_H_
#define SIM_REPORT_RUN_STATISTICS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/numeric/int128.h"

#include "sim/replay/simulation.h"
#include "sim/report/integrals.h"
#include "sim/report/latency_statistics.h"
#include "sim/report/request_statistics.h"

namespace pagedkv::sim {

/// What a mean is taken over: seconds, or engine steps as in the PagedAttention
/// paper (a wait for an arrival then counts nothing).
enum class Weight { kTime, kIteration };

/// Which samples count.
enum class WindowKind {
  kAll,        ///< the whole run, warm-up and drain included
  kBusy,       ///< a sequence is resident; without warm-up and drain
  kSaturated,  ///< a request waits; without warm-up and drain
};

/// The names on the command line and in reports.
std::string_view WeightName(Weight weight);
std::string_view WindowName(WindowKind window);

/// Both exclusions in words, for the report that applies them.
inline constexpr std::string_view kWarmUpDefinition =
    "from the start until as many requests have finished as are resident";
inline constexpr std::string_view kDrainDefinition =
    "whenever every request of the workload has been admitted and none waits";

struct StatisticsOptions {
  Weight weight = Weight::kTime;
  WindowKind window = WindowKind::kBusy;
  /// Requests that the simulation is given: tells the drain.
  std::int64_t num_requests = 0;
  /// Width of a window at first; it doubles as the run gets longer.
  std::int64_t window_ns = 1'000'000'000;
  /// Even; see `RunStatistics`. More windows show more of the course of a run
  /// and cost 800 bytes each.
  std::size_t max_windows = 512;
  ServiceLevel level = {};
};

/// One stretch of the run.
struct StatisticsWindow {
  ExactIntegrals time;      ///< every sample, by time
  ExactIntegrals all;       ///< every sample, by the weight asked for
  ExactIntegrals selected;  ///< those of the window asked for, by that weight
  std::int64_t preemptions = 0;

  StatisticsWindow& operator+=(const StatisticsWindow& other) {
    time += other.time;
    all += other.all;
    selected += other.selected;
    preemptions += other.preemptions;
    return *this;
  }
};

/// Weight by number of resident sequences: the distribution of the batch size.
using BatchHistogram = std::vector<absl::int128>;

/// Watches a simulation and keeps exact sums of it, in memory that does not
/// depend on its length: windows of equal width tile the time from 0 on, and
/// when there would be more than `max_windows`, neighbours are merged and the
/// width doubles, so that a long run ends with between half as many and
/// `max_windows`.
///
/// Invariant: the windows' `time` integrals sum to those of all samples, as
/// integers; a sample that spans windows is split among them by nanoseconds,
/// and a step counts where it begins. Thread-compatible.
class RunStatistics : public SimulationObserver {
 public:
  /// REQUIRES: options.window_ns > 0, options.max_windows even and positive.
  explicit RunStatistics(const StatisticsOptions& options);

  void OnSample(const Sample& sample) override;
  void OnRequest(const RequestRecord& record) override;

  [[nodiscard]] const StatisticsOptions& options() const { return options_; }
  [[nodiscard]] const std::vector<StatisticsWindow>& windows() const {
    return windows_;
  }
  /// Window i covers [i, i + 1) times this.
  [[nodiscard]] std::int64_t window_ns() const { return window_ns_; }
  [[nodiscard]] const BatchHistogram& batch(bool selected) const {
    return selected ? selected_batch_ : all_batch_;
  }
  [[nodiscard]] const RequestStatistics& requests() const { return requests_; }
  [[nodiscard]] const LatencyStatistics& latency() const { return latency_; }
  /// Samples and requests seen.
  [[nodiscard]] std::int64_t num_events() const { return num_events_; }

 private:
  [[nodiscard]] bool IsSelected(const Sample& sample);
  StatisticsWindow& WindowAt(std::int64_t time_ns);

  StatisticsOptions options_;
  std::int64_t window_ns_;
  std::vector<StatisticsWindow> windows_;
  BatchHistogram all_batch_;
  BatchHistogram selected_batch_;
  RequestStatistics requests_;
  LatencyStatistics latency_;
  std::int64_t finished_ = 0;
  std::int64_t rejected_ = 0;
  std::int64_t num_events_ = 0;
  bool warm_ = false;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_RUN_STATISTICS_H_
