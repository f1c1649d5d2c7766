// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report.h"

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

/// What is not replayed as recorded: nothing is ever dropped in silence.
void AppendWorkloadWarnings(const Report& report,
                            std::vector<std::string>& warnings) {
  const TraceSummary& trace = report.inputs.trace;
  const std::string of_rows =
      Grouped(trace.rows) + " requests of " + trace.name;
  const auto append = [&](std::int64_t rows, const std::string& reason) {
    if (rows == 0) return;
    warnings.push_back(absl::StrFormat("dropped %s of %s: %s", Grouped(rows),
                                       of_rows, reason));
  };
  append(trace.dropped.over_max_seq,
         absl::StrFormat("longer than %s tokens, %s",
                         Grouped(report.model.max_sequence_tokens.value()),
                         report.model.max_is_models_own
                             ? "the context of " + report.model.name +
                                   "; --max-seq-len sets another limit"
                             : "which --max-seq-len sets"));
  append(trace.dropped.zero_output, "no output tokens");
  append(trace.dropped.malformed, "malformed (--skip-malformed)");
  append(trace.dropped.out_of_order,
         "arrived before the row above; --sort keeps them");
  if (trace.open_loop_turns > 0) {
    warnings.push_back(absl::StrFormat(
        "%s of the requests of %s follow another by a delay: they do not wait "
        "for it to finish",
        Grouped(trace.open_loop_turns), trace.name));
  }
  if (report.HasArrivals() && trace.kept > 1 && trace.span_ns == 0) {
    warnings.push_back(absl::StrFormat(
        "all requests of %s arrive at once; --rate spreads them, --saturate "
        "offers them as they are admitted",
        trace.name));
  }
}

}  // namespace

bool Report::HasTimes() const {
  return simulation.clock != ClockKind::kIteration;
}

bool Report::HasArrivals() const { return HasTimes() && !simulation.saturate; }

std::optional<double> Report::PerSecond(const PolicyResult& result,
                                        std::int64_t count) const {
  if (!HasTimes() || result.totals.end_ns == 0) return std::nullopt;
  return static_cast<double>(count) * 1e9 /
         static_cast<double>(result.totals.end_ns);
}

std::optional<double> Report::GoodputPct(const PolicyResult& result) const {
  const LatencyStatistics& latency = result.latency;
  if (!level.given() || latency.num_requests() == 0) return std::nullopt;
  return 100 * static_cast<double>(latency.num_good()) /
         static_cast<double>(latency.num_requests());
}

std::vector<std::string> Report::Warnings() const {
  std::vector<std::string> warnings;
  AppendWorkloadWarnings(*this, warnings);
  const std::string& timed = simulation.step_time.model;
  if (simulation.clock == ClockKind::kModel && !timed.empty() &&
      timed != model.name) {
    warnings.push_back(absl::StrFormat("the step times of %s are of %s, not %s",
                                       simulation.step_time.preset, timed,
                                       model.name));
  }
  std::vector<std::string> fell_back;
  for (const PolicyResult& result : results) {
    const std::string id = result.policy.id();
    if (result.totals.rejected > 0) {
      warnings.push_back(absl::StrFormat(
          "%s: rejected %s requests that can never fit into the pool", id,
          Grouped(result.totals.rejected)));
    }
    if (result.totals.livelocked_requests > 0) {
      warnings.push_back(absl::StrFormat(
          "%s: %s requests were preempted more than %d times in a row without "
          "progress",
          id, Grouped(result.totals.livelocked_requests),
          kLivelockPreemptions));
    }
    if (result.metrics.fell_back) fell_back.push_back(id);
  }
  if (kv_cache_groups) {
    warnings.push_back(absl::StrFormat(
        "the layers of %s keep different tokens: the policies hold all tokens "
        "of the requests in all layers, and neither images nor states; what "
        "its %d KV cache groups would hold is shown apart",
        model.name, kv_cache_groups->groups.size()));
  }
  if (!fell_back.empty()) {
    warnings.push_back(absl::StrFormat(
        "%s: nothing is left of window %s without warm-up and drain: the "
        "figures are of the whole run",
        absl::StrJoin(fell_back, ", "), WindowName(window)));
  }
  return warnings;
}

std::optional<double> Report::CapacityGain(const PolicyResult& result) const {
  const std::optional<Estimate>& base = results.front().metrics.batch_mean;
  const std::optional<Estimate>& own = result.metrics.batch_mean;
  if (!base || !own || base->mean <= 0) return std::nullopt;
  return own->mean / base->mean;
}

std::optional<double> Report::WasteGbHours(const PolicyResult& result) const {
  constexpr double kBytesPerGb = 1e9;
  if (!result.metrics.waste_slot_hours || !model.kv_bytes_per_token) {
    return std::nullopt;
  }
  return *result.metrics.waste_slot_hours *
         static_cast<double>(model.kv_bytes_per_token->value()) / kBytesPerGb;
}

ReportCost Report::Cost(const PolicyResult& result) const {
  ReportCost cost;
  if (!simulation.demand && result.metrics.waste_of_pool) {
    cost.gpu_equivalent =
        *result.metrics.waste_of_pool * static_cast<double>(num_gpus());
  }
  if (!usd_per_gpu_hour || !HasTimes()) return cost;
  constexpr double kNanosecondsPerHour = 3.6e12;
  const double usd_per_gpu = *usd_per_gpu_hour *
                             static_cast<double>(result.totals.end_ns) /
                             kNanosecondsPerHour;
  if (cost.gpu_equivalent) cost.usd = *cost.gpu_equivalent * usd_per_gpu;
  const std::int64_t tokens = result.latency.output_tokens();
  if (tokens > 0) {
    cost.usd_per_million_output_tokens = 1e6 * static_cast<double>(num_gpus()) *
                                         usd_per_gpu /
                                         static_cast<double>(tokens);
  }
  return cost;
}

std::optional<Bytes> Report::SlotBytes(std::int64_t slots) const {
  if (!model.kv_bytes_per_token) return std::nullopt;
  return *model.kv_bytes_per_token * slots;
}

}  // namespace pagedkv::sim
