// SPDX-License-Identifier: Apache-2.0
#include "sim/study/hit_bounds.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/offline_optimum.h"
#include "sim/trace/rechunk.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

std::optional<HitBounds> ComputeHitBounds(
    std::span<const TraceRequest> requests, BlockSize trace_block,
    BlockSize block_size, BlockCount blocks) {
  std::vector<TraceRequest> rechunked;
  rechunked.reserve(requests.size());
  for (const TraceRequest& request : requests) {
    if (!request.output_block_ids.empty()) return std::nullopt;
    TraceRequest& copy = rechunked.emplace_back();
    copy.arrival_ns = request.arrival_ns;
    copy.prompt_tokens = request.prompt_tokens;
    copy.block_ids = Rechunk(request.block_ids, trace_block,
                             TokenCount(request.prompt_tokens), block_size);
  }
  const absl::StatusOr<BlockTrace> trace =
      BlockTrace::Create(rechunked, block_size.value());
  if (!trace.ok()) return std::nullopt;  // without block ids
  const std::vector<std::uint32_t> next_uses = NextUses(*trace);
  const auto rate_of = [&](BlockCount capacity) {
    return SimulateOfflineOptimum(*trace, next_uses, capacity).rates().block;
  };
  return HitBounds{
      .infinite = rate_of(std::max(BlockCount(1), trace->num_contents())),
      .optimum = rate_of(std::max(BlockCount(1), blocks))};
}

}  // namespace pagedkv::sim
