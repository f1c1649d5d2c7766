// SPDX-License-Identifier: Apache-2.0
#include "sim/report/text_table.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

using Row = std::vector<std::string>;

std::string CsvCell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string MarkdownCell(const std::string& cell) {
  std::string text;
  for (const char c : cell) {
    if (c == '|') text += '\\';
    text += c == '\n' || c == '\r' ? ' ' : c;
  }
  return text;
}

}  // namespace

std::string TableToText(const TextTable& table) {
  std::vector<int> widths;
  for (std::size_t i = 0; i < table.header.size(); ++i) {
    std::size_t width = table.header[i].size();
    for (const Row& row : table.rows) width = std::max(width, row[i].size());
    widths.push_back(static_cast<int>(width));
  }
  std::string text;
  const auto append_line = [&](const Row& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += " | ";
      if (i < table.num_names) {
        absl::StrAppendFormat(&text, "%-*s", widths[i], cells[i]);
      } else {
        absl::StrAppendFormat(&text, "%*s", widths[i], cells[i]);
      }
    }
    text += '\n';
  };
  append_line(table.header);
  for (const Row& row : table.rows) append_line(row);
  return text;
}

std::string TableToMarkdown(const TextTable& table) {
  std::string text;
  const auto append_line = [&](const Row& cells) {
    for (const std::string& cell : cells)
      text += "| " + MarkdownCell(cell) + ' ';
    text += "|\n";
  };
  append_line(table.header);
  for (std::size_t i = 0; i < table.header.size(); ++i) {
    text += i < table.num_names ? "|---" : "|---:";
  }
  text += "|\n";
  for (const Row& row : table.rows) append_line(row);
  return text;
}

std::string TableToCsv(const TextTable& table) {
  std::string text;
  const auto append_line = [&](const Row& cells) {
    const char* separator = "";
    for (const std::string& cell : cells) {
      text += separator + CsvCell(cell);
      separator = ",";
    }
    text += '\n';
  };
  append_line(table.header);
  for (const Row& row : table.rows) append_line(row);
  return text;
}

}  // namespace pagedkv::sim
