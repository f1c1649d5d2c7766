// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REPORT_H_
#define SIM_REPORT_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pagedkv/types.h"
#include "sim/replay/simulation.h"
#include "sim/report/kv_group_use.h"
#include "sim/report/latency_statistics.h"
#include "sim/report/metrics.h"
#include "sim/report/request_statistics.h"
#include "sim/report/run_statistics.h"
#include "sim/trace/trace_summary.h"

namespace pagedkv::sim {

/// What was replayed, and how it was asked for.
struct ReportInputs {
  TraceSummary trace;
  std::optional<double> rate_rps;        ///< missing: as recorded
  std::optional<std::int64_t> requests;  ///< missing: all
  std::uint64_t seed = 0;
};

struct ReportModel {
  std::string name;
  std::optional<Bytes> kv_bytes_per_token;  ///< missing: not given
  TokenCount max_sequence_tokens{0};
  bool max_is_models_own = false;  ///< not asked for, but the model's context
};

struct ReportPool {
  std::optional<TokenCount> slots;  ///< missing: unbounded
  std::optional<Bytes> bytes;       ///< missing: unbounded, or not known
  std::string source;               ///< "explicit", "gpu" or "demand"
  std::string description;          ///< for people: which options made it
  std::int64_t num_gpus = 1;        ///< that one replica's pool is spread over
};

/// What a policy's waste amounts to over the whole run.
struct ReportCost {
  /// GPUs whose memory is wasted: the waste as a share of the pool, by time,
  /// times the GPUs.
  std::optional<double> gpu_equivalent;  ///< missing: there is no pool
  // In US dollars; missing without a price, or where time counts steps.
  std::optional<double> usd;  ///< of these GPUs, for the time of the run
  /// Of all GPUs for the time of the run, by the tokens of what finished.
  std::optional<double> usd_per_million_output_tokens;
};

/// What no prefix cache hits more than, from 0 to 1, weighted by blocks.
struct HitBounds {
  double infinite = 0;  ///< a cache that never evicts
  double optimum = 0;   ///< one of the pool's size that knows the future
};

/// One policy's run.
struct PolicyResult {
  Policy policy;
  SimulationTotals totals;
  Metrics metrics;
  RequestStatistics requests;
  LatencyStatistics latency;
  std::int64_t num_events = 0;
  std::optional<HitBounds> hit_bounds = {};  ///< missing: not known
};

/// All that a run of `pagedkv sim` found out. The first policy is the baseline
/// of the others.
struct Report {
  ReportInputs inputs;
  ReportModel model;
  ReportPool pool;
  SimulationOptions simulation;
  ServiceLevel level;  ///< that was asked for
  Weight weight = Weight::kTime;
  WindowKind window = WindowKind::kBusy;  ///< as asked for
  std::vector<PolicyResult> results;
  /// Of the requests that the baseline finished; missing for a model whose
  /// layers all keep the same tokens, or that is not known.
  std::optional<KvGroupsReport> kv_cache_groups = {};
  std::optional<double> usd_per_gpu_hour = {};
  std::string version;
  std::optional<double> wall_s;  ///< missing: not recorded

  /// Mean batch relative to the baseline's; missing if either has none.
  [[nodiscard]] std::optional<double> CapacityGain(
      const PolicyResult& result) const;
  /// Missing where time counts steps, or the bytes per token are not known.
  [[nodiscard]] std::optional<double> WasteGbHours(
      const PolicyResult& result) const;
  /// Whether the clock models time, so that latency and throughput mean
  /// something.
  [[nodiscard]] bool HasTimes() const;
  /// Whether requests come at their own times, so that what counts from their
  /// arrival does.
  [[nodiscard]] bool HasArrivals() const;
  /// `count` per second of the whole run; missing where time counts steps.
  [[nodiscard]] std::optional<double> PerSecond(const PolicyResult& result,
                                                std::int64_t count) const;
  /// Share of the finished and rejected requests that were within the service
  /// level; missing where none was asked for.
  [[nodiscard]] std::optional<double> GoodputPct(
      const PolicyResult& result) const;
  /// Of all replicas.
  [[nodiscard]] std::int64_t num_gpus() const {
    return pool.num_gpus * simulation.fleet.num_replicas;
  }
  [[nodiscard]] ReportCost Cost(const PolicyResult& result) const;
  /// What a reader of the figures must know, one line each: requests that were
  /// dropped or rejected, windows that had to be widened, requests without
  /// progress.
  [[nodiscard]] std::vector<std::string> Warnings() const;
  /// `slots` in bytes; missing if the bytes per token are not known.
  [[nodiscard]] std::optional<Bytes> SlotBytes(std::int64_t slots) const;
};

/// Whether the policy's sequences shared blocks of equal content.
[[nodiscard]] inline bool UsesPrefixCache(const Report& report,
                                          const PolicyResult& result) {
  return report.simulation.prefix_cache &&
         result.policy.kind == PolicyKind::kPaged;
}

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REPORT_H_
