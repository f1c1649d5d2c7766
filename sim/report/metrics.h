// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_METRICS_H_
#define SIM_REPORT_METRICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "sim/accounting/causes.h"
#include "sim/replay/simulation.h"
#include "sim/report/bootstrap.h"
#include "sim/report/run_statistics.h"

namespace pagedkv::sim {

/// A mean with its 95 % interval, where there are windows enough for one.
struct Estimate {
  double mean = 0;
  std::optional<Interval> interval;
};

/// `causes_millionths_pct` sums to this, unless there is nothing to share out.
inline constexpr std::int64_t kMillionthsPctPerWhole = 100'000'000;

/// What a run says about a policy. Percentages are ratios of means. A value is
/// missing where its denominator is zero or where it has no meaning.
struct Metrics {
  WindowKind window = WindowKind::kAll;  ///< what the means are taken over
  /// Nothing qualified for the window asked for, so that it is `kAll` instead.
  bool fell_back = false;
  std::size_t num_windows = 0;  ///< with at least one sample that counts

  // Of the slots held: capacity less idle, cached-idle, and blocked by capacity
  // or policy.
  std::optional<Estimate> waste_pct;
  std::optional<Estimate> waste_hard_pct;
  std::optional<Estimate> waste_soft_pct;
  // Of the slots allocated: does not depend on the load.
  std::optional<Estimate> waste_intrinsic_pct;
  // Of the pool, as in the PagedAttention paper, which sum to 100.
  std::optional<Estimate> token_pct;  ///< also known as effective
  std::optional<Estimate> reserved_pct;
  std::optional<Estimate> internal_pct;
  std::optional<Estimate> external_and_others_pct;
  /// Of the pool, in millionths of a percent; they sum to the whole exactly.
  std::array<std::int64_t, kNumCauses> causes_millionths_pct{};

  // Resident sequences.
  std::optional<Estimate> batch_mean;
  std::int64_t batch_p50 = 0;
  std::int64_t batch_p99 = 0;
  std::int64_t batch_max = 0;

  /// 1 - largest free chunk / free slots; contiguous policies only.
  std::optional<double> frag_index;
  /// Waste as a share of the pool, by time over the whole run.
  std::optional<double> waste_of_pool;
  /// Integral of the waste over the whole run in slot hours; missing where
  /// time counts steps.
  std::optional<double> waste_slot_hours;
};

/// `seed` is the bootstrap's.
Metrics ComputeMetrics(const RunStatistics& statistics, const Policy& policy,
                       ClockKind clock, std::uint64_t seed);

/// Whether the policy places each request in one piece, so that free space can
/// be there and yet fit nobody.
bool IsContiguous(PolicyKind kind);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_METRICS_H_
