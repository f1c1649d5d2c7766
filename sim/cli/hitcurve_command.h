// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_HITCURVE_COMMAND_H_
#define SIM_CLI_HITCURVE_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv hitcurve`: hit rate of a prefix cache against its size, by policy.
void AddHitcurveCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_HITCURVE_COMMAND_H_
