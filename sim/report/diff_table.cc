// SPDX-License-Identifier: Apache-2.0
#include "sim/report/diff_table.h"

#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/report/canonical_json.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

std::string Number(const std::optional<double>& value) {
  return value ? absl::StrFormat("%.6g", *value) : "-";
}

std::string Difference(const FigureChange& change) {
  if (!change.before || !change.after) return "-";
  return absl::StrFormat("%+.4g", *change.after - *change.before);
}

TextTable TableOf(const ReportDiff& diff) {
  TextTable table;
  const bool sweep = !diff.changes.empty() && !diff.changes.front().run.empty();
  if (sweep) table.header.emplace_back("run");
  for (const char* name : {"policy", "figure", "verdict", "before", "after",
                           "difference", "tolerance"}) {
    table.header.emplace_back(name);
  }
  table.num_names = sweep ? 4 : 3;
  for (const FigureChange& change : diff.changes) {
    std::vector<std::string> row;
    if (sweep) row.push_back(change.run);
    row.insert(
        row.end(),
        {change.policy, change.figure, std::string(VerdictName(change.verdict)),
         Number(change.before), Number(change.after), Difference(change),
         absl::StrFormat("%.4g", change.tolerance)});
    table.rows.push_back(row);
  }
  return table;
}

std::string Plural(std::size_t number, const std::string& one) {
  return absl::StrFormat("%d %s%s", number, one, number == 1 ? "" : "s");
}

std::vector<std::string> HeadLines(const ReportDiff& diff) {
  std::vector<std::string> lines = {
      absl::StrFormat("before: %s, after: %s: %d figures compared", diff.before,
                      diff.after, diff.num_figures)};
  for (const std::string& note : diff.notes) lines.push_back("note: " + note);
  return lines;
}

std::string Conclusion(const ReportDiff& diff) {
  if (diff.identical) return "the reports are equal";
  if (diff.changes.empty()) {
    return absl::StrFormat(
        "no figure changed by more than %g points or percent, or its interval",
        diff.tolerance);
  }
  return absl::StrFormat(
      "%s, %s, %s", Plural(diff.Count(Verdict::kRegression), "regression"),
      Plural(diff.Count(Verdict::kImprovement), "improvement"),
      Plural(diff.Count(Verdict::kChange), "other change"));
}

json OrNull(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

}  // namespace

std::string DiffToText(const ReportDiff& diff) {
  std::string text;
  for (const std::string& line : HeadLines(diff)) text += line + '\n';
  if (!diff.changes.empty()) text += '\n' + TableToText(TableOf(diff)) + '\n';
  return text + Conclusion(diff) + '\n';
}

std::string DiffToMarkdown(const ReportDiff& diff) {
  std::string text = "# What changed\n\n";
  for (const std::string& line : HeadLines(diff)) text += "- " + line + '\n';
  text += "- " + Conclusion(diff) + '\n';
  if (!diff.changes.empty()) text += '\n' + TableToMarkdown(TableOf(diff));
  return text;
}

std::string DiffToJson(const ReportDiff& diff) {
  json changes = json::array();
  for (const FigureChange& change : diff.changes) {
    json entry = {{"policy", change.policy},
                  {"figure", change.figure},
                  {"before", OrNull(change.before)},
                  {"after", OrNull(change.after)},
                  {"tolerance", change.tolerance},
                  {"verdict", VerdictName(change.verdict)}};
    if (!change.run.empty()) entry["run"] = change.run;
    changes.push_back(std::move(entry));
  }
  return CanonicalText({{"schema", "pagedkv.diff/1"},
                        {"before", diff.before},
                        {"after", diff.after},
                        {"identical", diff.identical},
                        {"tolerance", diff.tolerance},
                        {"figures", diff.num_figures},
                        {"regressions", diff.Count(Verdict::kRegression)},
                        {"improvements", diff.Count(Verdict::kImprovement)},
                        {"notes", diff.notes},
                        {"changes", changes}});
}

}  // namespace pagedkv::sim
