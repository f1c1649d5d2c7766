// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/hit_counts.h"

#include <algorithm>

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kShareUnits = std::int64_t{1} << 32;

double Ratio(double part, double whole) {
  return whole > 0 ? part / whole : 0.0;
}

}  // namespace

TokenCount TokensOfPrefix(std::int64_t blocks, BlockSize block_size,
                          TokenCount prompt) {
  return std::min(prompt, block_size.Slots(BlockCount(blocks)));
}

std::int64_t RequestShare(TokenCount tokens, TokenCount prompt) {
  return tokens.value() * kShareUnits / prompt.value();
}

void HitCounts::AddRequest(std::int64_t num_blocks, TokenCount prompt) {
  ++requests;
  blocks += num_blocks;
  tokens += prompt.value();
}

void HitCounts::AddHits(std::int64_t hits, BlockSize block_size,
                        TokenCount prompt) {
  if (hits == 0) return;
  const TokenCount found = TokensOfPrefix(hits, block_size, prompt);
  hit_blocks += hits;
  hit_tokens += found.value();
  hit_request_shares += RequestShare(found, prompt);
}

HitCounts& HitCounts::operator+=(const HitCounts& other) {
  requests += other.requests;
  blocks += other.blocks;
  tokens += other.tokens;
  hit_blocks += other.hit_blocks;
  hit_tokens += other.hit_tokens;
  hit_request_shares += other.hit_request_shares;
  return *this;
}

HitRates HitCounts::rates() const {
  return {.block = Ratio(static_cast<double>(hit_blocks),
                         static_cast<double>(blocks)),
          .token = Ratio(static_cast<double>(hit_tokens),
                         static_cast<double>(tokens)),
          .request = Ratio(static_cast<double>(hit_request_shares),
                           static_cast<double>(requests) *
                               static_cast<double>(kShareUnits))};
}

}  // namespace pagedkv::sim
