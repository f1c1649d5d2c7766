// SPDX-License-Identifier: Apache-2.0
#include "sim/report/request_statistics.h"

#include <algorithm>
#include <bit>

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
  lengths_.Add(record.prompt_tokens, record.output_tokens);
  wastes_.Add(waste.waste_slots);
  KeepWorst(waste, &RequestWaste::waste_slots, worst_);
}

std::vector<WasteRange> RequestStatistics::WasteRanges() const {
  std::vector<WasteRange> ranges;
  wastes_.ForEach([&ranges](std::int64_t slots, std::int64_t requests) {
    const auto from = static_cast<std::int64_t>(
        std::bit_floor(static_cast<std::uint64_t>(slots)));
    if (ranges.empty() || ranges.back().from != from) {
      ranges.push_back({from, from == 0 ? 0 : 2 * from - 1, 0});
    }
    ranges.back().requests += requests;
  });
  return ranges;
}

}  // namespace pagedkv::sim
