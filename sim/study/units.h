// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_UNITS_H_
#define SIM_STUDY_UNITS_H_

/// Sizes and times as they are written on the command line. GB is 10^9 bytes
/// and GiB is 2^30 bytes, always.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// "12GiB", "800KiB", "24GB", "1.5 TB", "4096" (bytes): not negative, at most
/// six decimals, units in any case, a fraction of a byte dropped.
/// InvalidArgument, or OutOfRange beyond 63 bits, in one line.
absl::StatusOr<Bytes> ParseBytes(std::string_view text);

/// "20ms", "1.5s", "10us", "5ns", "2min", "2h", by the same rules; the unit is
/// required. In nanoseconds.
absl::StatusOr<std::int64_t> ParseDurationNs(std::string_view text);

/// The number of GB, and of GiB, rounded to six decimals.
[[nodiscard]] double ToGb(Bytes bytes);
[[nodiscard]] double ToGib(Bytes bytes);

/// The same as text, without the unit: three decimals, or six below 0.01.
[[nodiscard]] std::string FormatGb(Bytes bytes);
[[nodiscard]] std::string FormatGib(Bytes bytes);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_UNITS_H_
