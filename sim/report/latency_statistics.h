// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_LATENCY_STATISTICS_H_
#define SIM_REPORT_LATENCY_STATISTICS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/replay/simulation.h"
#include "sim/report/latency_histogram.h"

namespace pagedkv::sim {

/// What a request must keep to count as good put. A limit that is missing holds
/// for every request.
struct ServiceLevel {
  std::optional<std::int64_t> ttft_ns = {};
  std::optional<std::int64_t> tpot_ns = {};

  [[nodiscard]] bool given() const { return ttft_ns || tpot_ns; }
};

/// A finished request that waited long for its first token.
struct RequestLatency {
  std::int64_t id = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int32_t preemptions = 0;
  std::int64_t ttft_ns = 0;
  std::int64_t queue_ns = 0;
};

/// How long requests took, over the whole run, in memory that does not grow
/// with their number. Only meaningful where the clock models time; and times
/// that count from the arrival only where arrivals are not ignored.
/// Thread-compatible.
class LatencyStatistics {
 public:
  LatencyStatistics() = default;
  explicit LatencyStatistics(const ServiceLevel& level) : level_(level) {}

  void Add(const RequestRecord& record);

  /// Arrival to first token, in nanoseconds, as are all.
  [[nodiscard]] const LatencyHistogram& ttft() const { return ttft_; }
  /// From the first token to the last, per token after the first; requests of
  /// one token have none.
  [[nodiscard]] const LatencyHistogram& tpot() const { return tpot_; }
  /// Arrival to last token.
  [[nodiscard]] const LatencyHistogram& e2e() const { return e2e_; }
  /// Arrival to admission (the first, for requests that are preempted).
  [[nodiscard]] const LatencyHistogram& queue() const { return queue_; }

  /// Of finished requests.
  [[nodiscard]] std::int64_t output_tokens() const { return output_tokens_; }
  [[nodiscard]] std::int64_t num_finished() const { return num_finished_; }
  /// Finished or rejected.
  [[nodiscard]] std::int64_t num_requests() const { return num_requests_; }
  [[nodiscard]] const ServiceLevel& level() const { return level_; }
  /// Finished requests within the service level.
  [[nodiscard]] std::int64_t num_good() const { return num_good_; }
  /// At most ten: longest wait for the first token first, the lower id first
  /// among equals.
  [[nodiscard]] const std::vector<RequestLatency>& worst() const {
    return worst_;
  }

 private:
  ServiceLevel level_;
  LatencyHistogram ttft_;
  LatencyHistogram tpot_;
  LatencyHistogram e2e_;
  LatencyHistogram queue_;
  std::int64_t output_tokens_ = 0;
  std::int64_t num_finished_ = 0;
  std::int64_t num_requests_ = 0;
  std::int64_t num_good_ = 0;
  std::vector<RequestLatency> worst_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_LATENCY_STATISTICS_H_
