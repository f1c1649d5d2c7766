// SPDX-License-Identifier: Apache-2.0
#include "sim/study/least_squares.h"

#include <cmath>
#include <utility>
#include <vector>

namespace pagedkv::sim {
namespace {

/// Solves a symmetric positive definite system by elimination; false if it is
/// singular, as far as doubles can tell.
bool SolveSystem(std::vector<std::vector<double>> matrix,
                 std::vector<double> right, std::vector<double>& x) {
  constexpr double kLeastPivot = 1e-12;  // of columns of length 1
  const std::size_t n = right.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (!(matrix[i][i] > kLeastPivot)) return false;
    for (std::size_t row = i + 1; row < n; ++row) {
      const double factor = matrix[row][i] / matrix[i][i];
      for (std::size_t j = i; j < n; ++j) {
        matrix[row][j] -= factor * matrix[i][j];
      }
      right[row] -= factor * right[i];
    }
  }
  x.assign(n, 0);
  for (std::size_t i = n; i-- > 0;) {
    double sum = right[i];
    for (std::size_t j = i + 1; j < n; ++j) sum -= matrix[i][j] * x[j];
    x[i] = sum / matrix[i][i];
  }
  return true;
}

}  // namespace

template <std::size_t N>
void NonNegativeLeastSquares<N>::Add(const Vector& row, double value,
                                     double weight) {
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = 0; j < N; ++j) {
      products_[i][j] += weight * row[i] * row[j];
    }
    values_[i] += weight * row[i] * value;
  }
  total_ += weight * value * value;
}

template <std::size_t N>
std::optional<typename NonNegativeLeastSquares<N>::Vector>
NonNegativeLeastSquares<N>::Solve(const Prior& prior) const {
  // With the prior, and columns scaled to the length 1.
  std::array<Vector, N> products = products_;
  Vector values = values_;
  for (std::size_t i = 0; i < N; ++i) {
    if (!(prior.strength > 0)) break;
    const double weight = prior.strength / prior.scale[i];
    products[i][i] += weight * weight;
    values[i] += weight * weight * prior.expected[i];
  }
  Vector length{};
  for (std::size_t i = 0; i < N; ++i) length[i] = std::sqrt(products[i][i]);

  std::optional<Vector> best;
  double best_gain = 0;
  for (std::size_t set = 1; set < (std::size_t{1} << N); ++set) {
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < N; ++i) {
      if ((set >> i & 1) != 0 && length[i] > 0) members.push_back(i);
    }
    if (members.empty()) continue;
    std::vector<std::vector<double>> matrix;
    std::vector<double> right;
    for (const std::size_t i : members) {
      auto& row = matrix.emplace_back();
      for (const std::size_t j : members) {
        row.push_back(products[i][j] / (length[i] * length[j]));
      }
      right.push_back(values[i] / length[i]);
    }
    std::vector<double> x;
    if (!SolveSystem(matrix, right, x)) continue;
    bool negative = false;
    double gain = 0;  // at a solution, the objective is less by this
    for (std::size_t i = 0; i < members.size(); ++i) {
      negative = negative || x[i] < 0;
      gain += x[i] * right[i];
    }
    if (negative || gain <= best_gain) continue;
    best_gain = gain;
    best.emplace();
    best->fill(0);
    for (std::size_t i = 0; i < members.size(); ++i) {
      (*best)[members[i]] = x[i] / length[members[i]];
    }
  }
  return best;
}

template class NonNegativeLeastSquares<5>;

}  // namespace pagedkv::sim
