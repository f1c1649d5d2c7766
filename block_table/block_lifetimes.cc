// SPDX-License-Identifier: Apache-2.0
#include "block_table/block_lifetimes.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv {

BlockLifetimes::BlockLifetimes(BlockCount num_blocks, double rate,
                               std::uint64_t seed)
    : seed_(seed),
      rate_(rate),
      phases_(static_cast<std::size_t>(num_blocks.value())),
      times_(phases_.size()) {}

bool BlockLifetimes::IsSelected(BlockId block) const {
  // Splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
  std::uint64_t z = seed_ ^ (static_cast<std::uint64_t>(block.value()) << 40);
  z += (num_stored_ + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53 < rate_;
}

void BlockLifetimes::OnStored(BlockId block, std::int64_t now_ns) {
  Phase& phase = phases_[Index(block)];
  if (phase != Phase::kNotCached) return;
  phase = IsSelected(block) ? Phase::kSampled : Phase::kIgnored;
  ++num_stored_;
  if (phase == Phase::kIgnored) return;
  ++histograms_.num_sampled;
  times_[Index(block)] = {now_ns, now_ns};
}

void BlockLifetimes::Hit(BlockId block, std::int64_t now_ns) {
  Phase& phase = phases_[Index(block)];
  Times& times = times_[Index(block)];
  if (phase == Phase::kHit) histograms_.reuse_gap.Add(now_ns - times.used_ns);
  phase = Phase::kHit;
  times.used_ns = now_ns;
}

void BlockLifetimes::OnRemoved(BlockId block, RemovalReason reason,
                               std::int64_t now_ns) {
  Phase& phase = phases_[Index(block)];
  if (phase >= Phase::kSampled) {
    ++num_left_;
    if (reason == RemovalReason::kCapacity ||
        reason == RemovalReason::kEvicted ||
        reason == RemovalReason::kExpired) {
      const Times& times = times_[Index(block)];
      histograms_.lifetime.Add(now_ns - times.cached_ns);
      histograms_.idle_before_evict.Add(now_ns - times.used_ns);
    }
  }
  phase = Phase::kNotCached;
}

void BlockLifetimes::OnCleared() {
  num_left_ = histograms_.num_sampled;
  std::fill(phases_.begin(), phases_.end(), Phase::kNotCached);
}

absl::Status BlockLifetimes::CheckInvariants() const {
  histograms_.lifetime.CheckInvariants();
  histograms_.idle_before_evict.CheckInvariants();
  histograms_.reuse_gap.CheckInvariants();
  const auto followed =
      std::count_if(phases_.begin(), phases_.end(),
                    [](Phase phase) { return phase >= Phase::kSampled; });
  if (followed != histograms_.num_sampled - num_left_) {
    return absl::InternalError(
        absl::StrFormat("%d contents are followed; %d were selected and %d "
                        "left",
                        followed, histograms_.num_sampled, num_left_));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
