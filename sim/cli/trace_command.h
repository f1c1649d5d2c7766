// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_TRACE_COMMAND_H_
#define SIM_CLI_TRACE_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv trace inspect | generate | convert`: what a trace holds, a built-in
/// workload as a trace, one format as another.
void AddTraceCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_TRACE_COMMAND_H_
