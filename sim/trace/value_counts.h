// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_VALUE_COUNTS_H_
#define SIM_TRACE_VALUE_COUNTS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace pagedkv::sim {

/// How often each whole number from 0 on was seen. Exact; memory for the
/// numbers below `kDense` up to the largest of them, and per distinct one
/// beyond. Thread-compatible.
class ValueCounts {
 public:
  void Add(std::int64_t value) {
    ++count_;
    if (value >= kDense) {
      ++beyond_[value];
      return;
    }
    const auto index = static_cast<std::size_t>(value);
    if (index >= below_.size()) below_.resize(index + 1);
    ++below_[index];
  }

  [[nodiscard]] std::int64_t count() const { return count_; }
  /// The least number that at least the fraction `p` of all do not exceed
  /// (nearest rank), 0 < p <= 1; 0 without numbers. O(largest of those below
  /// `kDense` + distinct ones beyond).
  [[nodiscard]] std::int64_t Quantile(double p) const {
    const auto rank =
        static_cast<std::int64_t>(std::ceil(p * static_cast<double>(count_)));
    std::int64_t seen = 0;
    for (std::size_t value = 0; value < below_.size(); ++value) {
      seen += below_[value];
      if (seen > 0 && seen >= rank) return static_cast<std::int64_t>(value);
    }
    for (const auto& [value, times] : beyond_) {
      seen += times;
      if (seen >= rank) return value;
    }
    return beyond_.empty() ? 0 : beyond_.rbegin()->first;
  }

  /// Calls `visit(value, times)` for each number that was seen, from the least.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (std::size_t value = 0; value < below_.size(); ++value) {
      if (below_[value] > 0) {
        visit(static_cast<std::int64_t>(value), below_[value]);
      }
    }
    for (const auto& [value, times] : beyond_) visit(value, times);
  }

 private:
  static constexpr std::int64_t kDense = std::int64_t{1} << 17;

  std::int64_t count_ = 0;
  std::vector<std::int64_t> below_;  // by value
  std::map<std::int64_t, std::int64_t> beyond_;
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_VALUE_COUNTS_H_
