// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/command.h"

#include <algorithm>
#include <iostream>
#include <string>

namespace pagedkv::sim {

int ReportBadInput(const absl::Status& status) {
  std::string line(status.message());
  // A name from the command line or a file may hold anything.
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; },
      ' ');
  std::cerr << "pagedkv: " << line << '\n';
  return kExitBadInput;
}

}  // namespace pagedkv::sim
