// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_PREFIX_CACHE_H_
#define BLOCK_TABLE_PREFIX_CACHE_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "block_table/block_lifetimes.h"
#include "block_table/group_rules.h"
#include "block_table/index_publisher.h"
#include "block_table/miss_explainer.h"
#include "block_table/prefix_index.h"
#include "pagedkv/block_pool.h"
#include "pagedkv/cache_histograms.h"
#include "pagedkv/index_digest.h"
#include "pagedkv/kv_cache_group.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/kv_index_view.h"
#include "pagedkv/missed_block.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// What the manager keeps of a sequence for the prefix cache.
struct SequenceContent {
  SequenceExtras extras;
  bool has_extras = false;
  bool is_attached = false;  // `cursor` is pinned
  PrefixIndex::Cursor cursor;
  std::int32_t registered = 0;  // leading tokens whose blocks went to the index
  SequenceOptions options;
  // With explain_misses, where its depth is that of `registered`.
  ContentFingerprint fingerprint;
};

/// The prefix cache of one manager: which blocks of the pool hold which
/// content. Joins the index, the rules of the groups, the eviction policy and
/// the event log; the manager alone takes blocks and writes tables.
///
/// Invariant: a block is marked as cached in the pool <=> it is in the index
/// (<=> the policy knows it, if there is one besides the pool's own order).
/// Thread-compatible.
class PrefixCache {
 public:
  /// InvalidArgument, naming the option. Ids of blocks are below `num_blocks`.
  static absl::StatusOr<std::unique_ptr<PrefixCache>> Create(
      const PrefixCacheOptions& options,
      std::span<const KvCacheGroupOptions> groups, BlockCount num_blocks,
      TokenCount max_sequence_tokens);

  /// Whether victims come from a policy, not in the order of the pool's queue.
  [[nodiscard]] bool has_policy() const { return policy_ != nullptr; }
  [[nodiscard]] const PrefixCacheMetrics& metrics() const { return metrics_; }
  [[nodiscard]] std::int64_t num_keys() const { return index_.num_keys(); }
  [[nodiscard]] std::size_t bytes_held() const;

  /// A sequence begins: an empty one, at the root.
  void Attach(SequenceContent& content, const SequenceOptions& options);
  void Detach(SequenceContent& content);
  /// As another sequence is.
  void Fork(const SequenceContent& parent, SequenceContent& child);
  /// What lies behind `num_tokens` will be other content.
  void Rewind(SequenceContent& content, TokenCount num_tokens);

  /// The longest prefix of `tokens`, but for the last of them.
  void Match(std::span<const TokenId> tokens, const SequenceExtras* extras,
             PrefixMatch& match);
  [[nodiscard]] SequenceExtras FindExtras(const ContentKeys& keys) const {
    return index_.extra_keys().Find(keys, index_.unit());
  }
  [[nodiscard]] bool IsCurrent(const PrefixMatch& match) const {
    return match.index_version == version_;
  }
  /// The sequence begins with the match.
  void Adopt(SequenceContent& content, const PrefixMatch& match);
  void CountRequest(const PrefixMatch& match, TokenCount num_tokens);

  /// An own block of a sequence whose content is that of another, indexed one.
  struct Equal {
    int group = 0;
    std::int32_t index = 0;  // in the table
    BlockId indexed;
  };
  /// Indexes the blocks that the first `num_tokens` of `tokens` fill, as far as
  /// they are not. The first `computed` were there before this step.
  /// `tables[g]` is the sequence's table of group g. Returns what could be
  /// deduplicated, if asked to by option; valid until the next call.
  std::span<const Equal> Register(
      SequenceContent& content, std::span<const TokenId> tokens,
      TokenCount computed, TokenCount num_tokens,
      std::span<const std::span<const BlockId>> tables, BlockPool& pool);
  /// The most frequent case of `Register`: one more block of the only group,
  /// which follows the last. False, and nothing is done, in any other.
  bool TryRegisterNext(SequenceContent& content,
                       std::span<const TokenId> tokens, TokenCount num_tokens,
                       std::span<const BlockId> table, BlockPool& pool) {
    const std::int64_t end =
        std::int64_t{content.registered} + alignment_.value();
    if (!is_plain_ || alignment_ != index_.unit() || !content.is_attached ||
        num_tokens.value() < end ||
        num_tokens.value() >= end + alignment_.value() ||
        std::cmp_less(tokens.size(), end)) {
      return false;
    }
    const auto depth = static_cast<std::size_t>(content.cursor.depth);
    const BlockId block = depth < table.size() ? table[depth] : kNullBlock;
    if (block == kNullBlock ||
        !index_.TryAppendBlock(
            content.cursor,
            ContentOf(content, tokens).extra(content.cursor.depth),
            tokens.data() + content.registered, block)) {
      return false;
    }
    content.registered = static_cast<std::int32_t>(end);
    pool.SetCached(block, true);
    ++metrics_.blocks_stored;
    ++version_;
    return true;
  }
  /// The number of tokens from which on `Register` has something to do.
  [[nodiscard]] TokenCount NextDue(const SequenceContent& content) const {
    if (registers_tails_) return TokenCount(0);
    return content.is_attached
               ? TokenCount(content.registered + alignment_.value())
               : TokenCount(std::numeric_limits<std::int64_t>::max());
  }

  /// Blocks that were taken for something else leave the index.
  void RemoveEvicted(std::span<const BlockId> blocks);
  /// What is indexed up to here is computed before copies that are asked for
  /// from here on are made.
  void BeginStep() { ++step_; }
  /// The pool has so many blocks from here on; at most as when it was created.
  void SetNumBlocks(BlockCount num_blocks) {
    if (policy_ != nullptr) policy_->SetCapacity(num_blocks);
  }
  /// `block` leaves the index; the pool's mark is the caller's business.
  void Remove(BlockId block, RemovalReason reason);
  /// Everything leaves the index.
  void Clear(RemovalReason reason, BlockPool& pool);
  /// Content hashes are of another model from here on. REQUIRES: cleared, and
  /// no sequence attached.
  void SetModel(std::string_view fingerprint);
  void CountDeduplicated() { ++metrics_.blocks_deduplicated; }
  void CountCopied(TokenCount tokens) {
    metrics_.tokens_copied += tokens.value();
  }

  // With a policy.
  void OnHit(BlockId block) { policy_->OnHit(block); }
  void OnUse(BlockId block) { policy_->OnUse(block); }
  void OnIdle(BlockId block) { policy_->OnIdle(block); }
  /// A cached block that nobody uses and nothing depends on, to be evicted.
  [[nodiscard]] BlockId Victim(const BlockPool& pool);
  /// Why it goes.
  [[nodiscard]] RemovalReason ReasonOf(BlockId victim) const {
    return policy_->has_expired(victim) ? RemovalReason::kExpired
                                        : RemovalReason::kCapacity;
  }
  void SetTime(std::int64_t now_ns);
  void OnExpect(BlockId block, bool expected) {
    policy_->OnExpect(block, expected);
  }

  // With explain_misses or a lifetime_sample_rate.
  [[nodiscard]] bool is_observed() const { return is_observed_; }
  /// The sequence `id` takes blocks from here on, in an append with `match`,
  /// null if there is none, and of `tokens`.
  void BeginAppend(SequenceId id, const SequenceContent& content,
                   const PrefixMatch* match, std::span<const TokenId> tokens);
  [[nodiscard]] bool explains_misses() const { return explainer_ != nullptr; }
  /// Replaces `missed` by the full blocks of `tokens` behind the first `hit`,
  /// in the order of groups and indices. REQUIRES: explains_misses().
  void ExplainMisses(std::span<const TokenId> tokens, const ContentKeys& keys,
                     const SequenceExtras* extras, TokenCount hit,
                     std::vector<MissedBlock>& missed);
  [[nodiscard]] CacheHistograms histograms() const {
    return lifetimes_ == nullptr ? CacheHistograms{} : lifetimes_->histograms();
  }

  [[nodiscard]] std::optional<CachedContent> content_of(BlockId block) const;
  [[nodiscard]] KvEventBatch TakeEvents() { return events_.Take(); }
  [[nodiscard]] bool has_events() const { return options_.events; }
  // REQUIRES: has_events().
  [[nodiscard]] KvIndexSnapshot Snapshot(const BlockPool& pool) const;
  /// From the first call on it is kept up to date; only that one is not O(1).
  [[nodiscard]] const IndexDigest& Digest(const BlockPool& pool);

  [[nodiscard]] absl::Status CheckInvariants(const BlockPool& pool) const;

 private:
  // When a block was indexed, and how many tokens its sequence had before.
  struct Birth {
    std::uint32_t step = 0;
    std::int32_t computed = 0;
  };

  struct GroupState {
    KvCacheGroupOptions options;
    std::int32_t units_per_block = 1;
  };

  PrefixCache(const PrefixCacheOptions& options,
              std::span<const KvCacheGroupOptions> groups,
              BlockCount num_blocks, PrefixIndexOptions index_options,
              BlockSize alignment, std::unique_ptr<EvictionPolicy> policy);

  void GatherLanes(std::int32_t units);
  void MatchSingle(std::int32_t max_units, PrefixMatch& match);
  void MatchPartial(const PrefixContent& content, TokenCount max_tokens,
                    PrefixMatch& match) const;
  [[nodiscard]] bool IsHittable(std::size_t group, std::int32_t depth,
                                TokenCount held) const;
  void Index(PrefixIndex::Segment segment, std::size_t group,
             std::span<const BlockId> table, TokenCount held,
             const SequenceContent& content, BlockPool& pool);
  void Put(PrefixIndex::NodeId node, std::int32_t position, std::size_t group,
           std::int64_t index, BlockId block, const SequenceContent& content,
           BlockPool& pool);
  void RegisterTail(const SequenceContent& content, std::size_t group,
                    std::span<const BlockId> table, BlockPool& pool);
  [[nodiscard]] PrefixContent ContentOf(const SequenceContent& content,
                                        std::span<const TokenId> tokens) const {
    return {tokens, content.has_extras ? &content.extras : nullptr};
  }
  void NoteStored(const SequenceContent& content,
                  std::span<const TokenId> tokens, std::size_t group,
                  std::int32_t begin, std::int32_t end,
                  std::span<const BlockId> table, TokenCount held);
  [[nodiscard]] BlocksStored StoredEvent(const SequenceContent& content,
                                         std::size_t group) const;
  [[nodiscard]] CachedBlockInfo InfoOf(const SequenceContent& content,
                                       PrefixIndex::Place place,
                                       std::int64_t index) const;
  void NoteRemoved(RemovalReason reason);
  // Whether the KV of an indexed block is there before the step under way.
  [[nodiscard]] bool IsComputed(BlockId block) const {
    return births_[static_cast<std::size_t>(block.value())].step != step_;
  }
  // Whether an indexed block has all that another of its content had in a
  // sequence of `computed` tokens, even if the step under way, which writes it,
  // loses the sequence that it is of.
  [[nodiscard]] bool HasAllBefore(BlockId block, std::int32_t computed) const {
    const Birth& birth = births_[static_cast<std::size_t>(block.value())];
    return birth.step != step_ || birth.computed >= computed;
  }
  void ObserveStored(SequenceContent& content, std::span<const TokenId> tokens,
                     std::int32_t begin, std::int32_t end,
                     std::span<const std::span<const BlockId>> tables);
  void ObserveRemoved(BlockId block, RemovalReason reason);
  void ObserveCleared(RemovalReason reason);
  void ExplainGroup(std::size_t group, TokenCount num_tokens, TokenCount hit,
                    std::vector<MissedBlock>& missed) const;

  PrefixCacheOptions options_;
  std::vector<GroupState> groups_;
  BlockSize alignment_;  // what a joint hit is a multiple of, and registering
  PrefixIndex index_;
  group_rules::Matcher matcher_;
  std::unique_ptr<EvictionPolicy> policy_;
  bool is_plain_;  // indexing a block asks nothing of it
  bool registers_tails_;
  IndexPublisher events_;
  PrefixCacheMetrics metrics_;
  std::int64_t now_ns_ = 0;
  std::uint64_t version_ = 1;
  std::uint32_t step_ = 1;
  // By block, where that matters: one of the step under way has no KV yet that
  // could be copied. Empty elsewhere.
  std::vector<Birth> births_;
  std::unique_ptr<MissExplainer> explainer_;   // null without explain_misses
  std::unique_ptr<BlockLifetimes> lifetimes_;  // null without a sample
  bool is_observed_ = false;
  int num_shareable_ = 0;  // groups

  // Scratch of the call under way.
  std::vector<PrefixIndex::Segment> path_;
  std::vector<std::vector<BlockId>> lanes_;  // [groups][units]
  std::vector<PrefixIndex::Removed> removed_;
  std::vector<Equal> equal_;
  std::int32_t computed_ = 0;
  std::vector<ContentFingerprint> fingerprints_;
  std::vector<MissedBlock> missed_;
  // Indices in the table of the group under way, ascending: full blocks that
  // did not go to the index, because they or equals of theirs are in it.
  std::vector<std::int64_t> unchanged_;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_PREFIX_CACHE_H_
