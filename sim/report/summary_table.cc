// SPDX-License-Identifier: Apache-2.0
#include "sim/report/summary_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/replay/router.h"
#include "sim/report/block_size_knee.h"
#include "sim/report/decimal.h"
#include "sim/report/kv_group_table.h"
#include "sim/report/text_table.h"
#include "sim/report/worst_requests.h"

namespace pagedkv::sim {
namespace {

using Row = std::vector<std::string>;

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

Row MemoryRow(const Report& report, const PolicyResult& result) {
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

std::string Quantile(const LatencyHistogram& histogram, double quantile,
                     double unit_ns) {
  const std::optional<std::int64_t> time_ns = histogram.Quantile(quantile);
  if (!time_ns) return std::string(kNone);
  return absl::StrFormat("%.3f", static_cast<double>(*time_ns) / unit_ns);
}

Row LatencyRow(const Report& report, const PolicyResult& result) {
  constexpr double kSecond = 1e9;
  constexpr double kMillisecond = 1e6;
  const LatencyStatistics& latency = result.latency;
  const LatencyHistogram none;
  const auto since_arrival =
      [&](const LatencyHistogram& histogram) -> const LatencyHistogram& {
    return report.HasArrivals() ? histogram : none;
  };
  const auto one_decimal = [](const std::optional<double>& value) {
    return value ? absl::StrFormat("%.1f", *value) : std::string(kNone);
  };
  const LatencyHistogram& ttft = since_arrival(latency.ttft());
  const LatencyHistogram& e2e = since_arrival(latency.e2e());
  const LatencyHistogram& queue = since_arrival(latency.queue());
  const std::optional<double> requests =
      report.PerSecond(result, latency.num_finished());
  return {result.policy.id(),
          Quantile(ttft, 0.50, kSecond),
          Quantile(ttft, 0.90, kSecond),
          Quantile(ttft, 0.99, kSecond),
          Quantile(latency.tpot(), 0.50, kMillisecond),
          Quantile(latency.tpot(), 0.99, kMillisecond),
          Quantile(e2e, 0.50, kSecond),
          Quantile(e2e, 0.99, kSecond),
          Quantile(queue, 0.99, kSecond),
          one_decimal(report.PerSecond(result, latency.output_tokens())),
          requests ? absl::StrFormat("%.3f", *requests) : std::string(kNone),
          one_decimal(report.GoodputPct(result))};
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
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 2, value, kUnits[unit]);
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
      "workload: %s (%s%s), %s of %s requests, %s prompt and %s output tokens",
      trace.name, trace.format,
      trace.synthetic_from.empty() ? "" : ", synthetic", Grouped(trace.kept),
      Grouped(trace.rows), Grouped(trace.prompt_tokens),
      Grouped(trace.output_tokens));
}

std::string ClockText(const SimulationOptions& options) {
  if (options.clock == ClockKind::kIteration) {
    return "iteration (saturated queue)";
  }
  const char* queue = options.saturate ? ", saturated queue" : "";
  if (options.clock == ClockKind::kModel) {
    return absl::StrFormat("model, %s%s", options.step_time.preset, queue);
  }
  return absl::StrFormat("fixed, %s s per step%s",
                         NanosecondsToSeconds(options.step_ns), queue);
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

/// Which requests are good put.
std::string ServiceLevelLine(const ServiceLevel& level) {
  std::vector<std::string> limits;
  if (level.ttft_ns) {
    limits.push_back("TTFT within " + NanosecondsToSeconds(*level.ttft_ns) +
                     " s");
  }
  if (level.tpot_ns) {
    limits.push_back("TPOT within " + NanosecondsToSeconds(*level.tpot_ns) +
                     " s");
  }
  return "goodput: " + absl::StrJoin(limits, " and ");
}

std::string HitLine(const PolicyResult& result) {
  const HitRates rates = result.totals.hits.rates();
  std::string line = absl::StrFormat(
      "%s: prefix hits %.4f of blocks, %.4f of tokens, %.4f mean of requests",
      result.policy.id(), rates.block, rates.token, rates.request);
  if (result.hit_bounds) {
    absl::StrAppendFormat(
        &line, "; of blocks at most %.4f knowing the future, %.4f unbounded",
        result.hit_bounds->optimum, result.hit_bounds->infinite);
  }
  return line;
}

std::string FleetLine(const Report& report, const PolicyResult& result) {
  std::vector<std::string> shares;
  std::int64_t lost = 0;
  for (const ReplicaTotals& replica : result.totals.replicas) {
    shares.push_back(absl::StrFormat("%s (%.4f)", Grouped(replica.routed),
                                     replica.hits.rates().token));
    lost += replica.lost;
  }
  return absl::StrFormat(
      "%s: %s sent each replica requests (prefix hits of tokens): %s; %s lost "
      "by outages and sent again",
      result.policy.id(), RouterName(report.simulation.fleet.router),
      absl::StrJoin(shares, ", "), Grouped(lost));
}

/// The requests that wasted most of what they were granted.
std::string WorstLine(const PolicyResult& result, std::size_t num_worst) {
  std::vector<std::string> worst;
  for (const RequestWaste& request : result.requests.worst()) {
    if (request.waste_slots == 0 || worst.size() == num_worst) break;
    worst.push_back(
        absl::StrFormat("%d (%s)", request.id, Grouped(request.waste_slots)));
  }
  return absl::StrFormat(
      "%s: half of the requests waste at most %s slots each, 99 of 100 at most "
      "%s%s%s",
      result.policy.id(), Grouped(result.requests.WasteQuantile(0.50)),
      Grouped(result.requests.WasteQuantile(0.99)),
      worst.empty() ? "" : "; most: request ", absl::StrJoin(worst, ", "));
}

std::string PreemptionLine(const PolicyResult& result) {
  const SimulationTotals& totals = result.totals;
  return absl::StrFormat(
      "%s: preempts one request up to %s times and computes %s tokens again; "
      "%s without progress (livelock)",
      result.policy.id(), Grouped(totals.max_preemptions_per_request),
      Grouped(totals.recomputed_tokens),
      totals.livelocked_requests == 0
          ? "no request"
          : Grouped(totals.livelocked_requests) + " requests");
}

std::string SwapSpaceLine(const Report& report) {
  const SimulationOptions& options = report.simulation;
  std::string line = "preemption: by swap, to " +
                     SlotsAndBytes(report, options.swap_slots.value());
  if (options.link_bytes_per_s > 0) {
    absl::StrAppendFormat(
        &line, "; link of each GPU: %s GB/s, added to the steps",
        FixedDecimal(static_cast<double>(options.link_bytes_per_s) * 1e-9));
  }
  return line;
}

std::string SwapLine(const Report& report, const PolicyResult& result) {
  const SimulationTotals& totals = result.totals;
  return absl::StrFormat(
      "%s: %s of %s preemptions are by swap; %s blocks move out and in, %s",
      result.policy.id(), Grouped(totals.swaps), Grouped(totals.preemptions),
      Grouped(totals.swapped_blocks),
      SlotsAndBytes(report, totals.swapped_tokens));
}

std::string CostLine(const Report& report, const PolicyResult& result) {
  const ReportCost cost = report.Cost(result);
  std::string line = result.policy.id();
  const char* separator = ": ";
  if (cost.gpu_equivalent) {
    absl::StrAppendFormat(&line, "%swaste is the memory of %.3f of %d GPUs",
                          separator, *cost.gpu_equivalent, report.num_gpus());
    separator = ", ";
  }
  if (cost.usd) {
    absl::StrAppendFormat(&line, "%s%.4f USD in this run", separator,
                          *cost.usd);
    separator = ", ";
  }
  if (cost.usd_per_million_output_tokens) {
    absl::StrAppendFormat(&line, "%s%.4f USD per million output tokens in all",
                          separator, *cost.usd_per_million_output_tokens);
  }
  return line;
}

/// Figures that only some policies or modes have; at most so many of the worst
/// requests of each policy.
std::vector<std::string> FootLines(const Report& report,
                                   std::size_t num_worst) {
  std::vector<std::string> lines;
  for (const PolicyResult& result : report.results) {
    const SimulationTotals& totals = result.totals;
    if (report.simulation.demand) {
      lines.push_back(
          absl::StrFormat("%s: needs %s at its peak", result.policy.id(),
                          SlotsAndBytes(report, totals.capacity_slots)));
    }
    if (UsesPrefixCache(report, result)) lines.push_back(HitLine(result));
    if (!totals.replicas.empty()) lines.push_back(FleetLine(report, result));
    if (result.policy.kind == PolicyKind::kConcat) {
      lines.push_back(absl::StrFormat(
          "%s: copies %s to grow, and holds up to %s twice meanwhile",
          result.policy.id(), SlotsAndBytes(report, totals.copied_slots),
          SlotsAndBytes(report, totals.transient_peak_slots)));
    }
    if (result.requests.num_finished() > 0) {
      lines.push_back(WorstLine(result, num_worst));
    }
    if (totals.preemptions > 0) lines.push_back(PreemptionLine(result));
    if (totals.swaps > 0) lines.push_back(SwapLine(report, result));
    if (report.usd_per_gpu_hour) lines.push_back(CostLine(report, result));
  }
  if (const auto knee = FindBlockSizeKnee(BlockSizePoints(report))) {
    lines.push_back(knee->Sentence());
  }
  return lines;
}

/// Mean and quantiles in seconds for a CSV, or so many empty cells.
void AppendLatencyCells(bool known, const LatencyHistogram& histogram,
                        Row& row) {
  if (!known || histogram.count() == 0) {
    row.insert(row.end(), 4, "");
    return;
  }
  row.push_back(FixedDecimal(*histogram.Mean() * 1e-9));
  for (const double quantile : {0.50, 0.90, 0.99}) {
    row.push_back(FixedDecimal(
        static_cast<double>(*histogram.Quantile(quantile)) * 1e-9));
  }
}

}  // namespace

std::vector<std::string> SummaryHeadLines(const Report& report) {
  std::vector<std::string> lines = {PoolLine(report), WorkloadLine(report),
                                    ConditionsLine(report)};
  if (report.simulation.clock == ClockKind::kModel) {
    lines.push_back("step times: " + report.simulation.step_time.source);
  }
  if (report.simulation.swap_slots > TokenCount(0)) {
    lines.push_back(SwapSpaceLine(report));
  }
  if (report.level.given()) lines.push_back(ServiceLevelLine(report.level));
  return lines;
}

std::vector<TextTable> SummaryTables(const Report& report) {
  std::vector<TextTable> tables = {
      {.header = {"policy", "token % +-", "reserved %", "internal %",
                  "ext & other %", "batch", "vs base", "preempt",
                  "GB-h wasted"},
       .rows = {}}};
  if (report.HasTimes()) {
    tables.push_back(
        {.header = {"policy", "TTFT p50 s", "p90", "p99", "TPOT p50 ms", "p99",
                    "e2e p50 s", "p99", "queue p99 s", "tokens/s", "requests/s",
                    "goodput %"},
         .rows = {}});
  }
  for (const PolicyResult& result : report.results) {
    tables[0].rows.push_back(MemoryRow(report, result));
    if (report.HasTimes()) {
      tables[1].rows.push_back(LatencyRow(report, result));
    }
  }
  return tables;
}

std::string SummaryToText(const Report& report) {
  std::string text = absl::StrJoin(SummaryHeadLines(report), "\n") + '\n';
  for (const TextTable& table : SummaryTables(report)) {
    text += '\n' + TableToText(table);
  }
  const std::vector<std::string> foot = FootLines(report, /*num_worst=*/3);
  if (!foot.empty()) text += '\n' + absl::StrJoin(foot, "\n") + '\n';
  if (report.kv_cache_groups) {
    text += '\n' + KvGroupsToText(*report.kv_cache_groups);
  }
  return text;
}

std::string SummaryToMarkdown(const Report& report) {
  std::string text = "# KV memory by policy\n\n";
  for (const std::string& line : SummaryHeadLines(report)) {
    text += "- " + line + '\n';
  }
  for (const TextTable& table : SummaryTables(report)) {
    text += '\n' + TableToMarkdown(table);
  }
  std::vector<std::string> foot = FootLines(report, kNumWorst);
  for (const std::string& warning : report.Warnings()) {
    foot.push_back("warning: " + warning);
  }
  if (!foot.empty()) text += '\n';
  for (const std::string& line : foot) text += "- " + line + '\n';
  if (report.kv_cache_groups) {
    text += '\n' + KvGroupsToMarkdown(*report.kv_cache_groups);
  }
  return text;
}

TextTable SummaryCsvTable(const Report& report) {
  TextTable table;
  table.header = {"policy",       "weight",
                  "window",       "max_seq_len",
                  "token_pct",    "token_pct_lo",
                  "token_pct_hi", "reserved_pct",
                  "internal_pct", "external_and_others_pct",
                  "batch_mean",   "capacity_gain",
                  "preemptions",  "waste_gb_hours"};
  for (const char* name : {"ttft", "tpot", "e2e", "queue"}) {
    for (const char* statistic : {"mean", "p50", "p90", "p99"}) {
      table.header.push_back(absl::StrFormat("%s_%s_s", name, statistic));
    }
  }
  table.header.insert(table.header.end(),
                      {"output_tokens_per_s", "requests_per_s", "goodput_pct"});
  const auto mean = [](const std::optional<Estimate>& estimate) {
    return estimate ? FixedDecimal(estimate->mean) : "";
  };
  const auto number = [](const std::optional<double>& value) {
    return value ? FixedDecimal(*value) : "";
  };
  for (const PolicyResult& result : report.results) {
    const Metrics& metrics = result.metrics;
    std::optional<double> lo;
    std::optional<double> hi;
    if (metrics.token_pct && metrics.token_pct->interval) {
      lo = metrics.token_pct->interval->lo;
      hi = metrics.token_pct->interval->hi;
    }
    Row row = {result.policy.id(),
               std::string(WeightName(report.weight)),
               std::string(WindowName(metrics.window)),
               absl::StrFormat("%d", report.model.max_sequence_tokens.value()),
               mean(metrics.token_pct),
               number(lo),
               number(hi),
               mean(metrics.reserved_pct),
               mean(metrics.internal_pct),
               mean(metrics.external_and_others_pct),
               mean(metrics.batch_mean),
               number(report.CapacityGain(result)),
               absl::StrFormat("%d", result.totals.preemptions),
               number(report.WasteGbHours(result))};
    const LatencyStatistics& latency = result.latency;
    AppendLatencyCells(report.HasArrivals(), latency.ttft(), row);
    AppendLatencyCells(report.HasTimes(), latency.tpot(), row);
    AppendLatencyCells(report.HasArrivals(), latency.e2e(), row);
    AppendLatencyCells(report.HasArrivals(), latency.queue(), row);
    row.push_back(number(report.PerSecond(result, latency.output_tokens())));
    row.push_back(number(report.PerSecond(result, latency.num_finished())));
    row.push_back(number(report.GoodputPct(result)));
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string SummaryToCsv(const Report& report) {
  return TableToCsv(SummaryCsvTable(report));
}

}  // namespace pagedkv::sim
