// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_TERMINAL_H_
#define SIM_CLI_TERMINAL_H_

#include "sim/report/causes_plot.h"

namespace pagedkv::sim {

/// Unicode where standard output is a terminal and the locale of the
/// environment (LC_ALL, LC_CTYPE, LANG) is of UTF-8; ASCII elsewhere, so that
/// what goes into a file or a pipe does not depend on who runs it.
Glyphs GlyphsOfStandardOutput();

}  // namespace pagedkv::sim

#endif  // SIM_CLI_TERMINAL_H_
