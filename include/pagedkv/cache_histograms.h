// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_CACHE_HISTOGRAMS_H_
#define PAGEDKV_CACHE_HISTOGRAMS_H_

/// How long blocks stay in the prefix cache, and how they are used there.

#include <array>
#include <cstddef>
#include <cstdint>

namespace pagedkv {

/// Counts durations in nanoseconds by powers of two: bucket 0 is of those of no
/// time, bucket b of those with 2^(b-1) <= duration < 2^b. A negative duration
/// counts as none.
///
/// Invariant: `count()` is the sum of the buckets. Thread-compatible.
class DurationHistogram {
 public:
  static constexpr std::size_t kNumBuckets = 64;

  void Add(std::int64_t duration_ns);
  /// Adds those of another: of another cache, or of another time.
  DurationHistogram& operator+=(const DurationHistogram& other);

  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] double sum_seconds() const { return sum_seconds_; }
  [[nodiscard]] std::int64_t bucket(std::size_t b) const { return buckets_[b]; }
  /// No duration of buckets 0 to `b` is longer: 2^b - 1.
  [[nodiscard]] static constexpr std::int64_t UpperBound(std::size_t b) {
    return static_cast<std::int64_t>((std::uint64_t{1} << b) - 1);
  }
  /// The upper bound of the bucket in which the `quantile` (0 to 1) of the
  /// durations lies, and so less than twice of it; 0 if there are none.
  [[nodiscard]] std::int64_t Quantile(double quantile) const;

  /// Aborts if the invariant of the class comment does not hold.
  void CheckInvariants() const;
  friend bool operator==(const DurationHistogram&,
                         const DurationHistogram&) = default;

 private:
  std::array<std::int64_t, kNumBuckets> buckets_ = {};
  std::int64_t count_ = 0;
  double sum_seconds_ = 0;
};

/// Of the blocks that `PrefixCacheOptions::lifetime_sample_rate` selects, on
/// the clock of `KvCacheManager::SetTime`. Names in brackets are those of
/// vLLM's Prometheus metrics (vllm/v1/metrics/loggers.py; its option
/// --kv-cache-metrics), where the meaning is the same but for what is said.
struct CacheHistograms {
  std::int64_t num_sampled = 0;  ///< contents that were selected when cached
  /// From caching to eviction, at eviction (vllm:kv_block_lifetime_seconds,
  /// which begins when the block is allocated).
  DurationHistogram lifetime = {};
  /// From the last hit, or else from caching, to eviction, at eviction
  /// (vllm:kv_block_idle_before_evict_seconds).
  DurationHistogram idle_before_evict = {};
  /// Between two hits, at the later one (vllm:kv_block_reuse_gap_seconds, which
  /// keeps the last four hits and counts their gaps at eviction).
  DurationHistogram reuse_gap = {};

  CacheHistograms& operator+=(const CacheHistograms& other);
};

}  // namespace pagedkv

#endif  // PAGEDKV_CACHE_HISTOGRAMS_H_
