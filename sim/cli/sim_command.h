// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_SIM_COMMAND_H_
#define SIM_CLI_SIM_COMMAND_H_

#include "sim/cli/command.h"
#include "sim/study/sim_options.h"

namespace pagedkv::sim {

/// `pagedkv sim`: replays a workload through several policies and reports what
/// each makes of the same memory.
void AddSimCommand(CLI::App& app, int& exit_code);

/// The options that say what is simulated, for every command that simulates.
/// `options` outlives parsing.
void AddSimOptions(CLI::App& command, SimOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_SIM_COMMAND_H_
