// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_PAPER_CHECK_H_
#define SIM_STUDY_PAPER_CHECK_H_

/// A published figure beside ours.

#include <optional>
#include <string>
#include <vector>

#include "sim/report/bootstrap.h"

namespace pagedkv::sim {

/// One figure, how we come by it, and how near it has to be.
struct PaperCheck {
  std::string id = "";  ///< "fig2.orca-max.token"; the first word is the topic
  std::string where = "";    ///< "Fig. 2": where it was published
  std::string setting = "";  ///< in words: what was simulated or computed
  std::string unit = "";     ///< "%", "requests", "B", ...
  /// The published figure; a range where a range was published.
  double expected_lo = 0;
  double expected_hi = 0;
  /// How far from the range ours may be, in `unit`.
  double tolerance = 0;
  /// Ours, one for each seed; a single one where nothing is drawn.
  std::vector<double> values = {};
  /// Of a walk-through: the first fact that is not as published.
  std::string note = "";

  /// REQUIRES: values is not empty.
  [[nodiscard]] double mean() const;
  /// 95 % interval of the mean over the seeds (Student's t); missing with one.
  [[nodiscard]] std::optional<Interval> interval() const;
  /// Whether `mean` is within the tolerance of what was published; never, where
  /// nothing was measured.
  [[nodiscard]] bool passed() const;
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_PAPER_CHECK_H_
