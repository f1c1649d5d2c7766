// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_PLAIN_ROW_H_
#define SIM_TRACE_PLAIN_ROW_H_

#include <cstdint>
#include <string_view>

#include "sim/trace/row_parser.h"

namespace pagedkv::sim {

/// Reads rows of the shape that all rows of the Azure traces have,
/// "2024-05-10 00:00:00[.009930][+00:00],2162,5", in a fraction of the time of
/// the general parser, since the dates of neighbours differ in the seconds
/// only. Thread-compatible.
class PlainRowReader {
 public:
  /// Overwrites arrival and lengths of `row` by what the general parser would
  /// read. False: the row is of another shape, or malformed, which the general
  /// parser is to find out; those of `row` are unspecified then. `line` has
  /// `LineReader::kPadding` readable bytes after it.
  [[nodiscard]] bool Read(std::string_view line, TraceRow& row);

 private:
  static constexpr std::size_t kMinuteSize = 17;  // "2024-05-10 00:00:"

  /// Makes the minute that `line` begins with the one at hand.
  bool ReadMinute(const char* line);

  char minute_[kMinuteSize] = {};
  std::int64_t minute_ns_ = 0;  // since 1970
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_PLAIN_ROW_H_
