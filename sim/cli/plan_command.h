// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_PLAN_COMMAND_H_
#define SIM_CLI_PLAN_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv plan`: the smallest pool, the fewest GPUs or the highest rate at
/// which targets are met.
void AddPlanCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_PLAN_COMMAND_H_
