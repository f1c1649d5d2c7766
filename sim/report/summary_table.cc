// SPDX-License-Identifier: Apache-2.0
#include "sim/report/summary_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/decimal.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

constexpr std::string_view kNone = "-";

std::string Percent(const std::optional<Estimate>& estimate) {
  return estimate ? absl::StrFormat("%.1f", estimate->mean)
                  : std::string(kNone);
}

std::string PercentWithInterval(const std::optional<Estimate>& estimate) {
  if (!estimate || !estimate->interval) return Percent(estimate);
  const double half = std::max(estimate->interval->hi - estimate->mean,
                               estimate->mean - estimate->interval->lo);
  return absl::StrFormat("%.1f +- %.1f", estimate->mean, half);
}

/// A size with its binary unit; exact bytes are in the report.
std::string HumanBytes(Bytes bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB",
                                                      "TiB"};
  auto value = static_cast<double>(bytes.value());
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat(unit == 0 ? "%.0f %s" : "%.2f %s", value,
                         kUnits[unit]);
}

std::string SlotsAndBytes(const Report& report, std::int64_t slots) {
  std::string text = Grouped(slots) + " slots";
  if (const std::optional<Bytes> bytes = report.SlotBytes(slots)) {
    text += " (" + HumanBytes(*bytes) + ")";
  }
  return text;
}

std::string PoolLine(const Report& report) {
  std::string line = "pool: ";
  if (report.pool.slots) {
    line += SlotsAndBytes(report, report.pool.slots->value()) + ", from " +
            report.pool.description;
  } else {
    line += "unbounded (--demand)";
  }
  line += "; model: " + report.model.name;
  if (report.model.kv_bytes_per_token) {
    line += ", " + Grouped(report.model.kv_bytes_per_token->value()) +
            " B per token";
  }
  return line;
}

std::string WorkloadLine(const Report& report) {
  const TraceSummary& trace = report.inputs.trace;
  return absl::StrFormat(
      "workload: %s (%s), %s of %s requests, %s prompt and %s output tokens",
      trace.name, trace.format, Grouped(trace.kept), Grouped(trace.rows),
      Grouped(trace.prompt_tokens), Grouped(trace.output_tokens));
}

std::string ClockText(const SimulationOptions& options) {
  if (options.clock == ClockKind::kIteration) {
    return "iteration (saturated queue)";
  }
  return absl::StrFormat("fixed, %s s per step%s",
                         NanosecondsToSeconds(options.step_ns),
                         options.saturate ? ", saturated queue" : "");
}

std::string ConditionsLine(const Report& report) {
  return absl::StrFormat(
      "percent of the pool; weight: %s; window: %s%s; maximum length: %s "
      "tokens; clock: %s",
      WeightName(report.weight), WindowName(report.window),
      report.window == WindowKind::kAll ? ", warm-up and drain included"
                                        : ", without warm-up and drain",
      Grouped(report.model.max_sequence_tokens.value()),
      ClockText(report.simulation));
}

/// Figures that only some policies or modes have.
std::vector<std::string> FootLines(const Report& report) {
  std::vector<std::string> lines;
  for (const PolicyResult& result : report.results) {
    const SimulationTotals& totals = result.totals;
    if (report.simulation.demand) {
      lines.push_back(
          absl::StrFormat("%s: needs %s at its peak", result.policy.id(),
                          SlotsAndBytes(report, totals.capacity_slots)));
    }
    if (result.policy.kind == PolicyKind::kConcat) {
      lines.push_back(absl::StrFormat(
          "%s: copies %s to grow, and holds up to %s twice meanwhile",
          result.policy.id(), SlotsAndBytes(report, totals.copied_slots),
          SlotsAndBytes(report, totals.transient_peak_slots)));
    }
  }
  return lines;
}

TextTable TableOf(const Report& report) {
  TextTable table;
  table.header = SummaryHeader();
  for (const PolicyResult& result : report.results) {
    table.rows.push_back(SummaryCells(report, result));
  }
  return table;
}

}  // namespace

std::vector<std::string> SummaryHeadLines(const Report& report) {
  return {PoolLine(report), WorkloadLine(report), ConditionsLine(report)};
}

std::vector<std::string> SummaryHeader() {
  return {"policy", "token % +-", "reserved %", "internal %", "ext & other %",
          "batch",  "vs base",    "preempt",    "GB-h wasted"};
}

std::vector<std::string> SummaryCells(const Report& report,
                                      const PolicyResult& result) {
  const Metrics& metrics = result.metrics;
  const std::optional<double> gain = report.CapacityGain(result);
  const std::optional<double> gb_hours = report.WasteGbHours(result);
  return {result.policy.id(),
          PercentWithInterval(metrics.token_pct),
          Percent(metrics.reserved_pct),
          Percent(metrics.internal_pct),
          Percent(metrics.external_and_others_pct),
          metrics.batch_mean ? absl::StrFormat("%.2f", metrics.batch_mean->mean)
                             : std::string(kNone),
          gain ? absl::StrFormat("%.2fx", *gain) : std::string(kNone),
          Grouped(result.totals.preemptions),
          gb_hours ? absl::StrFormat("%.2f", *gb_hours) : std::string(kNone)};
}

std::string SummaryToText(const Report& report) {
  std::string text = absl::StrJoin(SummaryHeadLines(report), "\n") + "\n\n" +
                     TableToText(TableOf(report));
  const std::vector<std::string> foot = FootLines(report);
  if (!foot.empty()) text += '\n' + absl::StrJoin(foot, "\n") + '\n';
  return text;
}

std::string SummaryToMarkdown(const Report& report) {
  std::string text = "# KV memory by policy\n\n";
  for (const std::string& line : SummaryHeadLines(report))
    text += "- " + line + '\n';
  text += '\n' + TableToMarkdown(TableOf(report));
  std::vector<std::string> foot = FootLines(report);
  for (const std::string& warning : report.Warnings()) {
    foot.push_back("warning: " + warning);
  }
  if (!foot.empty()) text += '\n';
  for (const std::string& line : foot) text += "- " + line + '\n';
  return text;
}

std::vector<std::string> SummaryCsvHeader() {
  return {"policy",       "weight",
          "window",       "max_seq_len",
          "token_pct",    "token_pct_lo",
          "token_pct_hi", "reserved_pct",
          "internal_pct", "external_and_others_pct",
          "batch_mean",   "capacity_gain",
          "preemptions",  "waste_gb_hours"};
}

std::vector<std::vector<std::string>> SummaryCsvRows(const Report& report) {
  const auto mean = [](const std::optional<Estimate>& estimate) {
    return estimate ? FixedDecimal(estimate->mean) : "";
  };
  const auto number = [](const std::optional<double>& value) {
    return value ? FixedDecimal(*value) : "";
  };
  std::vector<std::vector<std::string>> rows;
  for (const PolicyResult& result : report.results) {
    const Metrics& metrics = result.metrics;
    std::optional<double> lo;
    std::optional<double> hi;
    if (metrics.token_pct && metrics.token_pct->interval) {
      lo = metrics.token_pct->interval->lo;
      hi = metrics.token_pct->interval->hi;
    }
    rows.push_back(
        {result.policy.id(), std::string(WeightName(report.weight)),
         std::string(WindowName(metrics.window)),
         absl::StrFormat("%d", report.model.max_sequence_tokens.value()),
         mean(metrics.token_pct), number(lo), number(hi),
         mean(metrics.reserved_pct), mean(metrics.internal_pct),
         mean(metrics.external_and_others_pct), mean(metrics.batch_mean),
         number(report.CapacityGain(result)),
         absl::StrFormat("%d", result.totals.preemptions),
         number(report.WasteGbHours(result))});
  }
  return rows;
}

std::string SummaryToCsv(const Report& report) {
  return TableToCsv({SummaryCsvHeader(), SummaryCsvRows(report), 1});
}

}  // namespace pagedkv::sim
