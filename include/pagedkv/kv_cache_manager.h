// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_CACHE_MANAGER_H_
#define PAGEDKV_KV_CACHE_MANAGER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_pool.h"
#include "pagedkv/block_storage.h"
#include "pagedkv/block_tables.h"
#include "pagedkv/cache_histograms.h"
#include "pagedkv/index_digest.h"
#include "pagedkv/kv_cache_group.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/missed_block.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"

namespace pagedkv {

class PrefixCache;
class SwapSpace;
struct KvIndexSnapshot;
struct SequenceContent;

struct KvCacheManagerOptions {
  /// The pool that all groups draw from. `pool.prefix_caching` turns the prefix
  /// cache on.
  BlockPoolOptions pool;
  /// At least one, at most `kMaxKvCacheGroups`.
  std::vector<KvCacheGroupOptions> groups = {KvCacheGroupOptions{}};
  /// No sequence grows beyond this many tokens (the model's context length).
  /// Fixes the width of the block tables: 4 bytes per block and sequence.
  TokenCount max_sequence_tokens{0};
  /// No more sequences than this at a time.
  std::int32_t max_sequences = 1024;
  /// Tokens that a step computes at most, over all sequences: then a prompt is
  /// known to leave a window behind it while it is computed, and needs fewer
  /// blocks of such groups to be admitted. 0: not known.
  TokenCount max_in_flight_tokens{0};
  /// Blocks of the swap space, where `TrySwapOut` puts sequences: ids from 1 to
  /// this, of a `BlockStorage` that has one more for the null block. 0: none.
  BlockCount num_swap_blocks{0};
  PrefixCacheOptions prefix_cache = {};
  /// Keep `fresh_blocks`, for who cleans blocks that are issued again
  /// (`ReuseHygiene`), or checks what is read (`SlotSanitizer`). Not together
  /// with `prefix_cache.partial_block_reuse`: it puts content of others into a
  /// sequence's own block.
  bool list_fresh_blocks = false;
};

inline constexpr int kMaxKvCacheGroups = 16;

/// How `KvCacheManager::TryAppend` provides for what comes after the append.
struct AppendOptions {
  /// Slots wanted beyond the appended tokens (speculative drafts); cut where
  /// they would exceed `max_sequence_tokens`.
  TokenCount lookahead{0};
  /// The append is granted only if a sequence of this many tokens in all would
  /// fit as well (a prompt that is prefilled in chunks). 0: no such condition.
  TokenCount must_fit{0};
  /// The append is granted only if it leaves the pool's watermark free.
  bool keep_watermark = false;
  /// All tokens known of the sequence, from position 0 on, as far as they are:
  /// blocks that they fill are shared from then on. The prefix cache shares
  /// nothing that it is not told.
  std::span<const TokenId> tokens = {};
  /// For a sequence without tokens: it begins with these, in shared blocks, and
  /// `count` tokens follow. Must be the latest match for the same tokens and
  /// keys, with no change to the manager in between.
  const PrefixMatch* match = nullptr;
};

/// A cached block and what it holds.
struct CachedContent {
  int group = 0;
  TokenCount num_tokens{0};  ///< of the sequence, up to the end of the block
  BlockHash hash = {};       ///< empty without `content_hash`
};

/// Sequences in, block tables out: maps each sequence's logical positions to
/// slots of physical blocks, in every KV cache group, out of one pool.
///
/// A sequence of n tokens has ceil(n / block_size) entries in each group's
/// table, and more only for lookahead that was asked for. An entry is the null
/// block where no later token looks: before a window or a chunk, and, with
/// state-space layers, anywhere but at the last state. Cross-attention has the
/// entries that its encoder's tokens need, from the first append on. Forked
/// sequences share blocks; a sequence that writes into a shared block gets its
/// own copy first.
///
/// With the prefix cache, sequences of equal content share full blocks. Full
/// blocks are indexed when they are allotted, before their KV is written:
/// whoever matches them in the same step reads what that step writes. Released
/// blocks keep their content until they are reissued.
///
/// A sequence that was swapped out keeps its row, its number of tokens and its
/// keys, and has empty tables: its tokens lie in the swap space. It can be
/// swapped in and released, and nothing else.
///
/// Invariants, tested by `CheckInvariants`:
///   table.size() >= ceil(num_tokens / block_size), for each group, in the pool
///     or, if it is swapped out, in the swap space
///   ref_count(b) == number of table entries that name b, for each block
///   no block is indexed under content that a table contradicts
/// Running out of blocks is an answer (false). A caller's mistake is a
/// `Status`. Either changes nothing, in any group, but that blocks which no
/// later token looks at go back to the pool. Thread-compatible.
class KvCacheManager {
 public:
  /// InvalidArgument, naming the option, if one is out of its range.
  static absl::StatusOr<KvCacheManager> Create(
      const KvCacheManagerOptions& options);
  KvCacheManager(KvCacheManager&&) noexcept;
  KvCacheManager& operator=(KvCacheManager&&) noexcept;
  ~KvCacheManager();

  /// A new empty sequence. ResourceExhausted at `max_sequences`,
  /// InvalidArgument for negative lengths or ranges.
  absl::StatusOr<SequenceId> AddSequence(const SequenceOptions& options = {});
  /// What `AddSequence` would say of the options alone.
  [[nodiscard]] absl::Status CheckSequence(
      const SequenceOptions& options) const;

  /// Appends `count` tokens (>= 0) to the sequence: takes what blocks they need
  /// and copies a shared last block before it is written. False if the pool has
  /// too few blocks for it, and then nothing has changed.
  /// NotFound for a stale id, OutOfRange beyond `max_sequence_tokens`,
  /// FailedPrecondition, as for all that follow, for one that is swapped out.
  [[nodiscard]] absl::StatusOr<bool> TryAppend(SequenceId id,
                                               TokenCount count) {
    if (IsLive(id)) {
      Sequence& sequence = sequences_[Row(id)];
      if (count.value() >= 0 &&
          count.value() <= sequence.append_limit - sequence.num_tokens) {
        sequence.num_tokens += static_cast<std::int32_t>(count.value());
        return true;
      }
    }
    return TryAppend(id, count, AppendOptions{});
  }
  /// The same; `tokens` are all that is known of the sequence, as in
  /// `AppendOptions::tokens`.
  [[nodiscard]] absl::StatusOr<bool> TryAppend(
      SequenceId id, TokenCount count, std::span<const TokenId> tokens) {
    if (IsLive(id)) {
      Sequence& sequence = sequences_[Row(id)];
      if (count.value() >= 0 &&
          count.value() <= sequence.append_limit - sequence.num_tokens) {
        sequence.num_tokens += static_cast<std::int32_t>(count.value());
        return true;
      }
    }
    return TryAppend(id, count, AppendOptions{.tokens = tokens});
  }
  [[nodiscard]] absl::StatusOr<bool> TryAppend(SequenceId id, TokenCount count,
                                               const AppendOptions& options);

  /// Forgets all tokens from `num_tokens` on and gives the blocks back that are
  /// no longer covered (rejected drafts, a beam that was cut). NotFound,
  /// OutOfRange if the sequence is shorter, FailedPrecondition where a group
  /// has given back what the next token would look at: never for tokens of the
  /// last append. With state-space layers, it is the client who brings the
  /// state back.
  absl::Status Truncate(SequenceId id, TokenCount num_tokens);
  /// Forgets tokens like `Truncate`, and keeps the blocks for those to come, in
  /// groups that have given none of them back.
  absl::Status Rewind(SequenceId id, TokenCount num_tokens);

  /// Like `Truncate`, for tokens that were appended and never computed (a
  /// sequence that lost its place in the step): the blocks that they fill leave
  /// the index.
  absl::Status Retract(SequenceId id, TokenCount num_tokens);

  /// A new sequence with the same tokens that shares the blocks of `id`
  /// (parallel sampling, beam search). NotFound, ResourceExhausted at
  /// `max_sequences`. O(blocks of the sequence).
  /// The tokens of `id` must have been written before the copies that follow
  /// from the fork are made: fork between steps, not between an append and the
  /// step that computes it.
  absl::StatusOr<SequenceId> Fork(SequenceId id);

  /// Ends the sequence: drops its references, last block first, group by group.
  /// NotFound.
  absl::Status Release(SequenceId id);

  // The swap space. A step's moves and copies are done in the order of
  // `BlockStorage::PrepareStep`, and before its tokens are written:
  // `swap_outs`, `swap_ins`, `copies`. The lists take care of one another only
  // as long as they are.

  /// Moves what the sequences have in the pool to the swap space, shared blocks
  /// once, and drops their references; what is cached stays so, as after
  /// `Release`. False if the swap space has too few free blocks for all of
  /// them. NotFound, InvalidArgument for an id named twice, FailedPrecondition
  /// for one that is swapped out, that pins, or that the same step swaps in.
  /// All their tokens must have been written by the steps before (`Retract`
  /// those of this one); slots for lookahead are lost. O(blocks).
  [[nodiscard]] absl::StatusOr<bool> TrySwapOut(
      std::span<const SequenceId> ids);
  [[nodiscard]] absl::StatusOr<bool> TrySwapOut(SequenceId id) {
    return TrySwapOut({&id, 1});
  }
  /// Moves them back, into blocks of their own: what the prefix cache has of
  /// them is not looked at, and what was shared is so only among `ids`. Their
  /// swap blocks are free again after `ClearCopies`. False if the pool has too
  /// few free blocks, those left aside that copies of this step read or write.
  /// NotFound, InvalidArgument for an id named twice, FailedPrecondition for
  /// one that is not swapped out. O(blocks).
  [[nodiscard]] absl::StatusOr<bool> TrySwapIn(std::span<const SequenceId> ids);
  [[nodiscard]] absl::StatusOr<bool> TrySwapIn(SequenceId id) {
    return TrySwapIn({&id, 1});
  }
  /// Blocks that it takes to swap the sequences in and then append `counts[i]`
  /// tokens to `ids[i]`, over all groups, their copies of shared blocks
  /// included: at once, or `in_chunks` of at most `max_in_flight_tokens`, where
  /// blocks that are given back in between serve again.
  /// REQUIRES: each is swapped out; as many counts (>= 0) as ids.
  [[nodiscard]] BlockCount BlocksToSwapIn(std::span<const SequenceId> ids,
                                          std::span<const TokenCount> counts,
                                          bool in_chunks = false);
  /// REQUIRES: IsLive(id).
  [[nodiscard]] bool IsSwapped(SequenceId id) const {
    return sequences_[Row(id)].write_limit < 0;
  }
  [[nodiscard]] BlockCount num_swap_blocks() const;
  [[nodiscard]] BlockCount num_free_swap_blocks() const;
  /// Moves asked for since the last `ClearCopies`, from the pool to the swap
  /// space and back; each list in its order.
  [[nodiscard]] std::span<const BlockSwap> swap_outs() const;
  [[nodiscard]] std::span<const BlockSwap> swap_ins() const;

  // The prefix cache. Without `pool.prefix_caching` nothing is ever found.

  /// Finds the longest cached prefix of `tokens` for the sequence, by comparing
  /// tokens and keys. Changes nothing that another operation sees. NotFound.
  /// O(blocks of the prefix), whatever is cached.
  absl::Status Match(SequenceId id, std::span<const TokenId> tokens,
                     PrefixMatch& match);
  /// The same for a sequence that is not there (yet).
  void Match(std::span<const TokenId> tokens, const ContentKeys& keys,
             PrefixMatch& match);

  /// Says of each full block of `tokens` that `Match` would not find now why it
  /// would not: replaces `missed` by them, in the order of groups and indices.
  /// Left out are blocks that no hit needs: those of a window that are never
  /// indexed, and of state-space layers those that never had a state. NotFound
  /// for a stale id, FailedPrecondition without
  /// `PrefixCacheOptions::explain_misses` or for a sequence from before
  /// `InvalidatePrefixCache`. O(tokens), and reads all of them.
  absl::Status ExplainMiss(SequenceId id, std::span<const TokenId> tokens,
                           std::vector<MissedBlock>& missed);
  /// The same for a sequence that is not there (yet).
  absl::Status ExplainMiss(std::span<const TokenId> tokens,
                           const ContentKeys& keys,
                           std::vector<MissedBlock>& missed);

  /// Takes blocks out of the index; who uses them goes on. InvalidArgument for
  /// an id outside of the pool, and then nothing has changed.
  absl::Status Evict(std::span<const BlockId> blocks);
  /// Empties the index if no sequence holds a block; otherwise false, and
  /// nothing has changed. O(num_blocks), as the next.
  [[nodiscard]] bool ResetPrefixCache();
  /// Empties the index because the model's weights changed. Sequences go on
  /// with what they hold, and none of it will be shared any more. With
  /// `model_fingerprint`, content hashes from then on are of the new model.
  void InvalidatePrefixCache(std::string_view model_fingerprint = {});

  /// Keeps the longest cached prefix of `tokens` from being evicted, until the
  /// returned sequence is released. NotFound if nothing of it is cached,
  /// ResourceExhausted beyond `max_pinned_blocks`, at `max_sequences`, or if
  /// blocks for its encoder's tokens lack.
  absl::StatusOr<SequenceId> Pin(std::span<const TokenId> tokens,
                                 const SequenceOptions& options = {});
  /// `PrefixCacheOptions::vllm_compatible`, for the scheduler.
  [[nodiscard]] bool vllm_compatible() const { return vllm_compatible_; }
  [[nodiscard]] BlockCount num_pinned_blocks() const {
    return BlockCount(num_pinned_blocks_);
  }

  /// The clock of retention, in nanoseconds of any origin; not going back.
  void SetTime(std::int64_t now_ns);
  /// Tells the eviction policy that a waiting request will hit these blocks, or
  /// takes that back: a hint, which "queue-lru" heeds. Ignores ids outside of
  /// the pool and blocks without content.
  void Expect(std::span<const BlockId> blocks, bool expected);

  /// Leading blocks of the sequence that every sequence with blocks shares
  /// (cascade attention): 0 for groups that give blocks back, and without the
  /// prefix cache. REQUIRES: IsLive(id).
  [[nodiscard]] BlockCount NumCommonPrefixBlocks(SequenceId id,
                                                 int group = 0) const;

  [[nodiscard]] PrefixCacheMetrics prefix_cache_metrics() const;
  /// Distinct (content, group) pairs that are cached.
  [[nodiscard]] std::int64_t num_cached_keys() const;
  /// Sampled times; empty without `PrefixCacheOptions::lifetime_sample_rate`.
  [[nodiscard]] CacheHistograms cache_histograms() const;
  /// Memory of the index, tokens included, and of `explain_misses`.
  [[nodiscard]] Bytes prefix_cache_bytes() const;
  /// What a block is indexed as; nullopt if it is not. REQUIRES: an id of the
  /// pool.
  [[nodiscard]] std::optional<CachedContent> cached_content(
      BlockId block) const;
  /// Events since the last call. Empty without `PrefixCacheOptions::events`.
  [[nodiscard]] KvEventBatch TakeEvents();
  /// What is in the index, as `KvIndexView::Create` takes it (kv_index_view.h
  /// has the type): for a router that begins late, or has lost events. It has
  /// in it what the events say that still wait: take those before, and the next
  /// batch begins where the snapshot ends. FailedPrecondition without
  /// `PrefixCacheOptions::events`. O(n log n) for n blocks, one SHA-256 each.
  [[nodiscard]] absl::StatusOr<KvIndexSnapshot> SnapshotIndex() const;
  /// The digest of a `KvIndexView` that has followed all events up to now,
  /// those that wait included. The first call costs as much as a snapshot; from
  /// then on each event costs one SHA-256 per hash more, and the call O(1).
  /// FailedPrecondition without `PrefixCacheOptions::events`.
  [[nodiscard]] absl::StatusOr<IndexDigest> index_digest();

  [[nodiscard]] bool IsLive(SequenceId id) const {
    return Row(id) < sequences_.size() && Generation(id) % 2 == 1 &&
           sequences_[Row(id)].generation == Generation(id);
  }
  [[nodiscard]] std::int32_t num_sequences() const { return num_sequences_; }
  [[nodiscard]] std::int32_t max_sequences() const { return max_sequences_; }
  /// REQUIRES: IsLive(id), as all that follow.
  [[nodiscard]] TokenCount num_tokens(SequenceId id) const {
    return TokenCount(sequences_[Row(id)].num_tokens);
  }
  /// The row of the sequence in the tables of every group, from its creation to
  /// its release.
  [[nodiscard]] static std::int32_t row(SequenceId id) {
    return static_cast<std::int32_t>(Row(id));
  }
  [[nodiscard]] std::span<const BlockId> block_table(SequenceId id,
                                                     int group = 0) const {
    return tables(group).row(row(id));
  }
  /// Where the token at `position` lies: block id * block_size + offset.
  /// REQUIRES, as do the next two: it is not swapped out. The position is below
  /// num_tokens(id), or with cross-attention below the number of the encoder's
  /// tokens, whose slots these are.
  [[nodiscard]] std::int64_t Slot(SequenceId id, std::int32_t position,
                                  int group = 0) const {
    const BlockSize size = block_size(group);
    const TokenCount before(position);
    const auto index =
        static_cast<std::size_t>(size.FullBlocks(before).value());
    const BlockCount block(block_table(id, group)[index].value());
    return (size.Slots(block) + size.Remainder(before)).value();
  }
  /// Writes the slots of the tokens at positions first, first + 1, ... to
  /// `slots`. REQUIRES: the positions are as for `Slot`.
  void FillSlotMapping(SequenceId id, std::int32_t first,
                       std::span<std::int64_t> slots, int group = 0) const;
  /// Replaces `csr` by the tables of `ids`, in their order, of the encoder's
  /// tokens with cross-attention. O(blocks).
  void FillCsr(std::span<const SequenceId> ids, CsrBlockTables& csr,
               int group = 0) const;

  /// Blocks that it takes now to lengthen the sequence to `covered` tokens,
  /// over all groups, its own copies of shared blocks included. REQUIRES: it is
  /// not swapped out.
  [[nodiscard]] BlockCount BlocksToCover(SequenceId id,
                                         TokenCount covered) const;
  /// Blocks that a sequence of `num_tokens` holds at most on its way there,
  /// over all groups.
  [[nodiscard]] BlockCount BlocksFor(TokenCount num_tokens,
                                     TokenCount num_encoder_tokens = {}) const;
  /// The same for `num_sequences` that have their first `num_shared` tokens in
  /// common, because they were forked there.
  [[nodiscard]] BlockCount BlocksForForks(
      std::int32_t num_sequences, TokenCount num_shared, TokenCount num_tokens,
      TokenCount num_encoder_tokens = {}) const;

  /// Copies asked for since the last `ClearCopies`, to be done in this order.
  [[nodiscard]] std::span<const BlockCopy> copies() const { return copies_; }
  /// Blocks newly taken since then, as `StepMoves::fresh`: what they held is
  /// another's. A block that went back to the pool in between may stand here
  /// twice. Empty without `list_fresh_blocks`.
  [[nodiscard]] std::span<const FreshBlock> fresh_blocks() const {
    return fresh_;
  }
  /// The caller has taken the copies of a step, and its moves to and from the
  /// swap space, and does them before those of the next: call it once for each
  /// step.
  /// What was appended before counts as computed from then on. Until then a
  /// state is not found, and no block is copied in part: copies and states are
  /// read before the step writes.
  void ClearCopies();

  // The size of the pool. Where the client owns a `BlockStorage`, it must have
  // `pool().extent()` blocks: give it more before `Grow`, and fewer once the
  // moves and copies are done that were asked for up to then.

  /// Adds blocks to the pool until there are `num_blocks`, and takes a shrink
  /// back that is under way. InvalidArgument for fewer than there are, and
  /// beyond `pool.max_num_blocks`.
  absl::Status Grow(BlockCount num_blocks);
  /// Takes the blocks from `num_blocks` on out of the pool while it is in use.
  /// What is cached in them leaves the index (`RemovalReason::kWithdrawn`); the
  /// rest of the cache stays. Free ones are gone at once. Those that sequences
  /// hold drain: they are used as before, are not indexed, and are gone when
  /// they are released, or moved (`Drain`); `pool().num_draining()` counts
  /// them. InvalidArgument for fewer than 2 blocks, or more than there are;
  /// FailedPrecondition while copies, moves or fresh blocks wait for
  /// `ClearCopies`. Whether live sequences can grow to their ends in the
  /// smaller pool is for the caller to know: with a `Scheduler`, call its
  /// `BeginShrink`. O(num_blocks).
  absl::Status BeginShrink(BlockCount num_blocks);
  /// Moves up to `max_copies` draining blocks to free ones of the pool, so that
  /// a shrink need not wait for long sequences: tables name the new blocks, and
  /// `copies` says what to copy. Returns how many were moved: fewer where no
  /// more drain, or no more blocks are free. What is cached in idle blocks may
  /// be evicted for it. InvalidArgument for a negative number. All tokens must
  /// have been written: call it between steps, never between an append and the
  /// step that computes it. O(entries of all tables) while blocks drain.
  absl::StatusOr<BlockCount> Drain(BlockCount max_copies);

  [[nodiscard]] const BlockPool& pool() const { return pool_; }
  [[nodiscard]] int num_groups() const {
    return static_cast<int>(groups_.size());
  }
  [[nodiscard]] BlockSize block_size(int group = 0) const {
    return groups_[static_cast<std::size_t>(group)].options.block_size;
  }
  [[nodiscard]] const KvCacheGroupOptions& group_options(int group = 0) const {
    return groups_[static_cast<std::size_t>(group)].options;
  }
  [[nodiscard]] TokenCount max_sequence_tokens() const {
    return max_sequence_tokens_;
  }
  [[nodiscard]] const BlockTables& tables(int group = 0) const {
    return groups_[static_cast<std::size_t>(group)].tables;
  }
  /// Forgets what changed in the tables of all groups: after the upload.
  void ClearDirty();

  /// Internal, naming the sequence or block, what was expected and what found,
  /// if an invariant is broken, here or in the pool and tables. O(everything).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  // The generation is odd while the row holds a sequence. Tokens from
  // num_tokens up to write_limit are covered, in every group, by blocks that
  // are the sequence's own, and leave no window: appending them needs no look
  // at the tables. Up to append_limit they do not fill a block that could be
  // shared either: append_limit <= write_limit. Swapped out: both are negative.
  struct alignas(16) Sequence {
    std::uint32_t generation = 0;
    std::int32_t num_tokens = 0;
    std::int32_t append_limit = 0;
    std::int32_t write_limit = 0;
  };

  struct Group {
    KvCacheGroupOptions options;
    BlockTables tables;
  };

  // A block that is to be moved, and how many sequences hold and write it.
  struct HeldBlock {
    int group = 0;
    BlockId block = {};
    std::int32_t num_tokens = 0;
    std::int32_t num_owners = 0;
    std::int32_t num_writers = 0;
    bool is_named = false;  // by a table that was made
  };

  struct Touched {
    bool is_copied = false;      // from or to, by copies_
    bool is_swapped_in = false;  // to
  };

  // What an append takes.
  struct Demand {
    TokenCount computed{0};  // before it, the match included
    TokenCount tokens{0};    // after it
    TokenCount covered{0};   // slots wanted, from position 0
    const PrefixMatch* match = nullptr;

    // The same for one group. A state is that of the last token: none is kept
    // for what may come after.
    [[nodiscard]] TokenCount slots(const KvCacheGroupOptions& group) const {
      return group.kind == AttentionKind::kStateSpace ? tokens : covered;
    }
  };

  KvCacheManager(const KvCacheManagerOptions& options, BlockPool pool,
                 std::unique_ptr<PrefixCache> cache,
                 std::unique_ptr<SwapSpace> swap);

  static std::size_t Row(SequenceId id) {
    return static_cast<std::uint32_t>(id.value());
  }
  static std::uint32_t Generation(SequenceId id) {
    return static_cast<std::uint32_t>(id.value() >> 32);
  }

  Touched& touched(BlockId block) {
    return touched_[static_cast<std::size_t>(block.value())];
  }
  [[nodiscard]] bool IsShared(BlockId block) const {
    return pool_.ref_count(block) > 1;
  }
  [[nodiscard]] bool HoldsTokens(std::size_t row) const;
  static absl::Status NotLive(SequenceId id);
  static absl::Status Swapped(SequenceId id);
  [[nodiscard]] SequenceContent& content(SequenceId id);
  [[nodiscard]] bool TryExtendWritable(SequenceId id, TokenCount count);
  [[nodiscard]] bool IsPlainAppend(SequenceId id, TokenCount count,
                                   const AppendOptions& options) const;
  [[nodiscard]] absl::Status CheckAppend(SequenceId id, TokenCount count,
                                         const AppendOptions& options) const;
  [[nodiscard]] absl::Status CheckCut(SequenceId id,
                                      TokenCount num_tokens) const;
  void Cut(SequenceId id, TokenCount num_tokens, bool keep_blocks);
  [[nodiscard]] BlockCount BlocksNeeded(SequenceId id, int group,
                                        const Demand& demand,
                                        bool is_admission) const;
  [[nodiscard]] BlockCount BlocksNeeded(SequenceId id, const Demand& demand,
                                        bool is_admission) const;
  void ReleaseSkipped(SequenceId id, TokenCount computed);
  void AdoptMatch(SequenceId id, const PrefixMatch& match);
  void Cover(SequenceId id, int group, const Demand& demand);
  void OwnBlock(SequenceId id, int group, std::int32_t index,
                TokenCount computed);
  void CopyPartial(SequenceId id, const PrefixMatch& match);
  void RegisterContent(SequenceId id, std::span<const TokenId> tokens,
                       TokenCount computed);
  [[nodiscard]] std::span<const BlockId> IndexableTable(SequenceId id,
                                                        int group);
  void RefreshLimits(SequenceId id, const Demand& demand);
  void RefreshAppendLimit(SequenceId id);
  void Take(std::span<BlockId> blocks);
  void NoteFresh(std::span<const BlockId> blocks);
  void ForgetTouched();
  void AskForCopy(const BlockCopy& copy);
  [[nodiscard]] std::int32_t WrittenTokens(std::size_t row, const Group& group,
                                           std::size_t index) const;
  void Share(std::span<const BlockId> blocks);
  void NoteIdle(std::span<const BlockId> blocks);
  void Unindex(BlockId block, RemovalReason reason);
  void ShrinkTable(Group& group, std::int32_t row, std::int32_t length);
  [[nodiscard]] absl::Status CheckSwapOut(
      std::span<const SequenceId> ids) const;
  [[nodiscard]] absl::Status CheckSwapped(std::size_t row) const;
  [[nodiscard]] BlockId SourceBeforeStep(int group, BlockId block) const;
  [[nodiscard]] std::span<const BlockId> HeldTable(SequenceId id,
                                                   int group) const;
  void GatherHeld(std::span<const SequenceId> ids);
  std::vector<BlockId> TakenTable(std::span<const BlockId> table);
  [[nodiscard]] bool TryTakeForSwap(std::span<BlockId> blocks);
  [[nodiscard]] BlockCount BlocksBeyondHeld(SequenceId id, int group,
                                            TokenCount count, bool in_chunks);

  BlockPool pool_;
  std::unique_ptr<PrefixCache> cache_;  // null without prefix caching
  std::unique_ptr<SwapSpace> swap_;     // null without swap blocks
  std::vector<Group> groups_;
  std::vector<Sequence> sequences_;         // [rows]
  std::vector<SequenceContent> contents_;   // [rows]; empty without a cache
  std::vector<std::int32_t> num_pinned_;    // [rows]: blocks that it pins
  std::vector<TokenCount> encoder_tokens_;  // [rows]
  std::vector<std::int32_t> free_rows_;     // reused last in, first out
  std::vector<BlockCopy> copies_;
  std::vector<FreshBlock> fresh_;
  // By block, with lists_fresh_: whether a list of the step names it.
  std::vector<Touched> touched_;
  TokenCount max_sequence_tokens_;
  TokenCount max_in_flight_tokens_;
  BlockCount max_pinned_blocks_;
  std::int32_t max_sequences_;
  std::int32_t num_sequences_ = 0;
  std::int32_t num_holding_ = 0;  // sequences that `HoldsTokens`
  std::int64_t num_pinned_blocks_ = 0;
  bool vllm_compatible_ = false;
  bool is_simple_ = false;  // one group, which keeps all; not observed
  bool lists_fresh_ = false;
  bool gives_back_ = false;  // a group has blocks that no later token looks at

  // Scratch of the call under way.
  PrefixMatch explained_;
  std::vector<BlockId> evicted_;
  std::vector<BlockId> given_back_;
  std::vector<std::span<const BlockId>> tables_of_;
  std::vector<std::vector<BlockId>> indexable_;  // [groups]: while blocks drain
  std::vector<HeldBlock> held_;
  absl::flat_hash_map<BlockId, std::size_t> held_index_;  // into held_
  std::vector<BlockId> taken_;                            // for held_
  std::vector<BlockId> shared_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_CACHE_MANAGER_H_
