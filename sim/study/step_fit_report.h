// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_STEP_FIT_REPORT_H_
#define SIM_STUDY_STEP_FIT_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/study/measured_run.h"
#include "sim/study/step_fit.h"

namespace pagedkv::sim {

/// A figure of the run beside that of its replay. What the run did not measure
/// has no figure.
struct FitFigure {
  std::string name = {};   ///< such as "kv_cache_pct"
  std::string means = {};  ///< what the two values and the error are
  double measured = 0;
  double replayed = 0;
  double error = 0;
  std::optional<double> target = {};  ///< of the error, at the most

  [[nodiscard]] bool met() const { return !target || error <= *target; }
};

/// All figures that the run's data allow, over all of its requests.
std::vector<FitFigure> CompareRun(const MeasuredRun& run,
                                  const ReplayedRun& replayed);

/// A fit to some of the requests, tried on the others.
struct HeldOut {
  std::string name;  ///< which were fitted
  StepFit fit;
  RequestErrors fitted;
  RequestErrors unseen;
};

/// What `pagedkv fit` found out.
struct StepFitReport {
  MeasuredRun run;
  StepFit fit;  ///< to all requests; named, with its source
  ReplayedRun replayed;
  RequestErrors errors;
  std::vector<FitFigure> figures;
  std::vector<HeldOut> held_out;

  [[nodiscard]] bool AllMet() const;
};

/// For people: settings, coefficients, figures, and those on unseen requests.
std::string StepFitToText(const StepFitReport& report);
/// The same as canonical JSON ("pagedkv.fit/1").
std::string StepFitToJson(const StepFitReport& report);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_STEP_FIT_REPORT_H_
