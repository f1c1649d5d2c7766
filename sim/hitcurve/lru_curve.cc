// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/lru_curve.h"

#include <algorithm>
#include <cstddef>

namespace pagedkv::sim {

void LruCurve::Add(std::span<const std::uint32_t> contents, TokenCount prompt) {
  asked_.AddRequest(static_cast<std::int64_t>(contents.size()), prompt);
  std::int64_t size = 0;
  TokenCount tokens_before(0);
  std::int64_t share_before = 0;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const std::int64_t depth = stack_.Depth(contents[i]);
    if (depth == 0) break;
    size = std::max(size, depth);
    if (static_cast<std::size_t>(size) > hits_from_.size()) {
      hits_from_.resize(static_cast<std::size_t>(size));
    }
    // Differences of what prefixes of i and i + 1 blocks count, so that their
    // sum is what HitCounts::AddHits counts, to the last digit.
    const TokenCount tokens =
        TokensOfPrefix(static_cast<std::int64_t>(i) + 1, block_size_, prompt);
    const std::int64_t share = RequestShare(tokens, prompt);
    Hits& hits = hits_from_[static_cast<std::size_t>(size) - 1];
    ++hits.blocks;
    hits.tokens += (tokens - tokens_before).value();
    hits.request_shares += share - share_before;
    tokens_before = tokens;
    share_before = share;
  }
  for (std::size_t i = contents.size(); i > 0; --i) {
    stack_.Touch(contents[i - 1]);
  }
}

HitCounts LruCurve::At(BlockCount size) const {
  HitCounts counts = asked_;
  const auto end = static_cast<std::size_t>(std::min(size, need()).value());
  for (std::size_t i = 0; i < end; ++i) {
    counts.hit_blocks += hits_from_[i].blocks;
    counts.hit_tokens += hits_from_[i].tokens;
    counts.hit_request_shares += hits_from_[i].request_shares;
  }
  return counts;
}

}  // namespace pagedkv::sim
