// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_fit_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "sim/report/canonical_json.h"
#include "sim/report/decimal.h"
#include "sim/study/step_time_file.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

constexpr double kSecond = 1e9;
constexpr double kMillisecond = 1e6;

/// Targets: points of the pool, percent, and a factor either way.
constexpr double kMostKvPoints = 5;
constexpr double kMostPercent = 10;
constexpr double kMostFactor = 2;

double PercentOff(double measured, double replayed) {
  return measured > 0 ? 100 * std::abs(replayed - measured) / measured : 0;
}

/// Means over the instants that have this value, and of how far it is off.
struct SeriesErrors {
  std::int64_t instants = 0;
  double measured = 0;
  double replayed = 0;
  double error = 0;
};

SeriesErrors CompareSeries(const MeasuredRun& run, const ReplayedRun& replayed,
                           std::optional<double> MeasuredInstant::* value) {
  SeriesErrors errors;
  for (std::size_t i = 0; i < run.series.size(); ++i) {
    const std::optional<double>& measured = run.series[i].*value;
    if (!measured) continue;
    const double simulated = *(replayed.series[i].*value);
    ++errors.instants;
    errors.measured += *measured;
    errors.replayed += simulated;
    errors.error += std::abs(simulated - *measured);
  }
  if (errors.instants == 0) return errors;
  const auto count = static_cast<double>(errors.instants);
  errors.measured /= count;
  errors.replayed /= count;
  errors.error /= count;
  return errors;
}

/// Preemptions as the series shows them: who was admitted, has not finished and
/// does not run, is preempted. Counted are the rises from instant to instant,
/// so that what comes and goes between two of them is missed, on both sides
/// alike. `admitted` and `ended` in nanoseconds.
double PreemptionRises(const MeasuredRun& run,
                       const std::vector<MeasuredInstant>& series,
                       std::vector<std::int64_t> admitted,
                       std::vector<std::int64_t> ended) {
  std::sort(admitted.begin(), admitted.end());
  std::sort(ended.begin(), ended.end());
  const auto until = [](const std::vector<std::int64_t>& times,
                        std::int64_t time_ns) {
    return static_cast<double>(
        std::upper_bound(times.begin(), times.end(), time_ns) - times.begin());
  };
  double rises = 0;
  double before = 0;
  for (std::size_t i = 0; i < run.series.size(); ++i) {
    if (!run.series[i].running) continue;
    const std::int64_t time_ns = run.series[i].time_ns;
    const double preempted =
        until(admitted, time_ns) - until(ended, time_ns) - *series[i].running;
    rises += std::max(0.0, preempted - before);
    before = std::max(0.0, preempted);
  }
  return rises;
}

std::optional<FitFigure> ComparePreemptions(const MeasuredRun& run,
                                            const ReplayedRun& replayed) {
  std::vector<std::int64_t> admitted[2];  // measured, replayed
  std::vector<std::int64_t> ended[2];
  for (std::size_t i = 0; i < run.measured.size(); ++i) {
    const std::optional<MeasuredRequest>& measured = run.measured[i];
    // Without all of them it can not be told who is preempted.
    if (!measured || !measured->admitted_ns) return std::nullopt;
    admitted[0].push_back(*measured->admitted_ns);
    ended[0].push_back(measured->last_token_ns);
    if (replayed.requests[i].rejected) continue;
    admitted[1].push_back(replayed.requests[i].admit_ns);
    ended[1].push_back(replayed.requests[i].finish_ns);
  }
  const bool has_running =
      std::any_of(run.series.begin(), run.series.end(),
                  [](const MeasuredInstant& at) { return at.running; });
  if (!has_running) return std::nullopt;
  FitFigure figure{.name = "preemptions",
                   .means =
                       "rises of the preempted from one instant to the "
                       "next; error: factor either way, + 1 on both",
                   .target = kMostFactor};
  figure.measured = PreemptionRises(run, run.series, std::move(admitted[0]),
                                    std::move(ended[0]));
  figure.replayed = PreemptionRises(
      run, replayed.series, std::move(admitted[1]), std::move(ended[1]));
  const double ratio = (figure.replayed + 1) / (figure.measured + 1);
  figure.error = std::max(ratio, 1 / ratio);
  return figure;
}

void AppendMedians(const RequestErrors& errors, bool with_targets,
                   std::vector<FitFigure>& figures) {
  const struct {
    const char* name;
    const char* unit;
    double measured;
    double replayed;
    double unit_ns;
    bool has_target;
  } medians[] = {{"ttft_p50_s", "s", errors.measured_ttft, errors.replayed_ttft,
                  kSecond, true},
                 {"tpot_p50_ms", "ms", errors.measured_tpot,
                  errors.replayed_tpot, kMillisecond, true},
                 {"e2e_p50_s", "s", errors.measured_e2e, errors.replayed_e2e,
                  kSecond, false}};
  for (const auto& [name, unit, measured, replayed, unit_ns, has_target] :
       medians) {
    FitFigure figure{.name = name,
                     .means = absl::StrFormat(
                         "median of the requests, %s; error: percent", unit),
                     .measured = measured / unit_ns,
                     .replayed = replayed / unit_ns,
                     .error = PercentOff(measured, replayed)};
    if (with_targets && has_target) figure.target = kMostPercent;
    figures.push_back(std::move(figure));
  }
}

json ToJson(const RequestErrors& errors) {
  return {{"requests", errors.requests},
          {"ttft_p50_s",
           {{"measured", errors.measured_ttft / kSecond},
            {"simulated", errors.replayed_ttft / kSecond}}},
          {"tpot_p50_s",
           {{"measured", errors.measured_tpot / kSecond},
            {"simulated", errors.replayed_tpot / kSecond}}},
          {"e2e_p50_s",
           {{"measured", errors.measured_e2e / kSecond},
            {"simulated", errors.replayed_e2e / kSecond}}},
          {"mean_absolute_error",
           {{"ttft_s", errors.ttft_error / kSecond},
            {"tpot_s", errors.tpot_error / kSecond}}}};
}

void AppendFigures(const std::vector<FitFigure>& figures, std::string& text) {
  absl::StrAppendFormat(&text, "%-14s | %12s | %12s | %8s | %8s |     | %s\n",
                        "figure", "measured", "simulated", "error", "target",
                        "what it is");
  for (const FitFigure& figure : figures) {
    absl::StrAppendFormat(
        &text, "%-14s | %12.3f | %12.3f | %8.3f | %8s | %-3s | %s\n",
        figure.name, figure.measured, figure.replayed, figure.error,
        figure.target ? absl::StrFormat("%g", *figure.target) : "-",
        !figure.target ? "" : (figure.met() ? "met" : "NO"), figure.means);
  }
}

std::string NameOrUnknown(const std::string& name) {
  return name.empty() ? "unknown" : name;
}

}  // namespace

std::vector<FitFigure> CompareRun(const MeasuredRun& run,
                                  const ReplayedRun& replayed) {
  std::vector<FitFigure> figures;
  const struct {
    const char* name;
    std::optional<double> MeasuredInstant::* value;
    bool in_points;
  } columns[] = {{"kv_cache_pct", &MeasuredInstant::kv_cache_pct, true},
                 {"running", &MeasuredInstant::running, false},
                 {"waiting", &MeasuredInstant::waiting, false}};
  for (const auto& [name, value, in_points] : columns) {
    const SeriesErrors errors = CompareSeries(run, replayed, value);
    if (errors.instants == 0) continue;
    FitFigure figure{
        .name = name, .measured = errors.measured, .replayed = errors.replayed};
    if (in_points) {
      figure.means = absl::StrFormat(
          "mean over %d instants; error: mean absolute error in points",
          errors.instants);
      figure.error = errors.error;
      figure.target = kMostKvPoints;
    } else if (errors.measured > 0) {
      figure.means = absl::StrFormat(
          "mean over %d instants; error: mean absolute error in percent of the "
          "measured mean",
          errors.instants);
      figure.error = 100 * errors.error / errors.measured;
      figure.target = kMostPercent;
    } else {
      // Nobody ever waited: a share of nothing says nothing.
      figure.means = absl::StrFormat(
          "mean over %d instants; error: mean absolute error in requests",
          errors.instants);
      figure.error = errors.error;
    }
    figures.push_back(std::move(figure));
  }
  if (std::optional<FitFigure> figure = ComparePreemptions(run, replayed)) {
    figures.push_back(*std::move(figure));
  }
  AppendMedians(
      CompareRequests(run, replayed, [](std::int64_t) { return true; }),
      /*with_targets=*/true, figures);
  std::int64_t last_ns[2] = {0, 0};
  for (std::size_t i = 0; i < run.measured.size(); ++i) {
    if (!run.measured[i]) continue;
    last_ns[0] = std::max(last_ns[0], run.measured[i]->last_token_ns);
    last_ns[1] = std::max(last_ns[1], replayed.requests[i].finish_ns);
  }
  figures.push_back({.name = "duration_s",
                     .means = "the last token of all, s; error: percent",
                     .measured = static_cast<double>(last_ns[0]) / kSecond,
                     .replayed = static_cast<double>(last_ns[1]) / kSecond,
                     .error = PercentOff(static_cast<double>(last_ns[0]),
                                         static_cast<double>(last_ns[1]))});
  return figures;
}

bool StepFitReport::AllMet() const {
  return std::all_of(figures.begin(), figures.end(),
                     [](const FitFigure& figure) { return figure.met(); });
}

std::string StepFitToText(const StepFitReport& report) {
  const MeasuredRun& run = report.run;
  const SimulationOptions& engine = run.simulation;
  std::string text = absl::StrFormat(
      "run: %s, %s, %s on %s\n"
      "pool: %s blocks of %d tokens, the null block included; at most %s "
      "sequences and %s tokens per step; prefix cache %s\n"
      "requests: %s, of which %s measured; %s instants\n",
      run.name, NameOrUnknown(run.engine), NameOrUnknown(run.model),
      NameOrUnknown(run.gpu), Grouped(run.num_blocks.value()),
      run.policy.block_size.value(), Grouped(engine.max_num_seqs),
      Grouped(engine.max_num_batched_tokens.value()),
      engine.prefix_cache ? "on" : "off",
      Grouped(static_cast<std::int64_t>(run.requests.size())),
      Grouped(report.errors.requests),
      Grouped(static_cast<std::int64_t>(run.series.size())));
  for (const std::string& assumption : run.assumptions) {
    text += "assumed: " + assumption + '\n';
  }
  const StepCost& cost = report.fit.time.serial;
  absl::StrAppendFormat(
      &text,
      "step time: %.4f ms + %.4f us per sequence + %.4f us per computed token "
      "+ %.4f ns per prefill pair + %.4f us per resident token\n"
      "fit: from %s; %d regressions, %d replays; mean errors of TTFT and TPOT "
      "as shares of their medians: %.4f at first, %.4f in the end\n\n",
      static_cast<double>(cost.per_step) * 1e-12,
      static_cast<double>(cost.per_sequence) * 1e-9,
      static_cast<double>(cost.per_computed_token) * 1e-9,
      static_cast<double>(cost.per_prefill_attention) * 1e-6,
      static_cast<double>(cost.per_resident_token) * 1e-9,
      run.roofline ? "the roofline" : "a guess, model or GPU being unknown",
      report.fit.regressions, report.fit.replays, report.fit.start_objective,
      report.fit.objective);
  AppendFigures(report.figures, text);
  const SimulationTotals& totals = report.replayed.totals;
  absl::StrAppendFormat(
      &text,
      "\nthe replay preempted %s times in all, recomputed %s tokens and found "
      "%s of %s prompt tokens in the prefix cache\n",
      Grouped(totals.preemptions), Grouped(totals.recomputed_tokens),
      Grouped(totals.hits.hit_tokens), Grouped(totals.hits.tokens));
  text +=
      "\non requests that it did not see (fitted apart, to the others):\n"
      "fitted to            | requests | TTFT p50 s: measured | simulated | "
      "error % | mean abs. s | TPOT p50 ms: measured | simulated | error % | "
      "mean abs. ms\n";
  for (const HeldOut& held_out : report.held_out) {
    const RequestErrors& unseen = held_out.unseen;
    absl::StrAppendFormat(
        &text,
        "%-20s | %8d | %20.3f | %9.3f | %7.2f | %11.3f | %21.3f | %9.3f | "
        "%7.2f | %12.3f\n",
        held_out.name, unseen.requests, unseen.measured_ttft / kSecond,
        unseen.replayed_ttft / kSecond,
        PercentOff(unseen.measured_ttft, unseen.replayed_ttft),
        unseen.ttft_error / kSecond, unseen.measured_tpot / kMillisecond,
        unseen.replayed_tpot / kMillisecond,
        PercentOff(unseen.measured_tpot, unseen.replayed_tpot),
        unseen.tpot_error / kMillisecond);
  }
  return text;
}

std::string StepFitToJson(const StepFitReport& report) {
  const MeasuredRun& run = report.run;
  const SimulationOptions& engine = run.simulation;
  json figures = json::object();
  for (const FitFigure& figure : report.figures) {
    figures[figure.name] = {
        {"measured", figure.measured},
        {"simulated", figure.replayed},
        {"error", figure.error},
        {"target", figure.target ? json(*figure.target) : json(nullptr)},
        {"met", figure.target ? json(figure.met()) : json(nullptr)},
        {"what", figure.means}};
  }
  json held_out = json::array();
  for (const HeldOut& each : report.held_out) {
    held_out.push_back({{"fitted_to", each.name},
                        {"fitted", ToJson(each.fitted)},
                        {"unseen", ToJson(each.unseen)}});
  }
  const SimulationTotals& totals = report.replayed.totals;
  return CanonicalText(
      {{"schema", "pagedkv.fit/1"},
       {"run",
        {{"name", run.name},
         {"engine", run.engine},
         {"model", run.model},
         {"gpu", run.gpu},
         {"num_blocks", run.num_blocks.value()},
         {"block_size", run.policy.block_size.value()},
         {"max_num_seqs", engine.max_num_seqs},
         {"max_num_batched_tokens", engine.max_num_batched_tokens.value()},
         {"prefix_cache", engine.prefix_cache},
         {"requests", run.requests.size()},
         {"assumptions", run.assumptions}}},
       {"fit",
        {{"start", run.roofline ? "roofline" : "guess"},
         {"regressions", report.fit.regressions},
         {"replays", report.fit.replays},
         {"start_objective", report.fit.start_objective},
         {"regression_objective", report.fit.regression_objective},
         {"objective", report.fit.objective}}},
       {"step_time", json::parse(StepTimeToJson(report.fit.time))},
       {"all_met", report.AllMet()},
       {"figures", figures},
       {"requests", ToJson(report.errors)},
       {"held_out", held_out},
       {"simulated",
        {{"steps", totals.steps},
         {"preemptions", totals.preemptions},
         {"recomputed_tokens", totals.recomputed_tokens},
         {"prompt_tokens", totals.hits.tokens},
         {"hit_tokens", totals.hits.hit_tokens}}}});
}

}  // namespace pagedkv::sim
