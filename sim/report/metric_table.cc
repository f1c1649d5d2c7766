// SPDX-License-Identifier: Apache-2.0
#include "sim/report/metric_table.h"

#include <cstddef>

#include "sim/report/json_value.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

struct DirectionRule {
  std::string_view name;  ///< with '.' at the end: all that begin so
  Direction direction;
};

constexpr Direction kLower = Direction::kLowerIsBetter;
constexpr Direction kHigher = Direction::kHigherIsBetter;

// What is not here only says how a run went: how the pool divides among causes,
// what requests wait for, how many steps there were.
constexpr DirectionRule kDirections[] = {
    {"waste_pct", kLower},
    {"waste_hard_pct", kLower},
    {"waste_soft_pct", kLower},
    {"waste_intrinsic_pct", kLower},
    {"waste_gb_hours", kLower},
    {"effective_pct", kHigher},
    {"batch.mean", kHigher},
    {"demand_peak", kLower},
    {"frag_index", kLower},
    {"preempt.swaps", Direction::kNeutral},  // it says how, not how often
    {"preempt.", kLower},
    {"per_request.waste_slots.", kLower},
    {"requests.finished", kHigher},
    {"requests.rejected", kLower},
    {"duration_s", kLower},
    {"growth.", kLower},
    {"cost.", kLower},
    {"latency.", kLower},
    {"throughput.", kHigher},
    {"goodput.", kHigher},
    {"hit.block_weighted", kHigher},
    {"hit.token_weighted", kHigher},
    {"hit.request_mean", kHigher},
};

constexpr TargetMetric kTargets[] = {
    {"ttft-p50", "/latency/ttft_s/p50", TargetUnit::kSeconds, kLower, false,
     "Median time to the first token"},
    {"ttft-p99", "/latency/ttft_s/p99", TargetUnit::kSeconds, kLower, false,
     "99th percentile of the time to the first token"},
    {"tpot-p50", "/latency/tpot_s/p50", TargetUnit::kSeconds, kLower, false,
     "Median time per output token after the first"},
    {"tpot-p99", "/latency/tpot_s/p99", TargetUnit::kSeconds, kLower, false,
     "99th percentile of the time per output token"},
    {"e2e-p99", "/latency/e2e_s/p99", TargetUnit::kSeconds, kLower, false,
     "99th percentile of the time from arrival to the last token"},
    {"queue-p99", "/latency/queue_s/p99", TargetUnit::kSeconds, kLower, false,
     "99th percentile of the time from arrival to admission"},
    {"preemption-rate", "/preempt/count", TargetUnit::kShare, kLower, true,
     "Preemptions per request"},
    {"rejection-rate", "/requests/rejected", TargetUnit::kShare, kLower, true,
     "Share of the requests that can never fit"},
    {"goodput", "/goodput/requests_pct", TargetUnit::kPercent, kHigher, false,
     "Requests within --slo-ttft and --slo-tpot, percent, at least"},
    {"waste", "/waste_pct/mean", TargetUnit::kPercent, kLower, false,
     "Waste, percent of the slots held"},
    {"batch", "/batch/mean", TargetUnit::kNumber, kHigher, false,
     "Resident sequences on average, at least"},
};

/// An object that is a mean with an interval, and whatever else.
std::optional<Estimate> EstimateIn(const json& object) {
  const std::optional<double> mean = NumberAt(object, "/mean");
  if (!mean || !object.contains("lo") || !object.contains("hi")) {
    return std::nullopt;
  }
  Estimate estimate{*mean, std::nullopt};
  const std::optional<double> lo = NumberAt(object, "/lo");
  const std::optional<double> hi = NumberAt(object, "/hi");
  if (lo && hi) estimate.interval = Interval{*lo, *hi};
  return estimate;
}

void AppendFigures(const json& object, const std::string& prefix,
                   std::vector<NamedFigure>& figures) {
  const std::optional<Estimate> estimate = EstimateIn(object);
  if (estimate) {
    // Without its dot, unless it has company.
    const bool alone = object.size() == 3;
    figures.push_back(
        {alone ? prefix.substr(0, prefix.size() - 1) : prefix + "mean",
         *estimate});
  }
  for (const auto& [key, value] : object.items()) {
    if (estimate && (key == "mean" || key == "lo" || key == "hi")) continue;
    if (value.is_object()) {
      AppendFigures(value, prefix + key + '.', figures);
    } else if (value.is_number()) {
      figures.push_back({prefix + key, {value.get<double>(), std::nullopt}});
    }
  }
}

}  // namespace

std::vector<NamedFigure> FiguresOf(const json& result) {
  std::vector<NamedFigure> figures;
  if (!result.is_object()) return figures;
  AppendFigures(result, "", figures);
  // How many windows the intervals are from: no figure of the policy's.
  std::erase_if(figures, [](const NamedFigure& figure) {
    return figure.name == "windows";
  });
  return figures;
}

Direction DirectionOf(std::string_view figure) {
  for (const DirectionRule& rule : kDirections) {
    const bool all = rule.name.back() == '.';
    if (all ? figure.substr(0, rule.name.size()) == rule.name
            : figure == rule.name) {
      return rule.direction;
    }
  }
  return Direction::kNeutral;
}

bool IsPercentage(std::string_view figure) {
  constexpr std::string_view kSuffix = "_pct";
  const std::size_t at = figure.find(kSuffix);
  return at != std::string_view::npos &&
         (at + kSuffix.size() == figure.size() ||
          figure[at + kSuffix.size()] == '.');
}

std::span<const TargetMetric> TargetMetrics() { return kTargets; }

std::optional<double> TargetValue(const json& result,
                                  const TargetMetric& metric) {
  const std::optional<double> value = NumberAt(result, metric.path);
  if (!value || !metric.per_request) return value;
  const double offered = NumberAt(result, "/requests/finished").value_or(0) +
                         NumberAt(result, "/requests/rejected").value_or(0);
  if (offered <= 0) return std::nullopt;
  return *value / offered;
}

bool Meets(const TargetMetric& metric, double value, double target) {
  return metric.direction == kHigher ? value >= target : value <= target;
}

}  // namespace pagedkv::sim
