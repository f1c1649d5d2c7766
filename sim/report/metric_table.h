// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_METRIC_TABLE_H_
#define SIM_REPORT_METRIC_TABLE_H_

/// The figures of a report by name, as sweeps, plans and comparisons speak of
/// them. They are read off the report's document, so that what a file says and
/// what a run of this program says are the same thing.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"

#include "sim/report/metrics.h"

namespace pagedkv::sim {

/// Which way a figure gets better.
enum class Direction { kLowerIsBetter, kHigherIsBetter, kNeutral };

/// One figure of one policy. Its name is the path to it in the report, such as
/// "waste_pct" or "preempt.count".
struct NamedFigure {
  std::string name;
  Estimate value;
};

/// All figures of `result`, which is a member of `results` in a report: every
/// number that is there, but for those that describe lists and intervals.
std::vector<NamedFigure> FiguresOf(const nlohmann::json& result);

/// By the name of a figure; kNeutral for what the table does not know.
Direction DirectionOf(std::string_view figure);
/// Whether the figure is a percentage, so that it changes by points.
bool IsPercentage(std::string_view figure);

enum class TargetUnit { kSeconds, kPercent, kShare, kNumber };

/// A figure that something can be asked to reach: `pagedkv plan`.
struct TargetMetric {
  std::string_view name;  ///< as in --target-<name>
  std::string_view path;  ///< a JSON pointer into a result
  TargetUnit unit = TargetUnit::kNumber;
  /// Never neutral: the figure has to stay at or below the target, or at or
  /// above it.
  Direction direction = Direction::kLowerIsBetter;
  bool per_request = false;  ///< divided by the requests offered
  std::string_view meaning;  ///< for --help
};

std::span<const TargetMetric> TargetMetrics();

/// Missing where the report does not have the figure.
std::optional<double> TargetValue(const nlohmann::json& result,
                                  const TargetMetric& metric);

/// Whether `value` meets `target`.
bool Meets(const TargetMetric& metric, double value, double target);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_METRIC_TABLE_H_
