// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_READ_OPTIONS_H_
#define SIM_CLI_READ_OPTIONS_H_

#include "sim/cli/command.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {

/// Adds the options for how rows of a trace are read, the same for the
/// subcommands that do nothing else with the rows. `options` outlives parsing.
void AddReadOptions(CLI::App& command, WorkloadOptions& options);

/// Adds --sessions alone.
CLI::Option* AddSessionsOption(CLI::App& command, SessionLoop& sessions);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_READ_OPTIONS_H_
