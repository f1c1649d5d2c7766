// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_HIT_CURVE_H_
#define SIM_HITCURVE_HIT_CURVE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/hit_counts.h"

namespace pagedkv::sim {

/// The name, beside those of `EvictionPolicyNames`, of what no policy beats.
inline constexpr std::string_view kOptimumName = "optimum";

/// All that a hit curve can be asked for: the policies of the library, and
/// `kOptimumName` last.
[[nodiscard]] std::vector<std::string> HitCurveNames();

struct HitCurveOptions {
  /// Sizes of the cache, each at least 1; they are put in order. Empty: steps
  /// of 1, 2 and 5 up to the need of LRU.
  std::vector<BlockCount> sizes = {};
  std::vector<std::string> policies = HitCurveNames();
};

enum class HitCurveMethod : std::uint8_t {
  kStackDistances,  ///< exact, all sizes in one pass: LRU
  kSimulated,       ///< a `PolicyCache` for each size
  kOffline,         ///< knows the future
};
[[nodiscard]] std::string_view MethodName(HitCurveMethod method);

/// Hit rate against size of the cache, in blocks of the trace.
struct HitCurve {
  struct Row {
    std::string policy;
    HitCurveMethod method;
    std::vector<HitCounts> counts;  ///< one for each size
  };
  std::vector<BlockCount> sizes;  ///< ascending, without repetition
  std::vector<Row> rows;          ///< in the order that was asked for
  HitCounts unbounded;            ///< of a cache that never evicts
  BlockCount lru_need;            ///< the least at which LRU hits as much
};

/// Replays the trace for each policy and size, on as many threads as there are
/// processors; the result does not depend on them. InvalidArgument for an
/// unknown policy, one that is named twice, or a size below 1.
///
/// Takes O(references) per size and policy, more with a policy of that kind,
/// and O(contents) memory per thread beside the trace.
absl::StatusOr<HitCurve> ComputeHitCurve(const BlockTrace& trace,
                                         const HitCurveOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_HIT_CURVE_H_
