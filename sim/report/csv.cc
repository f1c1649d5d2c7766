// SPDX-License-Identifier: Apache-2.0
#include "sim/report/csv.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"
#include "sim/report/window_means.h"

namespace pagedkv::sim {
namespace {

std::string TimeOrEmpty(std::int64_t nanoseconds) {
  return nanoseconds < 0 ? "" : NanosecondsToSeconds(nanoseconds);
}

}  // namespace

std::string TimeseriesRows(std::string_view policy_id,
                           const RunStatistics& statistics) {
  std::string rows;
  for (const WindowMeans& window : MeansOfWindows(statistics)) {
    absl::StrAppendFormat(&rows, "%s,%s,%s,%s", policy_id,
                          NanosecondsToSeconds(window.begin_ns),
                          NanosecondsToSeconds(window.length_ns),
                          ThousandthsToString(window.capacity));
    for (std::int64_t slots : window.causes) {
      rows += ',' + ThousandthsToString(slots);
    }
    absl::StrAppendFormat(
        &rows, ",%s,%s,%d,%s\n", ThousandthsToString(window.running),
        ThousandthsToString(window.waiting), window.preemptions,
        ThousandthsToString(window.largest_free));
  }
  return rows;
}

std::string RequestRow(std::string_view policy_id,
                       const RequestRecord& record) {
  std::string_view blocked_cause;
  if (record.rejected) {
    blocked_cause = "rejected";
  } else if (record.blocked_cause != Cause::kToken) {
    blocked_cause = kCauseNames[static_cast<std::size_t>(record.blocked_cause)];
  }
  return absl::StrFormat(
      "%s,%d,%s,%d,%d,%s,%s,%d,%s,%s,%d,%d,%s,%s\n", policy_id, record.id,
      NanosecondsToSeconds(record.arrival_ns), record.prompt_tokens,
      record.output_tokens, TimeOrEmpty(record.admit_ns),
      TimeOrEmpty(record.finish_ns), record.slots_granted,
      FixedDecimal(record.waste_slot_s), FixedDecimal(record.reserved_slot_s),
      record.preemptions, record.hit_tokens, blocked_cause,
      TimeOrEmpty(record.first_token_ns));
}

}  // namespace pagedkv::sim
