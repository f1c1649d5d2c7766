// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_TEXT_TABLE_H_
#define SIM_REPORT_TEXT_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace pagedkv::sim {

/// Cells in rows, for people and for scripts. Each row is as long as `header`.
struct TextTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  /// Columns of names, to the left; figures are to the right.
  std::size_t num_names = 1;
};

/// For a terminal: columns as wide as their cells, "|" in between.
std::string TableToText(const TextTable& table);
std::string TableToMarkdown(const TextTable& table);
/// A cell with a comma, a quote or a line break is in quotes (RFC 4180).
std::string TableToCsv(const TextTable& table);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_TEXT_TABLE_H_
