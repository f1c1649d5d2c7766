// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/trace_inspection.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

using Json = nlohmann::json;

/// Label and value, in the order of the listing.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// Of all block ids, those that were seen before.
double ReusedShare(const TraceStatistics& statistics) {
  if (statistics.block_references() == 0) return 0.0;
  return 1.0 - static_cast<double>(statistics.unique_blocks()) /
                   static_cast<double>(statistics.block_references());
}

Facts ListFacts(const TraceInspection& inspection) {
  const TraceSummary& summary = inspection.summary;
  const DroppedRows& dropped = summary.dropped;
  Facts facts = {
      {"trace", absl::StrFormat("%s, format %s", summary.name, summary.format)},
      {"sha256", summary.sha256},
      {"rows",
       absl::StrFormat("%s read, %s kept, %s dropped", Grouped(summary.rows),
                       Grouped(summary.kept), Grouped(dropped.total()))},
      {"dropped",
       absl::StrFormat("%s malformed, %s without output, %s out of order, %s "
                       "too long",
                       Grouped(dropped.malformed), Grouped(dropped.zero_output),
                       Grouped(dropped.out_of_order),
                       Grouped(dropped.over_max_seq))},
      {"arrivals", summary.span_ns == 0
                       ? std::string("all at once")
                       : absl::StrFormat("%s s, %.3f requests/s",
                                         NanosecondsToSeconds(summary.span_ns),
                                         summary.rate())},
  };
  if (summary.closed_loop_turns > 0) {
    facts.emplace_back(
        "sessions",
        absl::StrFormat("%s turns wait for the one before to finish",
                        Grouped(summary.closed_loop_turns)));
  }
  if (summary.open_loop_turns > 0) {
    facts.emplace_back(
        "sessions",
        absl::StrFormat("%s turns follow a delay; their arrivals do not wait "
                        "for the turn before to finish",
                        Grouped(summary.open_loop_turns)));
  }
  const TraceStatistics& statistics = inspection.statistics;
  if (statistics.block_references() > 0) {
    facts.emplace_back(
        "blocks",
        absl::StrFormat("%s references, %s unique: %.2f %% reused, of %d "
                        "tokens each",
                        Grouped(statistics.block_references()),
                        Grouped(statistics.unique_blocks()),
                        100.0 * ReusedShare(statistics),
                        summary.trace_block_tokens));
  }
  return facts;
}

constexpr std::array<std::string_view, 7> kLengthColumns = {
    "tokens", "mean", "p50", "p90", "p99", "max", "sum"};

std::array<std::string, 7> LengthRow(std::string_view name,
                                     const LengthStatistics& lengths) {
  return {std::string(name),
          absl::StrFormat("%.1f", lengths.mean()),
          Grouped(lengths.Quantile(0.5)),
          Grouped(lengths.Quantile(0.9)),
          Grouped(lengths.Quantile(0.99)),
          Grouped(lengths.max()),
          Grouped(lengths.sum())};
}

Json LengthsToJson(const LengthStatistics& lengths) {
  return {{"mean", lengths.mean()},       {"p50", lengths.Quantile(0.5)},
          {"p90", lengths.Quantile(0.9)}, {"p99", lengths.Quantile(0.99)},
          {"max", lengths.max()},         {"sum", lengths.sum()}};
}

}  // namespace

absl::StatusOr<TraceInspection> InspectTrace(
    const std::string& path, const TraceReaderOptions& options) {
  absl::StatusOr<std::unique_ptr<TraceReader>> reader =
      TraceReader::Open(path, options);
  if (!reader.ok()) return reader.status();
  TraceInspection inspection;
  TraceRequest request;
  for (;;) {
    const absl::StatusOr<bool> more = (*reader)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    inspection.statistics.Add(request);
  }
  inspection.summary = (*reader)->summary();
  return inspection;
}

std::string InspectionToText(const TraceInspection& inspection) {
  std::string text;
  for (const auto& [label, value] : ListFacts(inspection)) {
    absl::StrAppendFormat(&text, "%-10s%s\n", label, value);
  }
  const auto append = [&text](const auto& row) {
    absl::StrAppendFormat(&text, "%-10s%10s%10s%10s%10s%12s%16s\n", row[0],
                          row[1], row[2], row[3], row[4], row[5], row[6]);
  };
  append(kLengthColumns);
  append(LengthRow("prompt", inspection.statistics.prompt()));
  append(LengthRow("output", inspection.statistics.output()));
  return text;
}

std::string InspectionToMarkdown(const TraceInspection& inspection) {
  std::string text = "| | |\n|---|---|\n";
  for (const auto& [label, value] : ListFacts(inspection)) {
    absl::StrAppendFormat(&text, "| %s | %s |\n", label, value);
  }
  text += '\n';
  const auto append = [&text](const auto& row) {
    for (const auto& cell : row) absl::StrAppendFormat(&text, "| %s ", cell);
    text += "|\n";
  };
  append(kLengthColumns);
  text += "|---|---:|---:|---:|---:|---:|---:|\n";
  append(LengthRow("prompt", inspection.statistics.prompt()));
  append(LengthRow("output", inspection.statistics.output()));
  return text;
}

std::string InspectionToJson(const TraceInspection& inspection) {
  const TraceSummary& summary = inspection.summary;
  const TraceStatistics& statistics = inspection.statistics;
  Json json = {
      {"name", summary.name},
      {"format", summary.format},
      {"sha256", summary.sha256},
      {"rows", summary.rows},
      {"kept", summary.kept},
      {"dropped",
       {{"malformed", summary.dropped.malformed},
        {"zero_output", summary.dropped.zero_output},
        {"out_of_order", summary.dropped.out_of_order},
        {"over_max_seq", summary.dropped.over_max_seq}}},
      {"span_s", static_cast<double>(summary.span_ns) / 1e9},
      {"rate_per_s", summary.rate()},
      {"closed_loop_turns", summary.closed_loop_turns},
      {"open_loop_turns", summary.open_loop_turns},
      {"prompt_tokens", LengthsToJson(statistics.prompt())},
      {"output_tokens", LengthsToJson(statistics.output())},
      {"blocks", nullptr},
  };
  if (statistics.block_references() > 0) {
    json["blocks"] = {{"tokens", summary.trace_block_tokens},
                      {"references", statistics.block_references()},
                      {"unique", statistics.unique_blocks()},
                      {"reused_share", ReusedShare(statistics)}};
  }
  // A file's name may be any bytes: dump without exceptions.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace pagedkv::sim
