// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CAPACITY_REPORT_H_
#define SIM_REPORT_CAPACITY_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"

#include "pagedkv/types.h"
#include "sim/report/metric_table.h"

namespace pagedkv::sim {

/// What `pagedkv plan` looks for.
enum class CapacityGoal {
  kMemory,  ///< fewest blocks; amounts are blocks
  kGpus,    ///< fewest GPUs; amounts are replicas
  kRate,    ///< highest rate; amounts are requests per 1000 s
};
/// "memory", "gpus" and "rate".
std::string_view GoalName(CapacityGoal goal);

/// A figure and what it has to reach.
struct CapacityTarget {
  TargetMetric metric;
  double limit = 0;
  bool implied = false;  ///< nobody asked, but no answer is one without it
};

/// One simulation, or why there was none.
struct CapacityProbe {
  std::int64_t amount = 0;
  /// Of each target; missing where the run has no such figure.
  std::vector<std::optional<double>> values;
  bool meets = false;
  std::string problem;  ///< empty: it was simulated
};

/// Where a figure breaks away, from the easiest amount to harder ones.
struct CapacityCliff {
  std::int64_t holds_at = 0;   ///< the last amount before
  std::int64_t breaks_at = 0;  ///< the first amount after
  double before = 0;           ///< the figure at `holds_at`
  double after = 0;            ///< and at `breaks_at`
};

/// A tenth of the limit is added to each figure, so that what is far below the
/// limit does not count as a rise.
inline constexpr std::string_view kCliffRule =
    "the steepest worsening between amounts at least 4 % apart, where it is "
    "steeper than the square of the amount; a tenth of the limit is added to "
    "each figure";

/// The search for one policy, and one split over GPUs.
struct CapacitySearch {
  std::string policy;
  std::int32_t tensor_parallel = 1;
  std::int32_t pipeline_parallel = 1;
  std::int32_t block_size = 16;      ///< of amounts that are blocks
  std::optional<Bytes> token_bytes;  ///< missing: not known
  bool more_is_easier = true;
  std::vector<CapacityProbe> probes;  ///< by amount
  std::optional<std::int64_t> answer;

  /// REQUIRES: it was tried.
  [[nodiscard]] const CapacityProbe& At(std::int64_t amount) const;
  /// The first target that fails next to the answer, or everywhere; missing if
  /// none does.
  [[nodiscard]] std::optional<std::size_t> Binding(
      const std::vector<CapacityTarget>& targets) const;
  [[nodiscard]] std::optional<CapacityCliff> Cliff(const CapacityTarget& target,
                                                   std::size_t index) const;
  /// Whether every amount easier than one that meets does too.
  [[nodiscard]] bool IsMonotone() const;
  [[nodiscard]] std::int64_t num_gpus() const;
};

/// How much harder it may get than at the answer before the cliff, in percent
/// of the answer; negative if the answer is beyond it.
double MarginPct(const CapacitySearch& search, const CapacityCliff& cliff);

struct CapacityReport {
  CapacityGoal goal = CapacityGoal::kMemory;
  std::vector<CapacityTarget> targets;
  double precision = 0.01;
  std::vector<CapacitySearch> searches;
  /// Inputs, model, clock and limits, as in a report.
  nlohmann::json conditions;
  std::string version;

  /// The best answer for each policy that has one, in order.
  [[nodiscard]] std::vector<const CapacitySearch*> Best() const;
};

/// What was looked for, and under what conditions.
std::vector<std::string> CapacityHeadLines(const CapacityReport& report);
/// What was found, a line each: answers, cliffs and margins.
std::vector<std::string> CapacityFindings(const CapacityReport& report);
std::string CapacityToText(const CapacityReport& report);
std::string CapacityToMarkdown(const CapacityReport& report);
/// `pagedkv.plan/1` (plan.schema.json) in canonical text (canonical_json.h).
std::string CapacityToJson(const CapacityReport& report);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CAPACITY_REPORT_H_
