// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_SIM_COMMAND_H_
#define SIM_CLI_SIM_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv sim`: replays a workload through several policies and reports what
/// each makes of the same memory.
void AddSimCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_SIM_COMMAND_H_
