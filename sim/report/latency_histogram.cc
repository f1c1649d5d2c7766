// SPDX-License-Identifier: Apache-2.0
#include "sim/report/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pagedkv::sim {
namespace {

/// Buckets for each power of two, and the exponent that they begin at.
constexpr int kBits = 9;
constexpr std::size_t kPerOctave = std::size_t{1} << kBits;

}  // namespace

// Value v of b bits lies in the octave shift = b - kBits - 1 and keeps its
// upper kBits + 1 bits, the first of which is 1: octave 0 has v itself.
std::size_t LatencyHistogram::BucketOf(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  const int shift =
      std::max(0, static_cast<int>(std::bit_width(bits)) - kBits - 1);
  return static_cast<std::size_t>(shift) * kPerOctave +
         static_cast<std::size_t>(bits >> shift);
}

std::int64_t LatencyHistogram::MiddleOf(std::size_t bucket) {
  if (bucket < 2 * kPerOctave) return static_cast<std::int64_t>(bucket);
  const std::size_t shift = bucket / kPerOctave - 1;
  const std::size_t upper = bucket - shift * kPerOctave;
  const std::uint64_t first = static_cast<std::uint64_t>(upper) << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return static_cast<std::int64_t>(first + (width - 1) / 2);
}

void LatencyHistogram::Add(std::int64_t value) {
  const std::size_t bucket = BucketOf(value);
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1, 0);
  ++buckets_[bucket];
  least_ = count_ == 0 ? value : std::min(least_, value);
  greatest_ = std::max(greatest_, value);
  ++count_;
  sum_ += value;
}

std::optional<std::int64_t> LatencyHistogram::Quantile(double quantile) const {
  if (count_ == 0) return std::nullopt;
  const auto rank = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(
             std::ceil(quantile * static_cast<double>(count_))));
  if (rank == 1) return least_;
  if (rank >= count_) return greatest_;
  std::int64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen >= rank) return std::clamp(MiddleOf(bucket), least_, greatest_);
  }
  return greatest_;
}

std::optional<double> LatencyHistogram::Mean() const {
  if (count_ == 0) return std::nullopt;
  return static_cast<double>(sum_) / static_cast<double>(count_);
}

std::optional<std::int64_t> LatencyHistogram::Greatest() const {
  if (count_ == 0) return std::nullopt;
  return greatest_;
}

}  // namespace pagedkv::sim
