// SPDX-License-Identifier: Apache-2.0
#include "scheduler/decode_horizon.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "block_table/group_rules.h"

namespace pagedkv {

DecodeHorizon::DecodeHorizon(const KvCacheManager& cache)
    : cache_(cache),
      by_slots_left_(static_cast<std::size_t>(cache.num_groups())) {
  for (int group = 0; group < cache.num_groups(); ++group) {
    const KvCacheGroupOptions& options = cache.group_options(group);
    const AttentionKind kind = options.kind;
    if (kind == AttentionKind::kCross) continue;
    gives_back_ |= !group_rules::KeepsAll(options);
    if (kind == AttentionKind::kStateSpace) continue;
    by_slots_left_[static_cast<std::size_t>(group)].resize(
        static_cast<std::size_t>(options.block_size.value()));
  }
}

void DecodeHorizon::Reset(std::int32_t most) {
  most_ = most;
  for (std::vector<std::int32_t>& sequences : by_slots_left_) {
    std::fill(sequences.begin(), sequences.end(), 0);
  }
}

void DecodeHorizon::Add(SequenceId sequence) {
  const TokenCount tokens = cache_.num_tokens(sequence);
  for (std::size_t g = 0; g < by_slots_left_.size(); ++g) {
    const int group = static_cast<int>(g);
    if (gives_back_) {
      most_ = std::min(most_, StepsUndisturbed(group, tokens));
    }
    std::vector<std::int32_t>& sequences = by_slots_left_[g];
    if (sequences.empty()) continue;
    const std::int32_t length =
        cache_.tables(group).length(KvCacheManager::row(sequence));
    const TokenCount left =
        cache_.block_size(group).Slots(BlockCount(length)) - tokens;
    const auto index = static_cast<std::size_t>(left.value());
    // More blocks than tokens need: the client has asked for them.
    if (index >= sequences.size()) {
      most_ = 0;
    } else {
      ++sequences[index];
    }
  }
}

// Up to where an append in one group gives nothing back, and passes the end of
// no block that keeps a state there.
std::int64_t DecodeHorizon::StepsUndisturbed(int group,
                                             TokenCount tokens) const {
  const KvCacheGroupOptions& options = cache_.group_options(group);
  std::int64_t steps = most_;
  if (options.kind == AttentionKind::kCross) return steps;
  const std::optional<TokenCount> skip =
      group_rules::NextSkip(options, tokens - TokenCount(1));
  if (skip.has_value()) steps = std::min(steps, (*skip - tokens).value());
  if (options.kind == AttentionKind::kStateSpace) {
    const BlockSize size = options.block_size;
    const TokenCount end = size.Slots(size.CoveringBlocks(tokens));
    steps = std::min(steps, (end - tokens).value());
  }
  return steps;
}

std::int32_t DecodeHorizon::NumSteps(BlockCount reserve) const {
  std::int64_t free = (cache_.pool().num_free() - reserve).value();
  for (std::int64_t step = 0; step < most_; ++step) {
    for (const std::vector<std::int32_t>& sequences : by_slots_left_) {
      if (sequences.empty()) continue;
      free -= sequences[static_cast<std::size_t>(step) % sequences.size()];
    }
    if (free < 0) return static_cast<std::int32_t>(step);
  }
  return static_cast<std::int32_t>(std::max<std::int64_t>(most_, 0));
}

}  // namespace pagedkv
