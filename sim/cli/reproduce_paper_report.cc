// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/reproduce_paper_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/report/bootstrap.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// As many decimals as the figure is worth: none for large or whole numbers.
std::string Figure(double value) {
  if (value == std::round(value)) return absl::StrFormat("%.0f", value);
  return absl::StrFormat("%.*f", std::abs(value) < 2 ? 4 : 2, value);
}

std::string Published(const PaperCheck& check) {
  if (check.expected_lo == check.expected_hi) return Figure(check.expected_lo);
  return Figure(check.expected_lo) + " to " + Figure(check.expected_hi);
}

std::string Ours(const PaperCheck& check) {
  if (check.values.empty()) return "-";
  const std::optional<Interval> interval = check.interval();
  if (!interval) return Figure(check.mean());
  return absl::StrFormat("%.2f +- %.2f", check.mean(),
                         interval->hi - check.mean());
}

const char* Verdict(const PaperCheck& check) {
  return check.passed() ? "pass" : "FAIL";
}

TextTable TableOf(const std::vector<PaperCheck>& checks) {
  TextTable table;
  table.header = {"figure",    "where", "published", "ours",
                  "tolerance", "unit",  "verdict"};
  table.num_names = 2;
  for (const PaperCheck& check : checks) {
    table.rows.push_back({check.id, check.where, Published(check), Ours(check),
                          check.tolerance > 0 ? "+-" + Figure(check.tolerance)
                                              : std::string("exact"),
                          check.unit, Verdict(check)});
  }
  return table;
}

std::string Intervals(const PaperOptions& options) {
  return options.seeds > 1
             ? absl::StrFormat(
                   "ours: mean over the seeds 1 to %d, +- half its 95 %% "
                   "interval, where something is drawn",
                   options.seeds)
             : std::string("ours: of seed 1, without an interval");
}

std::string Summary(const std::vector<PaperCheck>& checks) {
  const auto passed =
      std::count_if(checks.begin(), checks.end(),
                    [](const PaperCheck& check) { return check.passed(); });
  return absl::StrFormat("%d of %d figures are within their tolerance", passed,
                         checks.size());
}

/// The settings, each with the figures that share it.
std::vector<std::string> SettingLines(const std::vector<PaperCheck>& checks) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < checks.size(); ++i) {
    std::size_t last = i;
    while (last + 1 < checks.size() &&
           checks[last + 1].setting == checks[i].setting) {
      ++last;
    }
    std::string names = checks[i].id;
    if (last > i) names += " ... " + checks[last].id;
    lines.push_back(names + ": " + checks[i].setting);
    i = last;
  }
  return lines;
}

std::vector<std::string> NoteLines(const std::vector<PaperCheck>& checks) {
  std::vector<std::string> lines;
  for (const PaperCheck& check : checks) {
    if (!check.note.empty()) lines.push_back(check.id + ": not: " + check.note);
  }
  return lines;
}

double Rounded(double value) { return std::round(value * 1e6) / 1e6; }

}  // namespace

bool AllPassed(const std::vector<PaperCheck>& checks) {
  return !checks.empty() &&
         std::all_of(checks.begin(), checks.end(),
                     [](const PaperCheck& check) { return check.passed(); });
}

std::string PaperChecksToText(const PaperOptions& options,
                              const std::vector<PaperCheck>& checks) {
  std::string text = Intervals(options) + "\n\n" + TableToText(TableOf(checks));
  text += "\nsettings\n";
  for (const std::string& line : SettingLines(checks)) text += line + '\n';
  for (const std::string& line : NoteLines(checks)) text += line + '\n';
  text += '\n' + Summary(checks) + '\n';
  return text;
}

std::string PaperChecksToMarkdown(const PaperOptions& options,
                                  const std::vector<PaperCheck>& checks) {
  std::string text = "# Published figures, reproduced\n\n" +
                     Intervals(options) + "\n\n" +
                     TableToMarkdown(TableOf(checks)) + '\n';
  for (const std::string& line : SettingLines(checks)) {
    text += "- " + line + '\n';
  }
  for (const std::string& line : NoteLines(checks)) text += "- " + line + '\n';
  text += '\n' + Summary(checks) + '\n';
  return text;
}

std::string PaperChecksToJson(const PaperOptions& options,
                              const std::vector<PaperCheck>& checks) {
  json list = json::array();
  for (const PaperCheck& check : checks) {
    json row = {
        {"id", check.id},
        {"where", check.where},
        {"setting", check.setting},
        {"unit", check.unit},
        {"published", {{"lo", check.expected_lo}, {"hi", check.expected_hi}}},
        {"tolerance", Rounded(check.tolerance)},
        {"values", json::array()},
        {"ours", nullptr},
        {"note", check.note},
        {"passed", check.passed()}};
    for (const double value : check.values) {
      row["values"].push_back(Rounded(value));
    }
    if (!check.values.empty()) {
      const std::optional<Interval> interval = check.interval();
      row["ours"] = {
          {"mean", Rounded(check.mean())},
          {"lo", interval ? json(Rounded(interval->lo)) : json(nullptr)},
          {"hi", interval ? json(Rounded(interval->hi)) : json(nullptr)}};
    }
    list.push_back(std::move(row));
  }
  const json document = {{"schema", "pagedkv.reproduce/1"},
                         {"seeds", options.seeds},
                         {"passed", AllPassed(checks)},
                         {"checks", list}};
  return document.dump(2) + '\n';
}

}  // namespace pagedkv::sim
