// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/command.h"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {

CLI::Validator PositiveInteger() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        std::int64_t value = 0;
        if (absl::SimpleAtoi(text, &value) && value >= 1) return "";
        return absl::StrFormat("'%s' is not a whole number from 1 to 2^63 - 1",
                               text);
      },
      "POSITIVE", "positive integer");
}

int ReportBadInput(const absl::Status& status) {
  std::string line(status.message());
  // A name from the command line or a file may hold anything.
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; },
      ' ');
  std::cerr << "pagedkv: " << line << '\n';
  return kExitBadInput;
}

int Print(const std::string& text) {
  std::cout << text << std::flush;
  if (std::cout) return kExitOk;
  return ReportBadInput(
      absl::UnavailableError("standard output cannot be written"));
}

}  // namespace pagedkv::sim
