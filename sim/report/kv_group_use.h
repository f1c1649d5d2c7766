// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_KV_GROUP_USE_H_
#define SIM_REPORT_KV_GROUP_USE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_plan.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/report/length_counts.h"

namespace pagedkv::sim {

/// The cache of a model whose layers keep different tokens.
struct HybridCache {
  KvGeometry geometry;
  KvCachePlan plan;
};

/// Mean bytes of a sequence, rounded, and what part of them all was of no use.
struct MeanKvUse {
  Bytes held{0};
  Bytes needed{0};
  double wasted_pct = 0;
};

/// What the sequences of a workload take of one KV cache group, or of all.
struct KvGroupUse {
  MeanKvUse final_length;  ///< over requests, each at its last token
  MeanKvUse residency;     ///< over their steps: of a resident sequence
};

/// What the requests of a workload would take of each KV cache group. It is a
/// matter of their lengths alone: neither policy nor pool has a part in it.
struct KvGroupsReport {
  BlockSize block_size{16};  ///< of the geometry
  KvCachePlan plan;
  std::vector<KvGroupUse> groups;  ///< as in the plan
  KvGroupUse all;                  ///< of all groups together
  /// Without groups: blocks that hold all tokens in all layers.
  KvGroupUse uniform;
};

/// OutOfRange where the bytes of a sequence do not fit 63 bits.
absl::StatusOr<KvGroupsReport> ComputeKvGroupUse(const HybridCache& cache,
                                                 const LengthCounts& lengths);

/// What a group is called: "full", "sliding_window", ...
[[nodiscard]] std::string_view KvGroupKindName(pagedkv::AttentionKind kind);
/// A group in words: "sliding_window 1024: 11 layers + 1 empty".
[[nodiscard]] std::string KvGroupLabel(const KvCacheGroup& group);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_KV_GROUP_USE_H_
