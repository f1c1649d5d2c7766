// SPDX-License-Identifier: Apache-2.0
#include "sim/report/request_statistics.h"

#include <algorithm>
#include <tuple>

#include "sim/replay/policy.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

void RequestStatistics::Add(const RequestRecord& record) {
  if (record.rejected) return;
  TraceRequest request;
  request.prompt_tokens = record.prompt_tokens;
  request.output_tokens = record.output_tokens;
  const RequestWaste waste{
      record.id, record.prompt_tokens, record.output_tokens,
      std::max<std::int64_t>(0, record.slots_granted - FinalSlots(request))};
  wastes_.Add(waste.waste_slots);

  const auto before = [](const RequestWaste& a, const RequestWaste& b) {
    return std::tuple(-a.waste_slots, a.id) < std::tuple(-b.waste_slots, b.id);
  };
  if (worst_.size() == kNumWorst) {
    if (!before(waste, worst_.back())) return;
    worst_.pop_back();
  }
  worst_.insert(std::upper_bound(worst_.begin(), worst_.end(), waste, before),
                waste);
}

}  // namespace pagedkv::sim
