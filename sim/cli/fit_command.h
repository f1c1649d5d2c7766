// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_FIT_COMMAND_H_
#define SIM_CLI_FIT_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv fit`: step times from a measured run, and how good they are.
void AddFitCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_FIT_COMMAND_H_
