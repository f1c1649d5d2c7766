// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_CALC_COMMAND_H_
#define SIM_CLI_CALC_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv calc`: what the KV cache of a model takes, and what fits.
void AddCalcCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_CALC_COMMAND_H_
