// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_LEAST_SQUARES_H_
#define SIM_STUDY_LEAST_SQUARES_H_

#include <array>
#include <cstddef>
#include <optional>

namespace pagedkv::sim {

/// Non-negative least squares in `N` unknowns, few enough to try every set of
/// unknowns that may be above 0: finds the x >= 0 with the least
///
///   sum of weight * (row . x - value)^2
///     + sum of (strength * (x[j] - expected[j]) / scale[j])^2
///
/// The rows are added one by one and not kept. The arithmetic is plain and in a
/// fixed order, and its file is compiled without contraction, so that the same
/// rows give the same x on every machine. Thread-compatible.
template <std::size_t N>
class NonNegativeLeastSquares {
 public:
  using Vector = std::array<double, N>;

  void Add(const Vector& row, double value, double weight);

  /// What x is drawn to where the rows leave it open. REQUIRES: scale > 0.
  struct Prior {
    Vector expected{};
    Vector scale{};
    double strength = 0;  ///< 0: none
  };
  /// Missing where the rows and the prior do not determine x.
  [[nodiscard]] std::optional<Vector> Solve(const Prior& prior) const;
  /// Sum of weight * value^2: what a prior's strength may be measured in.
  [[nodiscard]] double total() const { return total_; }

 private:
  std::array<Vector, N> products_{};  // of columns
  Vector values_{};                   // of columns and values
  double total_ = 0;
};

/// The one that the fit uses: the coefficients of `StepCost`.
extern template class NonNegativeLeastSquares<5>;

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_LEAST_SQUARES_H_
