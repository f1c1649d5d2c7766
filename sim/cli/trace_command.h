// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_TRACE_COMMAND_H_
#define SIM_CLI_TRACE_COMMAND_H_

#include "sim/cli/command.h"

namespace pagedkv::sim {

/// `pagedkv trace inspect | generate | convert | fit`: what a trace holds, a
/// generated workload as a trace, one format as another, a description of a
/// workload like a trace.
void AddTraceCommand(CLI::App& app, int& exit_code);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_TRACE_COMMAND_H_
