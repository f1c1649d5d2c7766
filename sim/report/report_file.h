// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REPORT_FILE_H_
#define SIM_REPORT_REPORT_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace pagedkv::sim {

/// What `pagedkv sim --sweep` writes; see report/sweep_json.h.
inline constexpr std::string_view kSweepSchema = "pagedkv.sweep/1";

/// A report or a sweep that this program wrote, with the file that it is from.
struct ReportFile {
  std::string path;
  nlohmann::json document;

  [[nodiscard]] bool is_sweep() const;
  [[nodiscard]] std::string hash() const;
};

/// Reads a file and checks that it is what was written: of a known schema, and
/// with the hash that it states. Errors are one line that names the file.
absl::StatusOr<ReportFile> ReadReportFile(const std::string& path);

/// The same for a text that is already there.
absl::StatusOr<ReportFile> ParseReportFile(std::string_view text,
                                           const std::string& path);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REPORT_FILE_H_
