// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_HITCURVE_REPORT_H_
#define SIM_CLI_HITCURVE_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "pagedkv/types.h"
#include "sim/hitcurve/hit_curve.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// What a hit rate is taken over; see `HitRates`.
enum class HitWeight : std::uint8_t { kBlock, kToken, kRequest };

/// A hit curve with where it comes from.
struct HitcurveReport {
  TraceSummary trace;
  BlockCount num_contents;  ///< distinct blocks of the trace
  HitCurve curve;
};

/// The trace and what it asks for, a line each.
std::vector<std::string> HitcurveFacts(const HitcurveReport& report);
[[nodiscard]] double HitRateOf(const HitCounts& counts, HitWeight weight);

/// Each text ends with a newline. For a terminal or a document: a line for each
/// policy, a column for each size, a table for each weight (at least one).
std::string HitcurveToText(const HitcurveReport& report,
                           const std::vector<HitWeight>& weights);
std::string HitcurveToMarkdown(const HitcurveReport& report,
                               const std::vector<HitWeight>& weights);
/// For a script: a header, then a line for each policy and size, and one for a
/// cache that never evicts; a column for each weight.
std::string HitcurveToCsv(const HitcurveReport& report,
                          const std::vector<HitWeight>& weights);
/// As pagedkv.hitcurve/1: keys sorted, sizes in blocks of the trace, rates from
/// 0 to 1 rounded to six decimals.
std::string HitcurveToJson(const HitcurveReport& report,
                           const std::vector<HitWeight>& weights);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_HITCURVE_REPORT_H_
