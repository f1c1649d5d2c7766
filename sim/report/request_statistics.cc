// SPDX-License-Identifier: Apache-2.0
#include "sim/report/request_statistics.h"

#include <algorithm>

#include "sim/replay/policy.h"
#include "sim/report/worst_requests.h"
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
  KeepWorst(waste, &RequestWaste::waste_slots, worst_);
}

}  // namespace pagedkv::sim
