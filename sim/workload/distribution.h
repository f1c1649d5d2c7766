// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_DISTRIBUTION_H_
#define SIM_WORKLOAD_DISTRIBUTION_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace pagedkv::sim {

/// A distribution of whole numbers given by quantiles, uniform in between, as a
/// workload's description has it. Unlike `QuantileTable`, which is for tables
/// in the program, it owns them, and takes larger values and finer fractions.
class Distribution {
 public:
  static constexpr std::int32_t kWhole = 1'000'000;
  static constexpr std::int64_t kMaxValue = std::int64_t{1} << 40;

  /// The value that a fraction of the distribution does not exceed.
  struct Point {
    std::int32_t fraction = 0;  ///< in 1/1,000,000
    std::int64_t value = 0;     ///< 0 to `kMaxValue`
    friend bool operator==(const Point&, const Point&) = default;
  };

  /// Always `value`.
  explicit Distribution(std::int64_t value = 0)
      : points_({{0, value}, {kWhole, value}}) {}
  /// REQUIRES: AreValid(points).
  explicit Distribution(std::vector<Point> points)
      : points_(std::move(points)) {}

  /// Whether the fractions rise strictly from 0 to `kWhole`, and the values are
  /// in range and do not fall.
  [[nodiscard]] static bool AreValid(const std::vector<Point>& points);

  /// Inverse transform: the value at the fraction `word` / 2^32, to the nearest
  /// whole number. O(log points).
  [[nodiscard]] std::int64_t At(std::uint32_t word) const;
  [[nodiscard]] std::int64_t min() const { return points_.front().value; }
  [[nodiscard]] std::int64_t max() const { return points_.back().value; }
  [[nodiscard]] double mean() const;
  [[nodiscard]] const std::vector<Point>& points() const { return points_; }

  friend bool operator==(const Distribution&, const Distribution&) = default;

 private:
  std::vector<Point> points_;
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_DISTRIBUTION_H_
