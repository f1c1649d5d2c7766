// SPDX-License-Identifier: Apache-2.0
#ifndef BASE_LOG_H_
#define BASE_LOG_H_

#include <string_view>

namespace pagedkv::internal {

enum class LogLevel { kInfo, kWarning, kError };

/// Writes one line to the logger "pagedkv" of spdlog, which an embedding
/// program may register to send the library's few messages where it wants;
/// otherwise to standard error. Thread-safe. Never on a hot path.
void Log(LogLevel level, std::string_view message);

}  // namespace pagedkv::internal

#endif  // BASE_LOG_H_
