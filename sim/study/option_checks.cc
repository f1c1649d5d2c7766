// SPDX-License-Identifier: Apache-2.0
#include "sim/study/option_checks.h"

#include <string>

#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {

absl::Status OptionError(const std::string& message) {
  return absl::InvalidArgumentError(message);
}

absl::Status InOption(std::string_view option, const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrFormat("%s: %s", option, std::string(status.message())));
}

std::vector<std::string_view> NamesGiven(
    std::initializer_list<GivenOption> options) {
  std::vector<std::string_view> names;
  for (const GivenOption& option : options) {
    if (option.given) names.push_back(option.name);
  }
  return names;
}

absl::Status Refuse(std::initializer_list<GivenOption> options,
                    std::string_view reason) {
  const std::vector<std::string_view> names = NamesGiven(options);
  if (names.empty()) return absl::OkStatus();
  return OptionError(absl::StrFormat("%s %s", names.front(), reason));
}

absl::Status AtMostOne(std::initializer_list<GivenOption> options) {
  const std::vector<std::string_view> names = NamesGiven(options);
  if (names.size() <= 1) return absl::OkStatus();
  return OptionError(absl::StrFormat(
      "%s and %s contradict each other: give one", names[0], names[1]));
}

absl::Status CheckRange(std::string_view option, std::int64_t value,
                        std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return OptionError(absl::StrFormat("%s must be from %d to %s", option, least,
                                     Grouped(most)));
}

}  // namespace pagedkv::sim
