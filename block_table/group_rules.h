// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_GROUP_RULES_H_
#define BLOCK_TABLE_GROUP_RULES_H_

/// What each kind of attention keeps, gives back and may share: the rules in
/// which KV cache groups differ, and nothing else.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pagedkv/kv_cache_group.h"
#include "pagedkv/types.h"

namespace pagedkv::group_rules {

/// Its tables name a block for every token, from the first to the last.
[[nodiscard]] inline bool KeepsAll(const KvCacheGroupOptions& group) {
  return group.kind == AttentionKind::kFull ||
         group.kind == AttentionKind::kLatent;
}
/// Its blocks depend on the tokens before them and on nothing else.
[[nodiscard]] inline bool IsShareable(const KvCacheGroupOptions& group) {
  return group.kind != AttentionKind::kCross;
}

/// Blocks at the start of the table that no token from position `computed` on
/// looks at. Attention sinks, which lie among them, are looked at all the same.
[[nodiscard]] BlockCount SkippedBlocks(const KvCacheGroupOptions& group,
                                       TokenCount computed);
/// The least number of computed tokens from which on more blocks are skipped
/// than at `computed`; nullopt: never.
[[nodiscard]] std::optional<TokenCount> NextSkip(
    const KvCacheGroupOptions& group, TokenCount computed);
/// Leading blocks that are never given back: the attention sinks.
[[nodiscard]] BlockCount SinkBlocks(const KvCacheGroupOptions& group);

/// Blocks that a sequence holds at most on its way to `num_tokens`, where a
/// step computes at most `max_in_flight` of them (0: any number).
[[nodiscard]] BlockCount MostBlocks(const KvCacheGroupOptions& group,
                                    TokenCount num_tokens,
                                    TokenCount max_in_flight,
                                    TokenCount max_sequence_tokens);

/// Whether the full block at `index` can ever be part of a hit that ends at a
/// multiple of `alignment`: others need not be indexed.
[[nodiscard]] bool IsWorthIndexing(const KvCacheGroupOptions& group,
                                   std::int64_t index, TokenCount alignment);

/// Finds the prefix that is cached in every group.
class Matcher {
 public:
  /// `unit`: tokens of one entry of the lanes. `alignment`: a joint hit is a
  /// multiple of it.
  Matcher(std::span<const KvCacheGroupOptions> groups, BlockSize unit,
          TokenCount alignment);

  /// `lanes[g]`: for each unit of the sequence, the block of group g that ends
  /// there, or the null block. Fills `blocks[g]` with the hit's table and
  /// returns its length, at most `max_tokens`. O(units); the rules are those of
  /// vLLM's hybrid coordinator.
  TokenCount Match(std::span<const std::vector<BlockId>> lanes,
                   TokenCount max_tokens,
                   std::span<std::vector<BlockId>> blocks) const;

 private:
  // Groups of equal geometry hit together.
  struct Spec {
    KvCacheGroupOptions options;
    std::int64_t units_per_block = 1;
    std::vector<std::size_t> groups;
  };
  class Lookup;

  std::vector<Spec> specs_;
  TokenCount alignment_;
};

}  // namespace pagedkv::group_rules

#endif  // BLOCK_TABLE_GROUP_RULES_H_
