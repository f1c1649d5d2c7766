// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/hit_rate_estimator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kMinSamples = 16;
constexpr std::int32_t kMaxSamples = 1 << 24;
constexpr std::uint64_t kEverything = std::numeric_limits<std::uint64_t>::max();

// Ranges of depth: of its leading 1 and the next 6 bits a depth has 64 values.
constexpr int kRangeBits = 6;
constexpr std::uint64_t kMaxDepth = std::uint64_t{1} << 40;

/// The range of a depth, 0 <= depth <= kMaxDepth.
std::size_t RangeOf(std::uint64_t depth) {
  // The cast is for libstdc++ 12, where the width has the type of the depth.
  const int width = static_cast<int>(std::bit_width(depth));
  const int shift = std::max(0, width - (kRangeBits + 1));
  return (static_cast<std::size_t>(shift) << kRangeBits) +
         static_cast<std::size_t>(depth >> shift);
}

/// The least depth of a range.
std::uint64_t FirstOf(std::size_t range) {
  const std::size_t per_doubling = std::size_t{1} << kRangeBits;
  if (range < 2 * per_doubling) return range;
  const std::size_t shift = (range >> kRangeBits) - 1;
  return std::uint64_t{range - (shift << kRangeBits)} << shift;
}

std::size_t LowestBit(std::size_t index) { return index & (~index + 1); }

absl::Status Broken(std::uint64_t hash, const char* what) {
  return absl::InternalError(absl::StrFormat("sample %016x %s", hash, what));
}

}  // namespace

absl::StatusOr<HitRateEstimator> HitRateEstimator::Create(
    const HitRateEstimatorOptions& options) {
  if (options.max_samples < kMinSamples || options.max_samples > kMaxSamples) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_samples is %d; it must be from %d to %d",
                        options.max_samples, kMinSamples, kMaxSamples));
  }
  return HitRateEstimator(options);
}

HitRateEstimator::HitRateEstimator(const HitRateEstimatorOptions& options)
    : max_samples_(static_cast<std::size_t>(options.max_samples)),
      seed_(options.seed),
      threshold_(kEverything),
      // At most half full, so that a search ends soon.
      table_(std::bit_ceil(2 * (max_samples_ + 1)), {0, kNone}),
      // As many slots free after a move as in use before it.
      hash_of_(2 * (max_samples_ + 1)),
      slot_in_use_(hash_of_.size(), false),
      tree_(hash_of_.size() + 1, 0),
      references_(RangeOf(kMaxDepth) + 1, 0.0) {
  by_hash_.reserve(max_samples_ + 1);
}

void HitRateEstimator::OnRequest(std::span<const std::uint64_t> contents) {
  num_references_ += static_cast<std::int64_t>(contents.size());
  in_request_.clear();
  for (const std::uint64_t content : contents) {
    const std::uint64_t hash = Hash(content);
    if (hash < threshold_) in_request_.push_back(hash);
  }
  // All before the first touch: the cache as the request finds it.
  for (const std::uint64_t hash : in_request_) Measure(hash);
  for (std::size_t i = in_request_.size(); i > 0; --i) {
    Touch(in_request_[i - 1]);
  }
}

double HitRateEstimator::Estimate(BlockCount size) const {
  if (num_references_ == 0 || size < BlockCount(1)) return 0.0;
  const auto depth =
      std::min(static_cast<std::uint64_t>(size.value()), kMaxDepth);
  const std::size_t last = RangeOf(depth);
  double found = 0;
  for (std::size_t range = 0; range < last; ++range)
    found += references_[range];
  const auto first_depth = static_cast<double>(FirstOf(last));
  const auto end_depth = static_cast<double>(FirstOf(last + 1));
  found += references_[last] * (static_cast<double>(depth) + 1 - first_depth) /
           (end_depth - first_depth);
  // What samples stand for is more or less than there was, mostly by contents
  // that many refer to; and those are near the top.
  const auto all = static_cast<double>(num_references_);
  return std::clamp((found + all - num_estimated_) / all, 0.0, 1.0);
}

void HitRateEstimator::StartWindow() {
  num_references_ = 0;
  num_estimated_ = 0;
  std::fill(references_.begin(), references_.end(), 0.0);
}

double HitRateEstimator::sampling_rate() const {
  return threshold_ == kEverything
             ? 1.0
             : std::ldexp(static_cast<double>(threshold_), -64);
}

// The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a
// bijection: equal hashes are equal contents.
std::uint64_t HitRateEstimator::Hash(std::uint64_t content) const {
  std::uint64_t word = content + 0x9E3779B97F4A7C15 * (seed_ + 1);
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EB;
  return word ^ (word >> 31);
}

std::size_t HitRateEstimator::Find(std::uint64_t hash) const {
  // By the low bits: the threshold leaves few values of the high ones.
  std::size_t entry = hash & (table_.size() - 1);
  while (table_[entry].slot != kNone && table_[entry].hash != hash) {
    entry = (entry + 1) & (table_.size() - 1);
  }
  return entry;
}

void HitRateEstimator::Measure(std::uint64_t hash) {
  const double rate = sampling_rate();
  num_estimated_ += 1.0 / rate;
  const Sample& sample = table_[Find(hash)];
  if (sample.slot == kNone) return;
  const std::int32_t above =
      num_samples() - CountTo(static_cast<std::size_t>(sample.slot));
  const double depth = std::min(1.0 + static_cast<double>(above) / rate,
                                static_cast<double>(kMaxDepth));
  references_[RangeOf(static_cast<std::uint64_t>(depth))] += 1.0 / rate;
}

void HitRateEstimator::Touch(std::uint64_t hash) {
  if (hash >= threshold_) return;  // dropped since the request began
  if (next_slot_ == hash_of_.size()) Compact();
  Sample& sample = table_[Find(hash)];
  const bool is_new = sample.slot == kNone;
  if (!is_new) {
    const auto old = static_cast<std::size_t>(sample.slot);
    slot_in_use_[old] = false;
    AddToTree(old, -1);
  }
  sample = {hash, static_cast<std::int32_t>(next_slot_)};
  hash_of_[next_slot_] = hash;
  slot_in_use_[next_slot_] = true;
  AddToTree(next_slot_, 1);
  ++next_slot_;
  if (!is_new) return;
  by_hash_.push_back(hash);
  std::push_heap(by_hash_.begin(), by_hash_.end());
  if (by_hash_.size() > max_samples_) DropGreatest();
}

void HitRateEstimator::DropGreatest() {
  std::pop_heap(by_hash_.begin(), by_hash_.end());
  threshold_ = by_hash_.back();
  by_hash_.pop_back();
  const std::size_t mask = table_.size() - 1;
  std::size_t gap = Find(threshold_);
  const auto slot = static_cast<std::size_t>(table_[gap].slot);
  slot_in_use_[slot] = false;
  AddToTree(slot, -1);
  // Moves back what the search would no longer reach across the gap.
  for (std::size_t entry = (gap + 1) & mask; table_[entry].slot != kNone;
       entry = (entry + 1) & mask) {
    const std::size_t home = table_[entry].hash & mask;
    if (((entry - home) & mask) >= ((entry - gap) & mask)) {
      table_[gap] = table_[entry];
      gap = entry;
    }
  }
  table_[gap].slot = kNone;
}

void HitRateEstimator::Compact() {
  std::size_t end = 0;
  for (std::size_t slot = 0; slot < next_slot_; ++slot) {
    if (!slot_in_use_[slot]) continue;
    hash_of_[end] = hash_of_[slot];
    table_[Find(hash_of_[end])].slot = static_cast<std::int32_t>(end);
    ++end;
  }
  next_slot_ = end;
  std::fill(tree_.begin(), tree_.end(), 0);
  for (std::size_t slot = 0; slot < slot_in_use_.size(); ++slot) {
    slot_in_use_[slot] = slot < end;
    tree_[slot + 1] = slot < end ? 1 : 0;
  }
  for (std::size_t index = 1; index < tree_.size(); ++index) {
    const std::size_t above = index + LowestBit(index);
    if (above < tree_.size()) tree_[above] += tree_[index];
  }
}

void HitRateEstimator::AddToTree(std::size_t slot, std::int32_t amount) {
  for (std::size_t index = slot + 1; index < tree_.size();
       index += LowestBit(index)) {
    tree_[index] += amount;
  }
}

std::int32_t HitRateEstimator::CountTo(std::size_t slot) const {
  std::int32_t count = 0;
  for (std::size_t index = slot + 1; index > 0; index -= LowestBit(index)) {
    count += tree_[index];
  }
  return count;
}

absl::Status HitRateEstimator::CheckInvariants() const {
  if (by_hash_.size() > max_samples_ ||
      !std::is_heap(by_hash_.begin(), by_hash_.end())) {
    return absl::InternalError(absl::StrFormat(
        "%d samples of %d are followed, or their heap is out of order",
        by_hash_.size(), max_samples_));
  }
  for (const std::uint64_t hash : by_hash_) {
    if (hash >= threshold_) return Broken(hash, "is not below the threshold");
    const Sample& sample = table_[Find(hash)];
    if (sample.slot == kNone) return Broken(hash, "is not in the table");
    const auto slot = static_cast<std::size_t>(sample.slot);
    if (slot >= next_slot_ || !slot_in_use_[slot] || hash_of_[slot] != hash) {
      return Broken(hash, "has a slot that does not name it");
    }
  }
  std::int32_t in_use = 0;
  for (std::size_t slot = 0; slot < hash_of_.size(); ++slot) {
    in_use += slot_in_use_[slot] ? 1 : 0;
    if (CountTo(slot) != in_use) {
      return absl::InternalError(absl::StrFormat(
          "the tree counts %d slots up to %d, but %d are in use", CountTo(slot),
          slot, in_use));
    }
  }
  const auto in_table =
      std::count_if(table_.begin(), table_.end(),
                    [](const Sample& sample) { return sample.slot != kNone; });
  if (in_table != num_samples() || in_use != num_samples()) {
    return absl::InternalError(
        absl::StrFormat("%d samples, %d of them in the table, %d slots in use",
                        num_samples(), in_table, in_use));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
