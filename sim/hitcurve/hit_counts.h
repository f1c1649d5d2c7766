// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_HIT_COUNTS_H_
#define SIM_HITCURVE_HIT_COUNTS_H_

#include <cstdint>

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// Hit rates from 0 to 1 under the three weights that are in use. They differ,
/// so a figure names its weight.
struct HitRates {
  double block = 0;  ///< blocks found / blocks asked for
  double token = 0;  ///< tokens found / prompt tokens
  /// Mean over the requests of tokens found / prompt tokens.
  double request = 0;
  friend bool operator==(const HitRates&, const HitRates&) = default;
};

/// Prompt tokens that the first `blocks` blocks of a prompt hold: the last
/// block holds what is left of it. REQUIRES: blocks >= 0.
[[nodiscard]] TokenCount TokensOfPrefix(std::int64_t blocks,
                                        BlockSize block_size,
                                        TokenCount prompt);

/// Prefix hits, summed over requests in whole numbers, so that the order of the
/// sums does not matter.
///
/// A request hits the blocks of its prompt up to, not including, the first that
/// is not cached when it arrives; what is cached behind that one is of no use.
/// A partial last block is a block like another and weighs its own tokens.
struct HitCounts {
  std::int64_t requests = 0;
  std::int64_t blocks = 0;  ///< asked for: ids of the trace, as often as given
  std::int64_t tokens = 0;  ///< of all prompts
  std::int64_t hit_blocks = 0;
  std::int64_t hit_tokens = 0;
  /// Sum over the requests of tokens found / prompt tokens, each rounded down
  /// to a multiple of 2^-32, in that unit.
  std::int64_t hit_request_shares = 0;

  /// A request of `num_blocks` block ids, none of them hit yet.
  void AddRequest(std::int64_t num_blocks, TokenCount prompt);
  /// The first `hits` blocks of that request are hits.
  void AddHits(std::int64_t hits, BlockSize block_size, TokenCount prompt);

  HitCounts& operator+=(const HitCounts& other);

  /// Zero where there is nothing to hit.
  [[nodiscard]] HitRates rates() const;

  friend bool operator==(const HitCounts&, const HitCounts&) = default;
};

/// `tokens` of a prompt as its share, in the unit of `hit_request_shares`.
/// REQUIRES: 0 <= tokens <= prompt < 2^31, and 0 < prompt.
[[nodiscard]] std::int64_t RequestShare(TokenCount tokens, TokenCount prompt);

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_HIT_COUNTS_H_
