// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_REQUEST_STATISTICS_H_
#define SIM_REPORT_REQUEST_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "sim/replay/simulation.h"
#include "sim/report/length_counts.h"
#include "sim/trace/value_counts.h"

namespace pagedkv::sim {

/// A finished request and the slots that it was granted and never used: those
/// beyond its final length.
struct RequestWaste {
  std::int64_t id = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  std::int64_t waste_slots = 0;
};

/// Finished requests that wasted `from` ... `to` slots.
struct WasteRange {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t requests = 0;
  friend bool operator==(const WasteRange&, const WasteRange&) = default;
};

/// The distribution of slots wasted per finished request, and of their lengths.
/// Memory is that of `ValueCounts` and of the longest request, whatever the
/// number of requests. Thread-compatible.
class RequestStatistics {
 public:
  void Add(const RequestRecord& record);

  [[nodiscard]] std::int64_t num_finished() const { return wastes_.count(); }
  /// The least waste that `quantile` (0 < q <= 1) of the finished requests do
  /// not exceed. REQUIRES: num_finished() > 0.
  [[nodiscard]] std::int64_t WasteQuantile(double quantile) const {
    return wastes_.Quantile(quantile);
  }
  /// The distribution in ranges that double: 0, 1, 2 to 3, 4 to 7, ...; those
  /// without a request are left out.
  [[nodiscard]] std::vector<WasteRange> WasteRanges() const;
  /// At most `kNumWorst`: most waste first, the lower id first among equals.
  [[nodiscard]] const std::vector<RequestWaste>& worst() const {
    return worst_;
  }
  [[nodiscard]] const LengthCounts& lengths() const { return lengths_; }

 private:
  ValueCounts wastes_;
  std::vector<RequestWaste> worst_;
  LengthCounts lengths_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_REQUEST_STATISTICS_H_
