// SPDX-License-Identifier: Apache-2.0
#include "sim/report/metrics.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"

#include "sim/report/decimal.h"
#include "sim/report/integrals.h"

namespace pagedkv::sim {
namespace {

using Sums = Integrals<double>;

/// Which causes a quantity is the sum of: 1 or 0 for each.
using Coefficients = std::array<double, kNumCauses>;

/// Reads the coefficients off a method of `CauseSlots`, so that each formula is
/// written down once, there.
Coefficients CoefficientsOf(std::int64_t (CauseSlots::*quantity)() const) {
  Coefficients coefficients{};
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    CauseSlots unit;
    unit[static_cast<Cause>(i)] = 1;
    coefficients[i] = static_cast<double>((unit.*quantity)());
  }
  return coefficients;
}

Coefficients CoefficientsOf(std::initializer_list<Cause> causes) {
  Coefficients coefficients{};
  for (Cause cause : causes) coefficients[static_cast<std::size_t>(cause)] = 1;
  return coefficients;
}

Coefficients operator-(Coefficients a, const Coefficients& b) {
  for (std::size_t i = 0; i < kNumCauses; ++i) a[i] -= b[i];
  return a;
}

double Sum(const Coefficients& coefficients, const Sums& sums) {
  double sum = 0;
  for (std::size_t i = 0; i < kNumCauses; ++i) {
    sum += coefficients[i] * sums.slots[i];
  }
  return sum;
}

/// The selected windows, summed up and resampled.
struct Selection {
  Sums total;
  std::vector<Sums> resamples;
};

/// `numerator(sums) / denominator(sums)` over the selection.
template <typename Numerator, typename Denominator>
std::optional<Estimate> RatioOf(const Selection& selection,
                                const Numerator& numerator,
                                const Denominator& denominator) {
  const double whole = denominator(selection.total);
  if (whole <= 0) return std::nullopt;
  Estimate estimate{numerator(selection.total) / whole, std::nullopt};
  std::vector<double> values;
  for (const Sums& resample : selection.resamples) {
    const double part = denominator(resample);
    if (part > 0) values.push_back(numerator(resample) / part);
  }
  if (!values.empty()) estimate.interval = Central95(std::move(values));
  return estimate;
}

std::optional<Estimate> PercentOf(const Selection& selection,
                                  const Coefficients& numerator,
                                  const Coefficients& denominator) {
  return RatioOf(
      selection, [&](const Sums& sums) { return 100 * Sum(numerator, sums); },
      [&](const Sums& sums) { return Sum(denominator, sums); });
}

/// The least batch that `quantile` of the weight does not exceed.
std::int64_t BatchQuantile(const BatchHistogram& histogram, double quantile) {
  absl::int128 total = 0;
  for (absl::int128 weight : histogram) total += weight;
  const double wanted = quantile * static_cast<double>(total);
  absl::int128 seen = 0;
  for (std::size_t batch = 0; batch < histogram.size(); ++batch) {
    seen += histogram[batch];
    if (static_cast<double>(seen) >= wanted) {
      return static_cast<std::int64_t>(batch);
    }
  }
  return 0;
}

std::int64_t LargestBatch(const BatchHistogram& histogram) {
  for (std::size_t batch = histogram.size(); batch-- > 0;) {
    if (histogram[batch] > 0) return static_cast<std::int64_t>(batch);
  }
  return 0;
}

}  // namespace

bool IsContiguous(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kContiguousMax:
    case PolicyKind::kContiguousPow2:
    case PolicyKind::kContiguousOracle:
    case PolicyKind::kContiguousMaxExact:
      return true;
    case PolicyKind::kPaged:
    case PolicyKind::kConcat:
      break;
  }
  return false;
}

Metrics ComputeMetrics(const RunStatistics& statistics, const Policy& policy,
                       ClockKind clock, std::uint64_t seed) {
  ExactIntegrals selected;
  ExactIntegrals all;
  ExactIntegrals time;
  for (const StatisticsWindow& window : statistics.windows()) {
    selected += window.selected;
    all += window.all;
    time += window.time;
  }
  const bool fall_back = selected.weight == 0;
  const ExactIntegrals& exact = fall_back ? all : selected;

  Metrics metrics;
  metrics.fell_back = fall_back && all.weight > 0 &&
                      statistics.options().window != WindowKind::kAll;
  metrics.window = fall_back ? WindowKind::kAll : statistics.options().window;

  std::vector<Sums> windows;
  for (const StatisticsWindow& window : statistics.windows()) {
    const ExactIntegrals& sums = fall_back ? window.all : window.selected;
    if (sums.weight > 0) windows.push_back(Rounded(sums));
  }
  metrics.num_windows = windows.size();
  const Selection selection{Rounded(exact),
                            ResampleMovingBlocks(windows, seed)};

  const Coefficients pool = CoefficientsOf(&CauseSlots::total);
  const Coefficients held = CoefficientsOf(&CauseSlots::held);
  const Coefficients allocated = CoefficientsOf(&CauseSlots::allocated);
  const Coefficients waste = CoefficientsOf(&CauseSlots::waste);
  const Coefficients hard = CoefficientsOf(&CauseSlots::hard_waste);
  const Coefficients soft = CoefficientsOf(&CauseSlots::soft_waste);
  const Coefficients token = CoefficientsOf({Cause::kToken});
  const Coefficients reserved = CoefficientsOf({Cause::kReserved});
  const Coefficients internal = CoefficientsOf({Cause::kInternal});

  metrics.waste_pct = PercentOf(selection, waste, held);
  metrics.waste_hard_pct = PercentOf(selection, hard, held);
  metrics.waste_soft_pct = PercentOf(selection, soft, held);
  metrics.waste_intrinsic_pct =
      PercentOf(selection, allocated - token, allocated);
  metrics.token_pct = PercentOf(selection, token, pool);
  metrics.reserved_pct = PercentOf(selection, reserved, pool);
  metrics.internal_pct = PercentOf(selection, internal, pool);
  metrics.external_and_others_pct =
      PercentOf(selection, pool - token - reserved - internal, pool);
  const std::vector<std::int64_t> causes =
      Apportion(exact.slots, kMillionthsPctPerWhole);
  std::copy(causes.begin(), causes.end(),
            metrics.causes_millionths_pct.begin());

  const BatchHistogram& batch = statistics.batch(!fall_back);
  metrics.batch_mean = RatioOf(
      selection, [](const Sums& sums) { return sums.running; },
      [](const Sums& sums) { return sums.weight; });
  metrics.batch_p50 = BatchQuantile(batch, 0.50);
  metrics.batch_p99 = BatchQuantile(batch, 0.99);
  metrics.batch_max = LargestBatch(batch);

  if (IsContiguous(policy.kind)) {
    const Coefficients tail = CoefficientsOf({Cause::kTail});
    const double free = Sum(pool - allocated - tail, selection.total);
    if (free > 0) metrics.frag_index = 1 - selection.total.largest_free / free;
  }
  const double pool_time = Sum(pool, Rounded(time));
  if (pool_time > 0) {
    metrics.waste_of_pool = Sum(waste, Rounded(time)) / pool_time;
  }
  if (clock != ClockKind::kIteration) {
    constexpr double kNanosecondsPerHour = 3.6e12;
    metrics.waste_slot_hours = Sum(waste, Rounded(time)) / kNanosecondsPerHour;
  }
  return metrics;
}

}  // namespace pagedkv::sim
