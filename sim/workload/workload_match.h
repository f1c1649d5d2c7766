// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_WORKLOAD_MATCH_H_
#define SIM_WORKLOAD_WORKLOAD_MATCH_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// A sample of whole numbers, in order.
class Sample {
 public:
  explicit Sample(std::vector<std::int64_t> values);

  [[nodiscard]] const std::vector<std::int64_t>& values() const {
    return values_;
  }
  [[nodiscard]] double mean() const;
  /// Coefficient of variation: standard deviation over mean; 0 where that is 0.
  [[nodiscard]] double cv() const;
  /// Nearest rank, 0 <= p <= 1; 0 without values.
  [[nodiscard]] std::int64_t Quantile(double p) const;
  /// Kolmogorov and Smirnov's distance: the largest difference between the
  /// shares of values up to any bound, 0 to 1.
  [[nodiscard]] double DistanceTo(const Sample& other) const;

 private:
  std::vector<std::int64_t> values_;
};

/// How prompts reuse earlier ones' blocks, in a cache that keeps all.
struct ReuseStatistics {
  std::int64_t references = 0;  ///< blocks of prompts
  std::int64_t hits = 0;        ///< those in a prefix that was there before
  /// Requests since its last use, of each block that was hit.
  std::vector<std::int64_t> distances;

  [[nodiscard]] double hit_rate() const {
    return references == 0
               ? 0.0
               : static_cast<double>(hits) / static_cast<double>(references);
  }
};
ReuseStatistics MeasureReuse(std::span<const TraceRequest> requests);

/// One quantity of two workloads.
struct MatchRow {
  std::string name;
  double trace = 0.0;
  double generated = 0.0;
};

/// How like two workloads are: lengths, gaps, sessions and reuse.
struct WorkloadMatch {
  std::vector<MatchRow> rows;
  double prompt_distance = 0.0;
  double output_distance = 0.0;
  double gap_distance = 0.0;
};
WorkloadMatch CompareWorkloads(std::span<const TraceRequest> trace,
                               std::span<const TraceRequest> generated,
                               BlockSize block);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_WORKLOAD_MATCH_H_
