// SPDX-License-Identifier: Apache-2.0
#include "sim/accounting/slot_ledger.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/accounting/causes.h"

namespace pagedkv::sim {

void SlotLedger::Grant(std::size_t sequence, std::int64_t final_slots,
                       std::int64_t requested, std::int64_t granted,
                       std::int64_t now_ns) {
  Holding& holding = holdings_[sequence];
  Settle(holding, now_ns);
  reserved_ -= holding.reserved;
  internal_ -= holding.internal;
  round_up_ -= holding.round_up;
  holding.requested = requested;
  holding.reserved = std::min(requested, final_slots) - holding.present;
  holding.internal = std::max<std::int64_t>(0, requested - final_slots);
  holding.round_up = granted - requested;
  reserved_ += holding.reserved;
  internal_ += holding.internal;
  round_up_ += holding.round_up;
}

void SlotLedger::FillSteps(std::size_t sequence, std::size_t first,
                           std::size_t last, const StepTimes& times) {
  Holding& holding = holdings_[sequence];
  Settle(holding, times.begin_ns(first));
  const auto added = static_cast<std::int64_t>(last - first);
  // In step i the sequence has reserved - 1 - (i - first) slots to go; the last
  // step is settled when something changes next.
  const std::int64_t end_ns = times.begin_ns(last - 1);
  const absl::int128 elapsed = end_ns - times.begin_ns(first);
  holding.integrals.waste += elapsed * (holding.internal + holding.round_up);
  holding.integrals.reserved +=
      elapsed * (holding.reserved - 1 + static_cast<std::int64_t>(first)) -
      (times.moment(last - 1) - times.moment(first));
  holding.since_ns = end_ns;
  holding.present += added;
  holding.reserved -= added;
  token_ += added;
  reserved_ -= added;
}

void SlotLedger::Release(std::size_t sequence, std::int64_t now_ns) {
  Holding& holding = holdings_[sequence];
  Settle(holding, now_ns);
  token_ -= holding.present;
  reserved_ -= holding.reserved;
  internal_ -= holding.internal;
  round_up_ -= holding.round_up;
  holding = Holding{.since_ns = now_ns, .integrals = holding.integrals};
}

CauseSlots SlotLedger::slots() const {
  CauseSlots slots;
  slots[Cause::kToken] = token_;
  slots[Cause::kReserved] = reserved_;
  slots[Cause::kInternal] = internal_;
  slots[Cause::kRoundUp] = round_up_;
  return slots;
}

absl::Status SlotLedger::CheckInvariants() const {
  CauseSlots expected;
  for (std::size_t sequence = 0; sequence < holdings_.size(); ++sequence) {
    const Holding& holding = holdings_[sequence];
    if (holding.present < 0 || holding.reserved < 0 || holding.internal < 0 ||
        holding.round_up < 0 ||
        holding.present + holding.reserved + holding.internal !=
            holding.requested) {
      return absl::InternalError(absl::StrFormat(
          "sequence %d requested %d slots and holds %d tokens, %d reserved, "
          "%d internal, %d round-up",
          sequence, holding.requested, holding.present, holding.reserved,
          holding.internal, holding.round_up));
    }
    expected[Cause::kToken] += holding.present;
    expected[Cause::kReserved] += holding.reserved;
    expected[Cause::kInternal] += holding.internal;
    expected[Cause::kRoundUp] += holding.round_up;
  }
  const CauseSlots found = slots();
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    const Cause cause = static_cast<Cause>(i);
    if (found[cause] != expected[cause]) {
      return absl::InternalError(absl::StrFormat(
          "%d slots of cause %s in the ledger, %d in its holdings",
          found[cause], kCauseNames[i], expected[cause]));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
