// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report_json.h"

#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "sim/replay/router.h"
#include "sim/report/canonical_json.h"
#include "sim/report/kv_group_json.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json OrNull(const std::optional<Bytes>& value) {
  return value ? json(value->value()) : json(nullptr);
}

json ToJson(const std::optional<Estimate>& estimate) {
  if (!estimate) return nullptr;
  const std::optional<Interval>& interval = estimate->interval;
  return {{"mean", estimate->mean},
          {"lo", interval ? json(interval->lo) : json(nullptr)},
          {"hi", interval ? json(interval->hi) : json(nullptr)}};
}

double Seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) * 1e-9;
}

json InputsToJson(const Report& report) {
  const TraceSummary& trace = report.inputs.trace;
  json engine_block_tokens = nullptr;
  for (const PolicyResult& result : report.results) {
    if (result.policy.kind == PolicyKind::kPaged) {
      engine_block_tokens = result.policy.block_size.value();
      break;
    }
  }
  return {
      {"rate_rps", OrNull(report.inputs.rate_rps)},
      {"requests", OrNull(report.inputs.requests)},
      {"seed", report.inputs.seed},
      {"trace",
       {{"name", trace.name},
        {"format", trace.format},
        {"synthetic_from", trace.synthetic_from.empty()
                               ? json(nullptr)
                               : json(trace.synthetic_from)},
        {"sha256", trace.sha256},
        {"rows", trace.rows},
        {"kept", trace.kept},
        {"dropped",
         {{"zero_output", trace.dropped.zero_output},
          {"over_max_seq", trace.dropped.over_max_seq},
          {"malformed", trace.dropped.malformed},
          {"out_of_order", trace.dropped.out_of_order}}},
        {"span_s", Seconds(trace.span_ns)},
        {"rate_rps", trace.rate()},
        {"tokens",
         {{"prompt", trace.prompt_tokens}, {"output", trace.output_tokens}}},
        {"trace_block_tokens", trace.trace_block_tokens > 0
                                   ? json(trace.trace_block_tokens)
                                   : json(nullptr)},
        {"engine_block_tokens", engine_block_tokens}}}};
}

json PolicyToJson(const Policy& policy, const SimulationOptions& options) {
  json result = {{"id", policy.id()}};
  switch (policy.kind) {
    case PolicyKind::kPaged:
      result["kind"] = "paged";
      result["block_size"] = policy.block_size.value();
      result["watermark"] = options.watermark;
      result["prefix_cache"] = options.prefix_cache;
      if (options.prefix_cache) result["eviction"] = options.eviction_policy;
      if (options.swap_slots > TokenCount(0)) {
        result["swap"] = {
            {"slots", options.swap_slots.value()},
            {"link_bytes_per_s", options.link_bytes_per_s > 0
                                     ? json(options.link_bytes_per_s)
                                     : json(nullptr)}};
      }
      return result;
    case PolicyKind::kConcat:
      result["kind"] = "concat";
      return result;
    case PolicyKind::kContiguousMax:
      result["reserve"] = "max";
      break;
    case PolicyKind::kContiguousPow2:
      result["reserve"] = "pow2";
      break;
    case PolicyKind::kContiguousOracle:
      result["reserve"] = "oracle";
      break;
    case PolicyKind::kContiguousMaxExact:
      result["reserve"] = "max";
      break;
  }
  result["kind"] = "contiguous";
  result["allocator"] =
      policy.kind == PolicyKind::kContiguousMaxExact ? "arena" : "buddy";
  return result;
}

json SwappedBytesToJson(const Report& report, const SimulationTotals& totals) {
  if (totals.swapped_tokens == 0) return 0;
  const std::optional<Bytes> bytes = report.SlotBytes(totals.swapped_tokens);
  return bytes.has_value() ? json(bytes->value()) : json(nullptr);
}

json CausesToJson(const Metrics& metrics) {
  json causes;
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    causes[std::string(kCauseNames[i])] =
        static_cast<double>(metrics.causes_millionths_pct[i]) * 1e-6;
  }
  return causes;
}

json RequestWasteToJson(const RequestStatistics& requests) {
  if (requests.num_finished() == 0) return nullptr;
  json worst = json::array();
  for (const RequestWaste& request : requests.worst()) {
    worst.push_back({{"id", request.id},
                     {"prompt", request.prompt_tokens},
                     {"output", request.output_tokens},
                     {"waste_slots", request.waste_slots}});
  }
  return {{"p50", requests.WasteQuantile(0.50)},
          {"p90", requests.WasteQuantile(0.90)},
          {"p99", requests.WasteQuantile(0.99)},
          {"max", requests.WasteQuantile(1.0)},
          {"worst", worst}};
}

json HitToJson(const PolicyResult& result) {
  const HitRates rates = result.totals.hits.rates();
  json document = {{"block_weighted", rates.block},
                   {"token_weighted", rates.token},
                   {"request_mean", rates.request},
                   {"infinite_bound", nullptr},
                   {"belady_bound", nullptr}};
  if (result.hit_bounds) {
    document["infinite_bound"] = result.hit_bounds->infinite;
    document["belady_bound"] = result.hit_bounds->optimum;
  }
  return document;
}

json ToJson(const LatencyHistogram& histogram) {
  if (histogram.count() == 0) return nullptr;
  json seconds = {{"mean", *histogram.Mean() * 1e-9},
                  {"max", Seconds(*histogram.Greatest())}};
  for (const auto& [name, quantile] :
       {std::pair{"p50", 0.50}, std::pair{"p90", 0.90},
        std::pair{"p99", 0.99}}) {
    seconds[name] = Seconds(*histogram.Quantile(quantile));
  }
  return seconds;
}

json LatencyToJson(const Report& report, const LatencyStatistics& latency) {
  if (!report.HasTimes()) return nullptr;
  json document = {{"tpot_s", ToJson(latency.tpot())},
                   {"ttft_s", nullptr},
                   {"e2e_s", nullptr},
                   {"queue_s", nullptr},
                   {"worst_ttft", json::array()}};
  if (!report.HasArrivals()) return document;
  document["ttft_s"] = ToJson(latency.ttft());
  document["e2e_s"] = ToJson(latency.e2e());
  document["queue_s"] = ToJson(latency.queue());
  for (const RequestLatency& request : latency.worst()) {
    document["worst_ttft"].push_back({{"id", request.id},
                                      {"prompt", request.prompt_tokens},
                                      {"output", request.output_tokens},
                                      {"preemptions", request.preemptions},
                                      {"ttft_s", Seconds(request.ttft_ns)},
                                      {"queue_s", Seconds(request.queue_ns)}});
  }
  return document;
}

json FleetToJson(const FleetOptions& fleet) {
  json outages = json::array();
  for (const Outage& outage : fleet.outages) {
    outages.push_back({{"replica", outage.replica},
                       {"begin_s", Seconds(outage.begin_ns)},
                       {"end_s", Seconds(outage.end_ns)}});
  }
  return {{"replicas", fleet.num_replicas},
          {"router", RouterName(fleet.router)},
          {"knowledge_delay_s", Seconds(fleet.knowledge_delay_ns)},
          {"outages", outages}};
}

json ReplicasToJson(const std::vector<ReplicaTotals>& replicas) {
  json rows = json::array();
  for (const ReplicaTotals& replica : replicas) {
    rows.push_back({{"routed", replica.routed},
                    {"routed_prompt_tokens", replica.routed_prompt_tokens},
                    {"lost", replica.lost},
                    {"finished", replica.finished},
                    {"preemptions", replica.preemptions},
                    {"hit_token_weighted", replica.hits.rates().token}});
  }
  return rows;
}

json ThroughputToJson(const Report& report, const PolicyResult& result) {
  const LatencyStatistics& latency = result.latency;
  const std::optional<double> tokens =
      report.PerSecond(result, latency.output_tokens());
  if (!tokens) return nullptr;
  return {{"output_tokens_per_s", *tokens},
          {"requests_per_s",
           OrNull(report.PerSecond(result, latency.num_finished()))}};
}

json GoodputToJson(const Report& report, const PolicyResult& result) {
  const std::optional<double> percent = report.GoodputPct(result);
  if (!percent) return nullptr;
  return {{"requests_pct", *percent},
          {"requests_per_s",
           OrNull(report.PerSecond(result, result.latency.num_good()))}};
}

json ToJson(const ReportCost& cost) {
  return {{"gpu_equiv", OrNull(cost.gpu_equivalent)},
          {"usd", OrNull(cost.usd)},
          {"usd_per_million_output_tokens",
           OrNull(cost.usd_per_million_output_tokens)}};
}

json ResultToJson(const Report& report, const PolicyResult& result) {
  const Metrics& metrics = result.metrics;
  const SimulationTotals& totals = result.totals;
  json batch = ToJson(metrics.batch_mean);
  if (metrics.batch_mean) {
    batch["p50"] = metrics.batch_p50;
    batch["p99"] = metrics.batch_p99;
    batch["max"] = metrics.batch_max;
  }
  json document = {
      {"window", WindowName(metrics.window)},
      {"weight", WeightName(report.weight)},
      {"windows", metrics.num_windows},
      // A run whose causes ever fail to sum to the pool ends with an error.
      {"conservation", "exact"},
      {"denominators",
       {{"waste_pct", "held"},
        {"waste_hard_pct", "held"},
        {"waste_soft_pct", "held"},
        {"waste_intrinsic_pct", "allocated"},
        {"effective_pct", "pool"},
        {"causes_pct", "pool"},
        {"paper_pct", "pool"}}},
      {"waste_pct", ToJson(metrics.waste_pct)},
      {"waste_hard_pct", ToJson(metrics.waste_hard_pct)},
      {"waste_soft_pct", ToJson(metrics.waste_soft_pct)},
      {"waste_intrinsic_pct", ToJson(metrics.waste_intrinsic_pct)},
      {"effective_pct", ToJson(metrics.token_pct)},
      {"causes_pct", CausesToJson(metrics)},
      {"paper_pct",
       {{"token", ToJson(metrics.token_pct)},
        {"reserved", ToJson(metrics.reserved_pct)},
        {"internal", ToJson(metrics.internal_pct)},
        {"external_and_others", ToJson(metrics.external_and_others_pct)}}},
      {"waste_gb_hours", OrNull(report.WasteGbHours(result))},
      {"cost", ToJson(report.Cost(result))},
      {"batch", batch},
      {"capacity_gain", OrNull(report.CapacityGain(result))},
      {"peak_slots", totals.peak_slots},
      {"demand_peak",
       report.simulation.demand ? json(totals.capacity_slots) : json(nullptr)},
      {"frag_index", OrNull(metrics.frag_index)},
      {"admit",
       {{"blocked_s",
         {{"capacity", Seconds(totals.blocked_capacity_ns)},
          {"fragmentation", Seconds(totals.blocked_fragmented_ns)},
          {"watermark", Seconds(totals.blocked_watermark_ns)},
          {"cap", Seconds(totals.blocked_policy_ns)}}}}},
      {"preempt",
       {{"count", totals.preemptions},
        {"recomputed_tokens", totals.recomputed_tokens},
        {"swaps", totals.swaps},
        {"swapped_blocks", totals.swapped_blocks},
        {"swapped_bytes", SwappedBytesToJson(report, totals)},
        {"max_per_request", totals.max_preemptions_per_request},
        {"livelock", totals.livelocked_requests}}},
      {"per_request", {{"waste_slots", RequestWasteToJson(result.requests)}}},
      {"latency", LatencyToJson(report, result.latency)},
      {"throughput", ThroughputToJson(report, result)},
      {"goodput", GoodputToJson(report, result)},
      {"requests",
       {{"finished", totals.finished}, {"rejected", totals.rejected}}},
      {"steps", totals.steps},
      {"duration_s", Seconds(totals.end_ns)}};
  if (UsesPrefixCache(report, result)) document["hit"] = HitToJson(result);
  if (!totals.replicas.empty()) {
    document["replicas"] = ReplicasToJson(totals.replicas);
  }
  if (result.policy.kind == PolicyKind::kConcat) {
    document["growth"] = {
        {"copied_slots", totals.copied_slots},
        {"copied_bytes", OrNull(report.SlotBytes(totals.copied_slots))},
        {"transient_peak_slots", totals.transient_peak_slots},
        {"transient_peak_bytes",
         OrNull(report.SlotBytes(totals.transient_peak_slots))}};
  }
  return document;
}

std::string_view ClockName(ClockKind clock) {
  switch (clock) {
    case ClockKind::kIteration:
      return "iteration";
    case ClockKind::kFixed:
      return "fixed";
    case ClockKind::kModel:
      break;
  }
  return "model";
}

json ToJson(const StepCost& cost) {
  return {{"per_step", cost.per_step},
          {"per_sequence", cost.per_sequence},
          {"per_computed_token", cost.per_computed_token},
          {"per_prefill_attention", cost.per_prefill_attention},
          {"per_resident_token", cost.per_resident_token}};
}

json ClockToJson(const SimulationOptions& options) {
  json clock = {
      {"kind", ClockName(options.clock)},
      {"saturated", options.saturate || options.clock == ClockKind::kIteration},
      // A step of the iteration clock is reported as one second.
      {"step_s", Seconds(options.step_ns)},
      {"preset", nullptr},
      {"source", nullptr},
      {"model", nullptr},
      {"step_time_fs", nullptr}};
  if (options.clock == ClockKind::kModel) {
    const StepTime& time = options.step_time;
    clock["step_s"] = nullptr;
    clock["preset"] = time.preset;
    clock["source"] = time.source;
    if (!time.model.empty()) clock["model"] = time.model;
    clock["step_time_fs"] = {{"serial", ToJson(time.serial)},
                             {"compute", ToJson(time.compute)},
                             {"memory", ToJson(time.memory)}};
  }
  return clock;
}

json ToJson(const ServiceLevel& level) {
  const auto limit = [](const std::optional<std::int64_t>& time_ns) {
    return time_ns ? json(Seconds(*time_ns)) : json(nullptr);
  };
  return {{"ttft_s", limit(level.ttft_ns)}, {"tpot_s", limit(level.tpot_ns)}};
}

}  // namespace

nlohmann::json ReportToDocument(const Report& report) {
  const SimulationOptions& options = report.simulation;
  json policies = json::array();
  json results = json::object();
  for (const PolicyResult& result : report.results) {
    policies.push_back(PolicyToJson(result.policy, options));
    results[result.policy.id()] = ResultToJson(report, result);
  }
  const std::optional<TokenCount>& slots = report.pool.slots;
  json document = {
      {"schema", kReportSchema},
      {"inputs", InputsToJson(report)},
      {"model",
       {{"name", report.model.name},
        {"kv_bytes_per_token", OrNull(report.model.kv_bytes_per_token)},
        {"max_seq_len", report.model.max_sequence_tokens.value()}}},
      {"pool",
       {{"slots", slots ? json(slots->value()) : json(nullptr)},
        {"bytes", OrNull(report.pool.bytes)},
        {"source", report.pool.source}}},
      {"clock", ClockToJson(options)},
      {"cost",
       {{"gpus", report.num_gpus()},
        {"usd_per_gpu_hour", OrNull(report.usd_per_gpu_hour)}}},
      {"service_level", ToJson(report.level)},
      {"limits",
       {{"max_num_seqs", options.max_num_seqs},
        {"max_num_batched_tokens", options.max_num_batched_tokens.value()}}},
      {"window",
       {{"asked", WindowName(report.window)},
        {"warm_up", kWarmUpDefinition},
        {"drain", kDrainDefinition}}},
      {"policies", policies},
      {"baseline", report.results.front().policy.id()},
      {"results", results},
      {"kv_cache_groups", report.kv_cache_groups
                              ? KvGroupsToJson(*report.kv_cache_groups)
                              : json(nullptr)},
      {"warnings", report.Warnings()}};
  if (options.fleet.num_replicas > 1 || !options.fleet.outages.empty()) {
    document["fleet"] = FleetToJson(options.fleet);
  }
  return document;
}

std::string ReportToJson(const Report& report) {
  std::int64_t num_events = 0;
  for (const PolicyResult& result : report.results) {
    num_events += result.num_events;
  }
  return SealedText(ReportToDocument(report),
                    {{"version", report.version},
                     {"wall_s", OrNull(report.wall_s)},
                     {"events", num_events}});
}

}  // namespace pagedkv::sim
