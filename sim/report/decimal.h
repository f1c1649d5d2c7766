// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_DECIMAL_H_
#define SIM_REPORT_DECIMAL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {

/// Numbers as reports print them: the same digits for the same value on every
/// machine.

/// A value with exactly six decimals, as in "96.850000"; never "-0.000000".
std::string FixedDecimal(double value);

/// A number of thousandths without trailing zeros: 1500 is "1.5", 2000 is "2".
std::string ThousandthsToString(std::int64_t thousandths);

/// Nanoseconds as seconds, exact and without trailing zeros.
std::string NanosecondsToSeconds(std::int64_t nanoseconds);

/// A whole number with separators: 1234567 is "1,234,567".
std::string Grouped(std::int64_t value);

/// Splits `units` in proportion to `parts` (none negative) so that the shares
/// sum to `units` exactly: each is rounded down, and what is left over goes one
/// by one to the largest remainders. All zero if the parts are.
/// REQUIRES: units >= 0, and the sum of the parts times `units` fits int128.
std::vector<std::int64_t> Apportion(std::span<const absl::int128> parts,
                                    std::int64_t units);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_DECIMAL_H_
