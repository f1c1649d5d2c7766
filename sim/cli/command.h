// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_COMMAND_H_
#define SIM_CLI_COMMAND_H_

/// Each subcommand is a pair of files `<name>_command.{h,cc}` with one function
///
///   void Add<Name>Command(CLI::App& app, int& exit_code);
///
/// that adds the subcommand and its options to `app`. When it is chosen, its
/// callback runs it and sets `exit_code`; both arguments outlive parsing.

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace pagedkv::sim {

enum ExitCode : int {
  kExitOk = 0,
  kExitComparisonFailed = 1,  ///< also: a target was not met
  kExitBadInput = 2,          ///< or wrong usage
};

/// Checks that an option is a whole number from 1 to 2^63 - 1. (CLI11's own
/// `PositiveNumber` goes through double, and says so at length.)
[[nodiscard]] CLI::Validator PositiveInteger();

/// Prints "pagedkv: <message>" as one line on stderr; returns kExitBadInput.
int ReportBadInput(const absl::Status& status);

/// Prints to standard output; kExitOk, or kExitBadInput if it cannot be
/// written, which is then said.
int Print(const std::string& text);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_COMMAND_H_
