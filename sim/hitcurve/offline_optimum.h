// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_OFFLINE_OPTIMUM_H_
#define SIM_HITCURVE_OFFLINE_OPTIMUM_H_

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "pagedkv/types.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/hit_counts.h"

namespace pagedkv::sim {

inline constexpr std::uint32_t kNeverUsedAgain =
    std::numeric_limits<std::uint32_t>::max();

/// For each reference of the trace, the next request that refers to its
/// content, or `kNeverUsedAgain`. O(references).
[[nodiscard]] std::vector<std::uint32_t> NextUses(const BlockTrace& trace);

/// The hits of a cache of `capacity` blocks that knows the future: after each
/// request it keeps, of what it held and the request's blocks, those whose next
/// use is nearest, counted in requests (Belady 1966). Where two are next used
/// by the same request, the one further from the beginning of its prompt goes.
///
/// As every request refers to a whole prefix, a block is never needed before
/// those in front of it, so what stays is whole prefixes. Where each id stands
/// for its prefix (`trace inspect --strict`), no policy has more hits by
/// blocks; by tokens and by requests one may, as partial blocks and long
/// prompts weigh less there. It may drop a request's own blocks at once, which
/// no engine can: a bound, not a policy. `next_uses` are those of the trace.
///
/// O(references log capacity), memory O(contents).
[[nodiscard]] HitCounts SimulateOfflineOptimum(
    const BlockTrace& trace, std::span<const std::uint32_t> next_uses,
    BlockCount capacity);

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_OFFLINE_OPTIMUM_H_
