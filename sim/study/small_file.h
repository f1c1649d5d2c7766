// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SMALL_FILE_H_
#define SIM_STUDY_SMALL_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pagedkv::sim {

/// All of a file of at most 16 MiB. NotFound if it cannot be read, and
/// InvalidArgument if it is larger, in one line that asks for `wanted`.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path,
                                          std::string_view wanted);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SMALL_FILE_H_
