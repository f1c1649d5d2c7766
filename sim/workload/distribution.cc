// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/distribution.h"

#include <algorithm>
#include <cstddef>

#include "absl/numeric/int128.h"

namespace pagedkv::sim {

bool Distribution::AreValid(const std::vector<Point>& points) {
  if (points.size() < 2 || points.front().fraction != 0 ||
      points.back().fraction != kWhole || points.front().value < 0 ||
      points.back().value > kMaxValue) {
    return false;
  }
  for (std::size_t i = 1; i < points.size(); ++i) {
    if (points[i].fraction <= points[i - 1].fraction ||
        points[i].value < points[i - 1].value) {
      return false;
    }
  }
  return true;
}

std::int64_t Distribution::At(std::uint32_t word) const {
  // In 1/1,000,000 * 2^-32.
  const std::int64_t at = std::int64_t{word} * kWhole;
  const auto high =
      std::upper_bound(points_.begin() + 1, points_.end() - 1, at,
                       [](std::int64_t value, const Point& point) {
                         return value < std::int64_t{point.fraction} << 32;
                       });
  const Point& low = *(high - 1);
  const std::int64_t width = std::int64_t{high->fraction - low.fraction} << 32;
  const absl::int128 into = at - (std::int64_t{low.fraction} << 32);
  const absl::int128 rise = high->value - low.value;
  return low.value +
         static_cast<std::int64_t>((rise * into + width / 2) / width);
}

double Distribution::mean() const {
  double sum = 0.0;
  for (std::size_t i = 1; i < points_.size(); ++i) {
    const Point& low = points_[i - 1];
    const Point& high = points_[i];
    sum += static_cast<double>(high.fraction - low.fraction) *
           static_cast<double>(low.value + high.value);
  }
  return sum / (2.0 * kWhole);
}

}  // namespace pagedkv::sim
