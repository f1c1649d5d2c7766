// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_BOOTSTRAP_H_
#define SIM_REPORT_BOOTSTRAP_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/report/integrals.h"

namespace pagedkv::sim {

/// Fewer windows than this tell nothing about the spread of a mean.
inline constexpr std::size_t kMinBootstrapWindows = 20;

/// The moving-block bootstrap (Künsch 1989): each result sums as many windows
/// as there are, drawn as runs of neighbours, so that the dependence between
/// neighbours stays in. A run is max(N^(1/3), N/20) windows long: the usual
/// order, and no less than a twentieth of the data, since windows may be short
/// against the life of a request. Empty if there are fewer windows than
/// `kMinBootstrapWindows`. The same inputs give the same results everywhere.
std::vector<Integrals<double>> ResampleMovingBlocks(
    std::span<const Integrals<double>> windows, std::uint64_t seed);

/// The central 95 % of `values`, which are some statistic of each resample.
struct Interval {
  double lo = 0;
  double hi = 0;
};
/// REQUIRES: values is not empty.
Interval Central95(std::vector<double> values);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_BOOTSTRAP_H_
