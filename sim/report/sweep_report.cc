// SPDX-License-Identifier: Apache-2.0
#include "sim/report/sweep_report.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

#include "sim/report/canonical_json.h"
#include "sim/report/report_file.h"
#include "sim/report/report_json.h"
#include "sim/report/summary_table.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

using Parameters = std::vector<std::pair<std::string, std::string>>;

/// "block-size=16 memory=1GiB".
std::string ToText(const Parameters& parameters) {
  return absl::StrJoin(parameters, " ",
                       [](std::string* out, const auto& parameter) {
                         *out += parameter.first + '=' + parameter.second;
                       });
}

json ToJson(const Parameters& parameters) {
  json object = json::object();
  for (const auto& [name, value] : parameters) object[name] = value;
  return object;
}

Parameters ParametersOf(const SweepReport& sweep, const SweepRun& run) {
  Parameters parameters;
  for (std::size_t i = 0; i < sweep.parameters.size(); ++i) {
    parameters.emplace_back(sweep.parameters[i].name, run.values[i]);
  }
  return parameters;
}

/// The tables that `tables_of` makes of each run's report, one below the other,
/// with the run's values in front.
template <typename TablesOf>
std::vector<TextTable> Combine(const SweepReport& sweep,
                               const std::string& empty,
                               const TablesOf& tables_of) {
  std::vector<TextTable> combined;
  for (const SweepRun& run : sweep.runs) {
    if (!run.report) continue;
    const std::vector<TextTable> own = tables_of(*run.report);
    // Runs by another clock may have more of them.
    for (std::size_t i = combined.size(); i < own.size(); ++i) {
      TextTable table;
      for (const SweepParameter& parameter : sweep.parameters) {
        table.header.push_back(parameter.name);
      }
      table.num_names = table.header.size() + own[i].num_names;
      table.header.insert(table.header.end(), own[i].header.begin(),
                          own[i].header.end());
      combined.push_back(std::move(table));
    }
  }
  for (const SweepRun& run : sweep.runs) {
    const std::vector<TextTable> own =
        run.report ? tables_of(*run.report) : std::vector<TextTable>();
    for (std::size_t i = 0; i < combined.size(); ++i) {
      const std::vector<std::vector<std::string>> none = {{}};
      for (const auto& cells : i < own.size() ? own[i].rows : none) {
        std::vector<std::string> row = run.values;
        row.insert(row.end(), cells.begin(), cells.end());
        row.resize(combined[i].header.size(), empty);
        combined[i].rows.push_back(std::move(row));
      }
    }
  }
  return combined;
}

std::vector<std::string> FootLines(const SweepReport& sweep) {
  std::vector<std::string> lines;
  for (const SweepKnee& knee : sweep.Knees()) {
    lines.push_back(knee.Sentence());
  }
  for (const SweepRun& run : sweep.runs) {
    if (run.report) continue;
    lines.push_back(ToText(ParametersOf(sweep, run)) +
                    " is not possible: " + run.problem);
  }
  return lines;
}

json KneeToJson(const SweepKnee& knee) {
  json curve = json::array();
  for (const BlockSizePoint& point : knee.knee.curve) {
    curve.push_back({{"block_size", point.block_size},
                     {"waste_intrinsic_pct", point.waste_pct}});
  }
  return {{"parameters", ToJson(knee.parameters)},
          {"rule", kKneeRule},
          {"curve", curve},
          {"block_size", knee.knee.block_size()},
          {"sentence", knee.knee.Sentence()}};
}

}  // namespace

std::string SweepKnee::Sentence() const {
  const std::string of = ToText(parameters);
  return (of.empty() ? "" : of + ": ") + knee.Sentence();
}

std::vector<std::string> SweepHeadLines(const SweepReport& sweep) {
  std::vector<std::string> names;
  for (const SweepParameter& parameter : sweep.parameters) {
    names.push_back(parameter.name);
  }
  std::vector<std::string> lines = {
      absl::StrFormat("sweep: %d combinations of %s", sweep.runs.size(),
                      absl::StrJoin(names, ", "))};
  std::optional<std::vector<std::string>> common;
  for (const SweepRun& run : sweep.runs) {
    if (!run.report) continue;
    const std::vector<std::string> own = SummaryHeadLines(*run.report);
    if (!common) common = own;
    std::erase_if(*common, [&](const std::string& line) {
      return std::find(own.begin(), own.end(), line) == own.end();
    });
  }
  if (common) lines.insert(lines.end(), common->begin(), common->end());
  return lines;
}

std::vector<SweepKnee> SweepReport::Knees() const {
  std::vector<std::pair<Parameters, std::vector<BlockSizePoint>>> groups;
  for (const SweepRun& run : runs) {
    if (!run.report) continue;
    Parameters others = ParametersOf(*this, run);
    std::erase_if(others, [](const auto& parameter) {
      return parameter.first == "block-size" || parameter.first == "policies";
    });
    auto group =
        std::find_if(groups.begin(), groups.end(),
                     [&](const auto& each) { return each.first == others; });
    if (group == groups.end()) {
      group = groups.insert(group, {others, {}});
    }
    for (const BlockSizePoint& point : BlockSizePoints(*run.report)) {
      group->second.push_back(point);
    }
  }
  std::vector<SweepKnee> knees;
  for (auto& [parameters_of, points] : groups) {
    std::optional<BlockSizeKnee> knee = FindBlockSizeKnee(std::move(points));
    if (knee) knees.push_back({parameters_of, *std::move(knee)});
  }
  return knees;
}

std::vector<std::string> SweepReport::Warnings() const {
  std::vector<std::string> warnings;
  for (const SweepRun& run : runs) {
    if (!run.report) continue;
    const std::string of = ToText(ParametersOf(*this, run));
    for (const std::string& warning : run.report->Warnings()) {
      warnings.push_back(absl::StrCat(of, ": ", warning));
    }
  }
  return warnings;
}

std::string SweepToText(const SweepReport& sweep) {
  std::string text = absl::StrJoin(SweepHeadLines(sweep), "\n") + '\n';
  for (const TextTable& table : Combine(sweep, "-", SummaryTables)) {
    text += '\n' + TableToText(table);
  }
  const std::vector<std::string> foot = FootLines(sweep);
  if (!foot.empty()) text += '\n' + absl::StrJoin(foot, "\n") + '\n';
  return text;
}

std::string SweepToMarkdown(const SweepReport& sweep) {
  std::string text = "# KV memory by policy and setting\n\n";
  for (const std::string& line : SweepHeadLines(sweep))
    text += "- " + line + '\n';
  for (const TextTable& table : Combine(sweep, "-", SummaryTables)) {
    text += '\n' + TableToMarkdown(table);
  }
  std::vector<std::string> foot = FootLines(sweep);
  for (const std::string& warning : sweep.Warnings()) {
    foot.push_back("warning: " + warning);
  }
  if (!foot.empty()) text += '\n';
  for (const std::string& line : foot) text += "- " + line + '\n';
  return text;
}

std::string SweepToCsv(const SweepReport& sweep) {
  const std::vector<TextTable> tables =
      Combine(sweep, "", [](const Report& report) {
        return std::vector<TextTable>{SummaryCsvTable(report)};
      });
  return tables.empty() ? "" : TableToCsv(tables.front());
}

std::string SweepToJson(const SweepReport& sweep) {
  json parameters = json::array();
  for (const SweepParameter& parameter : sweep.parameters) {
    parameters.push_back(
        {{"name", parameter.name}, {"values", parameter.values}});
  }
  json runs = json::array();
  std::int64_t num_events = 0;
  for (const SweepRun& run : sweep.runs) {
    json entry = {{"parameters", ToJson(ParametersOf(sweep, run))},
                  {"report", nullptr},
                  {"problem", nullptr}};
    if (run.report) {
      json report = ReportToDocument(*run.report);
      report["hash"] = HashOfDocument(report);
      entry["report"] = std::move(report);
      for (const PolicyResult& result : run.report->results) {
        num_events += result.num_events;
      }
    } else {
      entry["problem"] = run.problem;
    }
    runs.push_back(std::move(entry));
  }
  json knees = json::array();
  for (const SweepKnee& knee : sweep.Knees()) knees.push_back(KneeToJson(knee));
  return SealedText(
      {{"schema", kSweepSchema},
       {"parameters", parameters},
       {"runs", runs},
       {"knees", knees}},
      {{"version", sweep.version},
       {"wall_s", sweep.wall_s ? json(*sweep.wall_s) : json(nullptr)},
       {"events", num_events}});
}

}  // namespace pagedkv::sim
