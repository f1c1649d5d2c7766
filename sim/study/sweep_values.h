// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SWEEP_VALUES_H_
#define SIM_STUDY_SWEEP_VALUES_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/report/sweep_report.h"

namespace pagedkv::sim {

/// More combinations than anyone reads.
inline constexpr std::size_t kMaxSweepRuns = 10'000;

/// Reads "name=1,2,5", where a piece may be a range: "8..256*2" (each the
/// double of the one before), "1GiB..8GiB+1GiB", "1..4" (steps of one),
/// "paged-8..paged-128*2". Where there is a ";", it separates the values, which
/// may then hold commas. InvalidArgument in one line.
absl::StatusOr<SweepParameter> ParseSweepParameter(std::string_view text);

/// Every combination of the parameters' values: the last parameter changes
/// fastest. InvalidArgument if a name comes twice or there are more than
/// `kMaxSweepRuns`.
absl::StatusOr<std::vector<std::vector<std::string>>> SweepCombinations(
    const std::vector<SweepParameter>& parameters);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SWEEP_VALUES_H_
