// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_STATISTICS_H_
#define SIM_TRACE_TRACE_STATISTICS_H_

#include <cstdint>

#include "absl/container/flat_hash_set.h"

#include "sim/trace/trace_request.h"
#include "sim/trace/value_counts.h"

namespace pagedkv::sim {

/// The distribution of lengths in tokens. Exact; memory as `ValueCounts`.
class LengthStatistics {
 public:
  void Add(std::int32_t tokens) {
    sum_ += tokens;
    counts_.Add(tokens);
  }

  [[nodiscard]] std::int64_t count() const { return counts_.count(); }
  [[nodiscard]] std::int64_t sum() const { return sum_; }
  [[nodiscard]] double mean() const;  ///< 0 without lengths
  /// The smallest length that at least the fraction `p` of all do not exceed
  /// (nearest rank), 0 < p <= 1; 0 without lengths. O(largest length).
  [[nodiscard]] std::int32_t Quantile(double p) const {
    return static_cast<std::int32_t>(counts_.Quantile(p));
  }
  [[nodiscard]] std::int32_t max() const { return Quantile(1.0); }

 private:
  std::int64_t sum_ = 0;
  ValueCounts counts_;
};

/// What a trace holds, beyond what its reader counts.
class TraceStatistics {
 public:
  void Add(const TraceRequest& request);

  [[nodiscard]] const LengthStatistics& prompt() const { return prompt_; }
  [[nodiscard]] const LengthStatistics& output() const { return output_; }
  /// Block ids over all requests, and distinct ones among them: the rest could
  /// be hits of a cache without bounds.
  [[nodiscard]] std::int64_t block_references() const {
    return block_references_;
  }
  [[nodiscard]] std::int64_t unique_blocks() const {
    return static_cast<std::int64_t>(blocks_.size());
  }

 private:
  LengthStatistics prompt_;
  LengthStatistics output_;
  std::int64_t block_references_ = 0;
  absl::flat_hash_set<std::uint64_t> blocks_;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_STATISTICS_H_
