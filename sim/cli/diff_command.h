// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_DIFF_COMMAND_H_
#define SIM_CLI_DIFF_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv diff`: which figures of two reports differ, and whether for worse.
void AddDiffCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_DIFF_COMMAND_H_
