// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_PREFIX_CACHE_H_
#define PAGEDKV_PREFIX_CACHE_H_

/// What a client says to, and hears from, the prefix cache of a
/// `KvCacheManager`: sequences of equal content share blocks.

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "pagedkv/block_hash.h"
#include "pagedkv/eviction_policy.h"
#include "pagedkv/missed_block.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Names for content that other processes understand.
struct ContentHashOptions {
  BlockHashAlgorithm algorithm = BlockHashAlgorithm::kSha256Cbor;
  std::string seed = {};  ///< the same in all processes that are to agree
};

/// How the prefix cache works, where `BlockPoolOptions::prefix_caching` turns
/// it on.
struct PrefixCacheOptions {
  /// Keys the index's hash table. A random number of the process keeps clients
  /// from aiming at collisions, which would cost time, never correctness.
  std::uint64_t secret = 0;
  /// Content hashes cost 32 bytes per block, and hashing when a block fills.
  /// Matching does not use them.
  std::optional<ContentHashOptions> content_hash = std::nullopt;
  /// Keep events for `KvCacheManager::TakeEvents`. Needs `content_hash`.
  bool events = false;
  /// Of model and weights. It goes into the content hashes, so that processes
  /// with other weights do not agree on any.
  std::string model_fingerprint = {};
  /// Tokens of one position of the index; 0: the greatest common divisor of the
  /// groups' block sizes. Must divide each of them.
  std::int32_t hash_block_size = 0;
  /// Follow vLLM also where it has a known defect (docs/design.md, "Where
  /// upstream errs").
  bool vllm_compatible = false;
  /// A block that turns out equal to an indexed one gives way to it, unless
  /// others hold it and nobody the indexed one, so that it would cost a block.
  /// Without, equal blocks live side by side, as upstream.
  bool deduplicate = false;
  /// Also reuse the leading tokens of a block that agrees in part, by a copy
  /// into the sequence's own block. Single-group full attention only.
  bool partial_block_reuse = false;
  /// A name of `EvictionPolicyNames`. "lru" is built into the pool's queue and
  /// costs nothing; its decisions are vLLM's.
  std::string eviction_policy = "lru";
  /// Not empty: quotas on cached blocks on top of the policy.
  std::vector<TenantQuota> tenant_quotas = {};
  /// `KvCacheManager::Pin` holds this many blocks at most.
  BlockCount max_pinned_blocks{0};
  /// For tests: the bits of an edge's hash that count. With 0 all edges of the
  /// index collide, which costs time and changes no answer.
  std::uint32_t edge_hash_mask = ~0u;
  /// Remember what was cached, so that `KvCacheManager::ExplainMiss` can say
  /// why a block was not. Costs 90 to 160 bytes for each block of the pool; for
  /// each block that is indexed or removed, one XXH3 of its tokens and a few
  /// table entries; and for each admission with a match a second walk along the
  /// prompt, with an XXH3 of all of it.
  bool explain_misses = false;
  /// The share of the cached blocks, from 0 (none) to 1, whose times go to
  /// `KvCacheManager::cache_histograms`. 0.01 is vLLM's default
  /// (--kv-cache-metrics-sample). `secret` seeds the choice. Costs 17 bytes for
  /// each block of the pool.
  double lifetime_sample_rate = 0;
};

/// Retention of the tokens [begin, end) of a sequence, for policies that heed
/// it. Tokens outside of any range have the default priority.
struct RetentionRange {
  TokenCount begin{0};
  TokenCount end{std::numeric_limits<std::int64_t>::max()};
  std::int32_t priority = CachedBlockInfo::kDefaultRetentionPriority;
  /// From the time that the block is cached; the most is for ever.
  std::int64_t duration_ns = std::numeric_limits<std::int64_t>::max();
  friend bool operator==(const RetentionRange&,
                         const RetentionRange&) = default;
};

/// What the manager is to know of a sequence beside its tokens.
struct SequenceOptions {
  ContentKeys keys = {};
  /// Of the adapter in `keys`, for events.
  std::optional<std::int64_t> adapter_id = std::nullopt;
  /// 0 where unknown. Only `vllm_compatible` uses it.
  TokenCount num_prompt_tokens{0};
  /// Slots for the encoder's tokens, in cross-attention groups. What the
  /// decoder keeps depends on them: `keys` must tell apart what the encoder
  /// reads, or its tokens alone decide what is shared.
  TokenCount num_encoder_tokens{0};
  std::int32_t tenant = 0;
  /// What the client calls the sequence, for explanations of misses. The
  /// scheduler puts the request's id here.
  std::uint64_t tag = 0;
  std::vector<RetentionRange> retention = {};
};

/// The longest prefix of a sequence whose KV is in the cache, in every group.
/// Reused from match to match, it allocates nothing once warm. Valid until the
/// manager changes.
struct PrefixMatch {
  /// Leading tokens that need not be computed; always fewer than all.
  TokenCount num_tokens{0};
  /// [groups]: the blocks that hold them; null blocks where no later token
  /// looks (outside of a window). Empty for cross-attention.
  std::vector<std::vector<BlockId>> blocks = {};
  /// Of `num_tokens`, the last so many lie in `partial_source`, a block of
  /// other content from there on: they are copied.
  TokenCount partial_tokens{0};
  BlockId partial_source = kNullBlock;
  /// Where the match ends in the index. Not for clients.
  std::int32_t index_node = 0;
  std::uint64_t index_version = 0;
};

/// Counts since the manager was created, named as vLLM's metrics where they
/// mean the same.
struct PrefixCacheMetrics {
  std::int64_t queries = 0;   ///< tokens asked for (vllm:prefix_cache_queries)
  std::int64_t hits = 0;      ///< tokens found (vllm:prefix_cache_hits)
  std::int64_t requests = 0;  ///< sequences admitted with a match
  std::int64_t blocks_stored = 0;       ///< blocks that were indexed
  std::int64_t blocks_evicted = 0;      ///< for capacity
  std::int64_t blocks_invalidated = 0;  ///< for any other reason
  std::int64_t blocks_deduplicated = 0;
  std::int64_t tokens_copied = 0;  ///< by partial reuse
  /// Full blocks of the sequences admitted with a match that were not hit, over
  /// all groups, by `MissReason`. Stays 0 without
  /// `PrefixCacheOptions::explain_misses`, and where `AppendOptions::tokens`
  /// were not given or the match is out of date.
  std::array<std::int64_t, kNumMissReasons> blocks_missed = {};
};

}  // namespace pagedkv

#endif  // PAGEDKV_PREFIX_CACHE_H_
