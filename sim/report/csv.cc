// SPDX-License-Identifier: Apache-2.0
#include "sim/report/csv.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

/// sum / weight in thousandths, rounded half up. REQUIRES: weight > 0.
std::int64_t MeanThousandths(absl::int128 sum, absl::int128 weight) {
  return static_cast<std::int64_t>((sum * 1000 + weight / 2) / weight);
}

std::string TimeOrEmpty(std::int64_t nanoseconds) {
  return nanoseconds < 0 ? "" : NanosecondsToSeconds(nanoseconds);
}

}  // namespace

std::string TimeseriesRows(std::string_view policy_id,
                           const RunStatistics& statistics) {
  std::string rows;
  for (std::size_t i = 0; i < statistics.windows().size(); ++i) {
    const StatisticsWindow& window = statistics.windows()[i];
    const ExactIntegrals& time = window.time;
    if (time.weight == 0) continue;
    absl::int128 total = 0;
    for (absl::int128 slots : time.slots) total += slots;
    const std::int64_t capacity = MeanThousandths(total, time.weight);

    absl::StrAppendFormat(
        &rows, "%s,%s,%s,%s", policy_id,
        NanosecondsToSeconds(static_cast<std::int64_t>(i) *
                             statistics.window_ns()),
        NanosecondsToSeconds(static_cast<std::int64_t>(time.weight)),
        ThousandthsToString(capacity));
    for (std::int64_t share : Apportion(time.slots, capacity)) {
      rows += ',' + ThousandthsToString(share);
    }
    absl::StrAppendFormat(
        &rows, ",%s,%s,%d,%s\n",
        ThousandthsToString(MeanThousandths(time.running, time.weight)),
        ThousandthsToString(MeanThousandths(time.waiting, time.weight)),
        window.preemptions,
        ThousandthsToString(MeanThousandths(time.largest_free, time.weight)));
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
