// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SWAP_PLAN_H_
#define SIM_STUDY_SWAP_PLAN_H_

#include <vector>

#include "absl/status/status.h"

#include "pagedkv/types.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/study/pool_plan.h"
#include "sim/study/sim_options.h"

namespace pagedkv::sim {

/// The swap space of --preemption swap, and with the model clock what a token
/// costs on the link: its bytes on one GPU over the bandwidth, as each GPU has
/// a link of its own. --num-swap-blocks are of `block_size`. Fills those parts
/// of `simulation`, whose clock and step times are planned. Errors are as those
/// of `MakeSimPlan`.
absl::Status PlanSwap(const SimOptions& options,
                      const std::vector<Policy>& policies,
                      const ModelPlan& model, BlockSize block_size,
                      SimulationOptions& simulation);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SWAP_PLAN_H_
