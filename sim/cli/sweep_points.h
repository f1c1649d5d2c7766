// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_SWEEP_POINTS_H_
#define SIM_CLI_SWEEP_POINTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/cli/command.h"
#include "sim/study/sim_options.h"
#include "sim/study/sweep.h"

namespace pagedkv::sim {

/// Options of `command`, which has those of `AddSimOptions`, as they were
/// given, in a form that can be parsed again with others.
std::vector<std::string> GivenSimArguments(const CLI::App& command);

/// Parses arguments by the options of `AddSimOptions`. InvalidArgument as the
/// program would say it.
absl::StatusOr<SimOptions> ParseSimArguments(
    const std::vector<std::string>& arguments);

/// All combinations of the parameters' values, each with the options given to
/// `command` beside. A parameter is any option of `AddSimOptions` that is not
/// given itself, and "block-size", which is that of the paged policies.
absl::StatusOr<std::vector<SweepPoint>> MakeSweepPoints(
    const CLI::App& command, const std::vector<SweepParameter>& parameters);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_SWEEP_POINTS_H_
