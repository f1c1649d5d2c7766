// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

std::string_view WeightKey(HitWeight weight) {
  switch (weight) {
    case HitWeight::kBlock:
      return "block_hit_rate";
    case HitWeight::kToken:
      return "token_hit_rate";
    case HitWeight::kRequest:
      return "request_hit_rate";
  }
  return "unknown";
}

std::string_view WeightText(HitWeight weight) {
  switch (weight) {
    case HitWeight::kBlock:
      return "block-weighted hit rate: blocks found / blocks asked for";
    case HitWeight::kToken:
      return "token-weighted hit rate: tokens found / prompt tokens";
    case HitWeight::kRequest:
      return "request-weighted hit rate: mean over requests of tokens found / "
             "prompt tokens";
  }
  return "unknown";
}

std::string FourDecimals(const HitCounts& counts, HitWeight weight) {
  return absl::StrFormat("%.4f", HitRateOf(counts, weight));
}

// ---- Tables ----

using Cells = std::vector<std::string>;

std::vector<Cells> TableOf(const HitcurveReport& report, HitWeight weight) {
  const HitCurve& curve = report.curve;
  Cells head = {"blocks"};
  for (const BlockCount size : curve.sizes) {
    head.push_back(Grouped(size.value()));
  }
  head.emplace_back("unbounded");
  std::vector<Cells> table = {head};
  for (const HitCurve::Row& row : curve.rows) {
    Cells cells = {row.policy};
    for (const HitCounts& counts : row.counts) {
      cells.push_back(FourDecimals(counts, weight));
    }
    cells.push_back(FourDecimals(curve.unbounded, weight));
    table.push_back(cells);
  }
  return table;
}

json TraceToJson(const HitcurveReport& report) {
  const TraceSummary& trace = report.trace;
  return {{"name", trace.name},
          {"format", trace.format},
          {"sha256", trace.sha256},
          {"rows", trace.rows},
          {"kept", trace.kept},
          {"dropped",
           {{"malformed", trace.dropped.malformed},
            {"zero_output", trace.dropped.zero_output},
            {"out_of_order", trace.dropped.out_of_order},
            {"over_max_seq", trace.dropped.over_max_seq}}},
          {"prompt_tokens", trace.prompt_tokens},
          {"block_tokens", trace.trace_block_tokens},
          {"block_references", report.curve.unbounded.blocks},
          {"distinct_blocks", report.num_contents.value()}};
}

json RatesToJson(const HitCounts& counts,
                 const std::vector<HitWeight>& weights) {
  json object = json::object();
  for (const HitWeight weight : weights) {
    object[std::string(WeightKey(weight))] =
        std::round(HitRateOf(counts, weight) * 1e6) / 1e6;
  }
  return object;
}

}  // namespace

std::vector<std::string> HitcurveFacts(const HitcurveReport& report) {
  const TraceSummary& trace = report.trace;
  return {
      absl::StrFormat("workload: %s (%s), %s of %s requests, %s prompt tokens",
                      trace.name, trace.format, Grouped(trace.kept),
                      Grouped(trace.rows), Grouped(trace.prompt_tokens)),
      absl::StrFormat("blocks: of %d tokens; %s references to %s contents; lru "
                      "hits all that can be hit from %s blocks on",
                      trace.trace_block_tokens,
                      Grouped(report.curve.unbounded.blocks),
                      Grouped(report.num_contents.value()),
                      Grouped(report.curve.lru_need.value()))};
}

double HitRateOf(const HitCounts& counts, HitWeight weight) {
  const HitRates rates = counts.rates();
  switch (weight) {
    case HitWeight::kBlock:
      return rates.block;
    case HitWeight::kToken:
      return rates.token;
    case HitWeight::kRequest:
      return rates.request;
  }
  return 0;
}

std::string HitcurveToText(const HitcurveReport& report,
                           const std::vector<HitWeight>& weights) {
  std::string text;
  for (const std::string& line : HitcurveFacts(report)) text += line + '\n';
  for (const HitWeight weight : weights) {
    const std::vector<Cells> table = TableOf(report, weight);
    std::vector<int> widths(table.front().size(), 0);
    for (const Cells& cells : table) {
      for (std::size_t i = 0; i < cells.size(); ++i) {
        widths[i] = std::max(widths[i], static_cast<int>(cells[i].size()));
      }
    }
    absl::StrAppendFormat(&text, "\n%s\n\n", WeightText(weight));
    for (const Cells& cells : table) {
      // The names to the left, the figures to the right.
      absl::StrAppendFormat(&text, "%-*s", widths[0], cells[0]);
      for (std::size_t i = 1; i < cells.size(); ++i) {
        absl::StrAppendFormat(&text, " | %*s", widths[i], cells[i]);
      }
      text += '\n';
    }
  }
  return text;
}

std::string HitcurveToMarkdown(const HitcurveReport& report,
                               const std::vector<HitWeight>& weights) {
  std::string text = "# Hit rate by size of the cache\n\n";
  for (const std::string& line : HitcurveFacts(report))
    text += "- " + line + '\n';
  for (const HitWeight weight : weights) {
    absl::StrAppendFormat(&text, "\n%s\n\n", WeightText(weight));
    const std::vector<Cells> table = TableOf(report, weight);
    for (const Cells& cells : table) {
      for (const std::string& cell : cells) {
        absl::StrAppendFormat(&text, "| %s ", cell);
      }
      text += "|\n";
      if (&cells != &table.front()) continue;
      for (std::size_t i = 0; i < cells.size(); ++i) {
        text += i == 0 ? "|---" : "|---:";
      }
      text += "|\n";
    }
  }
  return text;
}

std::string HitcurveToCsv(const HitcurveReport& report,
                          const std::vector<HitWeight>& weights) {
  std::string text = "policy,method,size_blocks,size_tokens";
  for (const HitWeight weight : weights) {
    absl::StrAppendFormat(&text, ",%s", WeightKey(weight));
  }
  text += '\n';
  const std::int64_t block_tokens = report.trace.trace_block_tokens;
  const auto append = [&](std::string_view policy, std::string_view method,
                          BlockCount size, const HitCounts& counts) {
    absl::StrAppendFormat(&text, "%s,%s,%d,%d", policy, method, size.value(),
                          size.value() * block_tokens);
    for (const HitWeight weight : weights) {
      text += ',' + FixedDecimal(HitRateOf(counts, weight));
    }
    text += '\n';
  };
  const HitCurve& curve = report.curve;
  for (const HitCurve::Row& row : curve.rows) {
    for (std::size_t i = 0; i < curve.sizes.size(); ++i) {
      append(row.policy, MethodName(row.method), curve.sizes[i], row.counts[i]);
    }
  }
  append("unbounded", "never_evicts", report.num_contents, curve.unbounded);
  return text;
}

std::string HitcurveToJson(const HitcurveReport& report,
                           const std::vector<HitWeight>& weights) {
  const HitCurve& curve = report.curve;
  json rows = json::array();
  for (const HitCurve::Row& row : curve.rows) {
    json points = json::array();
    for (std::size_t i = 0; i < curve.sizes.size(); ++i) {
      json point = RatesToJson(row.counts[i], weights);
      point["size_blocks"] = curve.sizes[i].value();
      points.push_back(std::move(point));
    }
    rows.push_back({{"policy", row.policy},
                    {"method", std::string(MethodName(row.method))},
                    {"points", std::move(points)}});
  }
  const json document = {{"schema", "pagedkv.hitcurve/1"},
                         {"trace", TraceToJson(report)},
                         {"curves", std::move(rows)},
                         {"lru_need_blocks", curve.lru_need.value()},
                         {"unbounded", RatesToJson(curve.unbounded, weights)}};
  // A file's name may be any bytes: dump without exceptions.
  return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace pagedkv::sim
