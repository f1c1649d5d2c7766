// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_HIT_BOUNDS_H_
#define SIM_STUDY_HIT_BOUNDS_H_

#include <optional>
#include <span>

#include "pagedkv/types.h"
#include "sim/report/report.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// What no prefix cache hits more than, weighted by blocks of `block_size`: one
/// of any size, and one of `blocks` that knows the future, both with prompts in
/// order of arrival and nothing in use. Missing where there are no block ids,
/// or where prompts show what earlier requests generated: an engine may then
/// find that too, of which the bounds know nothing. O(blocks of the prompts).
std::optional<HitBounds> ComputeHitBounds(
    std::span<const TraceRequest> requests, BlockSize trace_block,
    BlockSize block_size, BlockCount blocks);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_HIT_BOUNDS_H_
