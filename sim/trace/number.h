// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_NUMBER_H_
#define SIM_TRACE_NUMBER_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace pagedkv::sim {

/// The readers of numbers that all formats share. Each reads the whole of
/// `text` or returns false and says in `error` what it expected and found.

/// Tokens: a whole number from 0 to 2^31 - 1.
[[nodiscard]] bool ParseTokens(std::string_view text, std::int32_t& tokens,
                               std::string& error);

/// A time of `unit_ns` nanoseconds per unit: a decimal number, not negative, up
/// to 292 years. Exact to the nanosecond, finer digits are cut off, unless it
/// has an exponent.
[[nodiscard]] bool ParseTime(std::string_view text, std::int64_t unit_ns,
                             std::int64_t& time_ns, std::string& error);

/// Nanoseconds since 1970 from "2023-11-16 18:15:46[.6805900][+00:00]": any
/// number of fractional digits, "T" for the space, "Z" or an offset for UTC.
/// Years 1970 to 2199.
[[nodiscard]] bool ParseDateTime(std::string_view text, std::int64_t& time_ns,
                                 std::string& error);

/// `text` as it may stand in a message: cut after some characters, and whatever
/// is not printable escaped.
[[nodiscard]] std::string Quote(std::string_view text);

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_NUMBER_H_
