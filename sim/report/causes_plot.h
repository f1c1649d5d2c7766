// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CAUSES_PLOT_H_
#define SIM_REPORT_CAUSES_PLOT_H_

#include <cstdint>
#include <string>

#include "sim/report/report.h"

namespace pagedkv::sim {

/// What the characters of a plot are taken from.
enum class Glyphs : std::uint8_t { kAscii, kUnicode };

/// A bar for each policy that shows where the pool goes: 50 columns, shared
/// out to the eleven causes so that none is lost by rounding, and a key of the
/// causes that occur. Lines of text, without colours.
std::string CausesPlot(const Report& report, Glyphs glyphs);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CAUSES_PLOT_H_
