// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_OPTION_CHECKS_H_
#define SIM_STUDY_OPTION_CHECKS_H_

/// Errors about options of the command line: one line that names the option.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv::sim {

/// InvalidArgument.
absl::Status OptionError(const std::string& message);

/// `status` with the option that it is about in front.
absl::Status InOption(std::string_view option, const absl::Status& status);

/// An option of which some may not be given together, or only with others.
struct GivenOption {
  std::string_view name;
  bool given;
};

std::vector<std::string_view> NamesGiven(
    std::initializer_list<GivenOption> options);

/// An error for the first option that is given, for a reason that reads on
/// after its name.
absl::Status Refuse(std::initializer_list<GivenOption> options,
                    std::string_view reason);

absl::Status AtMostOne(std::initializer_list<GivenOption> options);

absl::Status CheckRange(std::string_view option, std::int64_t value,
                        std::int64_t least, std::int64_t most);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_OPTION_CHECKS_H_
