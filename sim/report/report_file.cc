// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report_file.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/catalogue/json_text.h"
#include "sim/report/canonical_json.h"
#include "sim/report/json_value.h"
#include "sim/report/report_json.h"

namespace pagedkv::sim {

using nlohmann::json;

bool ReportFile::is_sweep() const {
  return TextAt(document, "/schema") == kSweepSchema;
}

std::string ReportFile::hash() const { return TextAt(document, "/hash"); }

absl::StatusOr<ReportFile> ParseReportFile(std::string_view text,
                                           const std::string& path) {
  absl::StatusOr<json> document = ParseJson(text, path);
  if (!document.ok()) return document.status();
  const auto bad = [&](const std::string& problem) {
    return absl::InvalidArgumentError(path + ": " + problem);
  };
  const std::string schema = TextAt(*document, "/schema");
  if (schema != kReportSchema && schema != kSweepSchema) {
    return bad(absl::StrFormat(
        "%s: give a report.json or sweep.json of pagedkv sim",
        schema.empty() ? "this is no report"
                       : "schema '" + schema + "' is not known"));
  }
  const std::string stated = TextAt(*document, "/hash");
  if (stated.empty()) {
    return bad("the report has no hash: it was edited, or cut short");
  }
  const std::string hash = HashOfDocument(*document);
  if (hash != stated) {
    return bad(absl::StrFormat(
        "the report was edited: it states hash %s..., but its content has "
        "%s...: run pagedkv sim again",
        stated.substr(0, 12), hash.substr(0, 12)));
  }
  return ReportFile{path, *std::move(document)};
}

absl::StatusOr<ReportFile> ReadReportFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();  // of a folder, it is an error and no exception
  const std::string text = content.str();
  if (!file || text.empty()) {
    return absl::NotFoundError(path + ": the file cannot be read, or is empty");
  }
  return ParseReportFile(text, path);
}

}  // namespace pagedkv::sim
