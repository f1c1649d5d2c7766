// SPDX-License-Identifier: Apache-2.0
#include "sim/study/paper_check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace pagedkv::sim {
namespace {

/// 97.5 % quantile of Student's t by degrees of freedom, from 1.
constexpr std::array kStudentT = {
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};

/// Decimal fractions are not exact in binary: a figure at the very edge of its
/// tolerance is inside.
constexpr double kSlack = 1e-9;

}  // namespace

double PaperCheck::mean() const {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

std::optional<Interval> PaperCheck::interval() const {
  if (values.size() < 2) return std::nullopt;
  const auto count = static_cast<double>(values.size());
  const double center = mean();
  double squares = 0;
  for (const double value : values) {
    squares += (value - center) * (value - center);
  }
  const std::size_t freedom = std::min(values.size() - 1, kStudentT.size());
  const double half =
      kStudentT[freedom - 1] * std::sqrt(squares / (count - 1) / count);
  return Interval{center - half, center + half};
}

bool PaperCheck::passed() const {
  if (values.empty()) return false;
  const double ours = mean();
  return ours >= expected_lo - tolerance - kSlack &&
         ours <= expected_hi + tolerance + kSlack;
}

}  // namespace pagedkv::sim
