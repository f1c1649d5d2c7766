// SPDX-License-Identifier: Apache-2.0
#include "sim/report/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace pagedkv::sim {
namespace {

constexpr int kNumResamples = 1000;

}  // namespace

std::vector<Integrals<double>> ResampleMovingBlocks(
    std::span<const Integrals<double>> windows, std::uint64_t seed) {
  if (windows.size() < kMinBootstrapWindows) return {};
  const std::size_t num_windows = windows.size();
  const std::size_t run_length =
      std::max(static_cast<std::size_t>(
                   std::ceil(std::cbrt(static_cast<double>(num_windows)))),
               (num_windows + kMinBootstrapWindows - 1) / kMinBootstrapWindows);
  const std::size_t num_starts = num_windows - run_length + 1;

  // Not a std distribution: their results differ between libraries, while the
  // engine's are fixed by the standard. The bias of `%` is below 1e-16.
  std::mt19937_64 engine(seed);
  std::vector<Integrals<double>> resamples(kNumResamples);
  for (Integrals<double>& resample : resamples) {
    for (std::size_t drawn = 0; drawn < num_windows;) {
      const std::size_t start = engine() % num_starts;
      const std::size_t length = std::min(run_length, num_windows - drawn);
      for (std::size_t i = 0; i < length; ++i) resample += windows[start + i];
      drawn += length;
    }
  }
  return resamples;
}

Interval Central95(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t cut = values.size() / 40;  // 2.5 % on either side
  return {values[cut], values[values.size() - 1 - cut]};
}

}  // namespace pagedkv::sim
