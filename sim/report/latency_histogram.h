// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_LATENCY_HISTOGRAM_H_
#define SIM_REPORT_LATENCY_HISTOGRAM_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {

/// A distribution of times in memory that does not grow with their number: at
/// most 230 kB. Values below 1,024 are counted each on its own; from there on
/// each power of two has 512 buckets of equal width, and a value is taken for
/// the middle of its bucket, so that a quantile is off by at most 1 / 1,024, a
/// tenth of a percent. Count, mean, least and greatest are exact. Whole numbers
/// only, so that it is the same on every machine. (Not HdrHistogram: no library
/// of it is packaged, and this is all of it that is needed.) Thread-compatible.
class LatencyHistogram {
 public:
  /// REQUIRES: value >= 0.
  void Add(std::int64_t value);

  [[nodiscard]] std::int64_t count() const { return count_; }
  /// The least value that `quantile` (0 < q <= 1) of the values do not exceed,
  /// but for the error above. Missing where there are none.
  [[nodiscard]] std::optional<std::int64_t> Quantile(double quantile) const;
  /// Missing where there are none.
  [[nodiscard]] std::optional<double> Mean() const;
  [[nodiscard]] std::optional<std::int64_t> Greatest() const;

 private:
  [[nodiscard]] static std::size_t BucketOf(std::int64_t value);
  [[nodiscard]] static std::int64_t MiddleOf(std::size_t bucket);

  std::vector<std::int64_t> buckets_;  // up to the greatest value's
  std::int64_t count_ = 0;
  absl::int128 sum_ = 0;
  std::int64_t least_ = 0;
  std::int64_t greatest_ = 0;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_LATENCY_HISTOGRAM_H_
