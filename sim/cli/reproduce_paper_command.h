// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_REPRODUCE_PAPER_COMMAND_H_
#define SIM_CLI_REPRODUCE_PAPER_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv reproduce-paper`: published figures beside ours; exit 1 if one of
/// ours is too far off.
void AddReproducePaperCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_REPRODUCE_PAPER_COMMAND_H_
