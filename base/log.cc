// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <memory>

#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace pagedkv::internal {
namespace {

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

void Log(LogLevel level, std::string_view message) {
  std::shared_ptr<spdlog::logger> logger = spdlog::get("pagedkv");
  if (logger == nullptr) {
    static const auto fallback = std::make_shared<spdlog::logger>(
        "pagedkv", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger = fallback;
  }
  logger->log(SpdlogLevel(level), "{}", message);
}

}  // namespace pagedkv::internal
