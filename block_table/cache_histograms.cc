// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/cache_histograms.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace pagedkv {

void DurationHistogram::Add(std::int64_t duration_ns) {
  duration_ns = std::max<std::int64_t>(duration_ns, 0);
  ++buckets_[static_cast<std::size_t>(
      std::bit_width(static_cast<std::uint64_t>(duration_ns)))];
  ++count_;
  // Integers would overflow within days of a large cache.
  sum_seconds_ += static_cast<double>(duration_ns) * 1e-9;
}

DurationHistogram& DurationHistogram::operator+=(
    const DurationHistogram& other) {
  for (std::size_t b = 0; b < kNumBuckets; ++b) {
    buckets_[b] += other.buckets_[b];
  }
  count_ += other.count_;
  sum_seconds_ += other.sum_seconds_;
  return *this;
}

std::int64_t DurationHistogram::Quantile(double quantile) const {
  const auto wanted = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(
          std::ceil(quantile * static_cast<double>(count_))),
      1, std::max<std::int64_t>(count_, 1));
  std::int64_t seen = 0;
  for (std::size_t b = 0; b < kNumBuckets; ++b) {
    seen += buckets_[b];
    if (seen >= wanted) return UpperBound(b);
  }
  return 0;
}

void DurationHistogram::CheckInvariants() const {
  PAGEDKV_CHECK(std::accumulate(buckets_.begin(), buckets_.end(),
                                std::int64_t{0}) == count_);
}

CacheHistograms& CacheHistograms::operator+=(const CacheHistograms& other) {
  num_sampled += other.num_sampled;
  lifetime += other.lifetime;
  idle_before_evict += other.idle_before_evict;
  reuse_gap += other.reuse_gap;
  return *this;
}

}  // namespace pagedkv
