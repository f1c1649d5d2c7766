// SPDX-License-Identifier: Apache-2.0
#include "sim/report/admission_log.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "sim/accounting/causes.h"
#include "sim/report/decimal.h"

namespace pagedkv::sim {

void AdmissionLog::OnSample(const Sample& sample) {
  const std::int64_t end_ns = sample.begin_ns + sample.duration_ns;
  const auto found = under_way_.find(sample.replica);
  if (found != under_way_.end()) {
    Stretch& stretch = found->second;
    if (stretch.end_ns == sample.begin_ns &&
        stretch.first.head == sample.head &&
        stretch.first.blocked == sample.blocked) {
      stretch.end_ns = end_ns;
      return;
    }
    Append(stretch);
    under_way_.erase(found);
  }
  if (sample.waiting == 0 || sample.blocked == Cause::kIdle) return;
  under_way_.emplace(sample.replica, Stretch{sample, end_ns});
}

void AdmissionLog::Append(const Stretch& stretch) {
  const Sample& first = stretch.first;
  const CauseSlots& slots = first.slots;
  absl::StrAppendFormat(&lines_, "%s,%d,%s,%s,%d,%s,%d,%d,%d\n", policy_id_,
                        first.replica, NanosecondsToSeconds(first.begin_ns),
                        NanosecondsToSeconds(stretch.end_ns - first.begin_ns),
                        first.head,
                        kCauseNames[static_cast<std::size_t>(first.blocked)],
                        slots.total() - slots.allocated() - slots[Cause::kTail],
                        first.largest_free_slots, first.waiting);
}

std::string AdmissionLog::TakeLines() { return std::exchange(lines_, {}); }

void AdmissionLog::Finish() {
  for (const auto& [replica, stretch] : under_way_) Append(stretch);
  under_way_.clear();
}

}  // namespace pagedkv::sim
