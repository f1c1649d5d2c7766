// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/memory_visitor.h"

#include <algorithm>

namespace pagedkv::sim {

void ShowGrant(const PlacedGrant& grant, MemoryVisitor& visitor) {
  std::int64_t from = 0;
  const auto show_until = [&](std::int64_t until, SlotUse use) {
    if (until <= from) return;
    visitor.OnRun({.begin = grant.begin + from,
                   .slots = until - from,
                   .use = use,
                   .owner = grant.owner});
    from = until;
  };
  show_until(grant.present, SlotUse::kToken);
  show_until(std::min(grant.requested, grant.final_slots), SlotUse::kReserved);
  show_until(grant.requested, SlotUse::kInternal);
  show_until(grant.granted, SlotUse::kRoundUp);
}

}  // namespace pagedkv::sim
