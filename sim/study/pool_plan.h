// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_POOL_PLAN_H_
#define SIM_STUDY_POOL_PLAN_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/catalogue/model_config.h"
#include "sim/report/kv_group_use.h"
#include "sim/report/report.h"
#include "sim/study/sim_options.h"

namespace pagedkv::sim {

/// The model with the memory that its cache takes.
struct ModelPlan {
  ReportModel report;
  /// What each rank of each pipeline stage holds; empty if only the bytes per
  /// token are known, or not even they.
  std::vector<KvGeometry> stages;
  /// The whole model on one rank; only if its layers keep different tokens.
  std::optional<HybridCache> hybrid;
  std::int64_t num_ranks = 1;
  Bytes weights{0};               ///< of the whole model; 0: not known
  std::optional<ModelSpec> spec;  ///< missing: only bytes per token, or nothing
};

/// Scales that tokens share are laid out for blocks of `block_size`. Errors are
/// as those of `MakeSimPlan`.
absl::StatusOr<ModelPlan> PlanModel(const SimOptions& options,
                                    BlockSize block_size);

/// The format of --dtype; missing: the model's own.
absl::StatusOr<std::optional<KvFormat>> PlanKvFormat(const SimOptions& options);

/// Slots that `budget` bytes on each rank hold. REQUIRES: the bytes of a token
/// are known.
TokenCount SlotsOf(const ModelPlan& model, Bytes budget);

/// The pool that the options ask for; --num-blocks are of `block_size`. With
/// the roofline, --gpu may stand beside another way to give the pool, and then
/// says only whose speed it is.
absl::StatusOr<ReportPool> PlanPool(const SimOptions& options,
                                    const ModelPlan& model,
                                    BlockSize block_size);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_POOL_PLAN_H_
