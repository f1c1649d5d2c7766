// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_STEP_FIT_H_
#define SIM_STUDY_STEP_FIT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/clock/step_time.h"
#include "sim/replay/simulation.h"
#include "sim/study/measured_run.h"

namespace pagedkv::sim {

/// A simulation of a measured run, seen as the run was.
struct ReplayedRun {
  struct Step {
    std::int64_t begin_ns = 0;
    std::int64_t end_ns = 0;
    StepWork work;
  };
  std::vector<Step> steps;
  std::vector<RequestRecord> requests;  ///< by id
  std::vector<MeasuredInstant> series;  ///< at the run's instants
  SimulationTotals totals;
};

/// Replays the run's requests, at their own times, in the run's pool and under
/// its limits, where a step takes `time`. Cancelled if `stop` says so.
absl::StatusOr<ReplayedRun> ReplayMeasuredRun(
    const MeasuredRun& run, const StepTime& time,
    const std::function<bool()>& stop = {});

/// How far a replay's request times are off, over the requests that count.
struct RequestErrors {
  std::int64_t requests = 0;
  // Medians, in nanoseconds. TPOT is of requests of more than one token.
  double measured_ttft = 0;
  double replayed_ttft = 0;
  double measured_tpot = 0;
  double replayed_tpot = 0;
  double measured_e2e = 0;
  double replayed_e2e = 0;
  // Means of what each request is off.
  double ttft_error = 0;
  double tpot_error = 0;

  /// What the fit makes least: both mean errors, each as a share of the
  /// measured median.
  [[nodiscard]] double Objective() const;
};

/// Which requests count, by id.
using RequestSet = std::function<bool(std::int64_t)>;

RequestErrors CompareRequests(const MeasuredRun& run,
                              const ReplayedRun& replayed,
                              const RequestSet& counts);

struct StepFitOptions {
  bool search = true;  ///< after the regressions; most of the time goes there
  std::function<bool()> stop = {};
};

struct StepFit {
  StepTime time;  ///< serial part only
  int regressions = 0;
  int replays = 0;  ///< in all
  double start_objective = 0;
  double regression_objective = 0;  ///< before the search
  double objective = 0;
};

/// Finds the coefficients of a step's time from the times of the requests that
/// count. The engine's steps are not recorded, but its decisions are replayed:
///
/// 1. Replay with the coefficients so far; the roofline, all of it scaled by
///    what comes closest, is where it begins. Now it is known which steps lie
///    between a request's arrival, first and last token, and what each of them
///    worked on.
/// 2. Non-negative least squares of the measured intervals on the sums of the
///    work; an interval weighs by one over its length, as the errors of steps
///    add up. Coefficients that the run does not tell apart (in a pool that is
///    always full, every step reads the same) stay near where it began.
/// 3. Again from 1, until the coefficients stay, or have come no closer.
///
/// Then a search by coordinates for the least `Objective`, in factors that get
/// finer. Deterministic: the same run gives the same coefficients on every
/// machine.
///
/// FailedPrecondition with fewer than 2 requests that count; Cancelled if
/// `options.stop` says so.
absl::StatusOr<StepFit> FitStepTime(const MeasuredRun& run,
                                    const RequestSet& counts,
                                    const StepFitOptions& options = {});

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_STEP_FIT_H_
