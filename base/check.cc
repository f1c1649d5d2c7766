// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdlib>
#include <string>

#include "base/log.h"

namespace pagedkv::internal {

void CheckFailed(const char* file, int line, const char* condition) {
  Log(LogLevel::kError, std::string(file) + ":" + std::to_string(line) +
                            ": invariant broken: " + condition);
  std::abort();
}

}  // namespace pagedkv::internal
