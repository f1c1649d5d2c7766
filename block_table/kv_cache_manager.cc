// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_cache_manager.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/group_rules.h"
#include "block_table/prefix_cache.h"
#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxSequenceTokens = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequences = 1 << 24;

absl::Status NotLive(SequenceId id) {
  return absl::NotFoundError(absl::StrFormat(
      "sequence %#x is not live: it was released, or never added", id.value()));
}

absl::Status NoEvents() {
  return absl::FailedPreconditionError(
      "events are off: turn on prefix_caching, content_hash and events to have "
      "snapshots and digests of the index");
}

absl::Status NotExplained() {
  return absl::FailedPreconditionError(
      "explain_misses is off: turn on prefix_caching and explain_misses to "
      "hear why blocks were not hit");
}

absl::Status CheckGroup(std::size_t index, const KvCacheGroupOptions& group) {
  const bool has_window = group.kind == AttentionKind::kSlidingWindow ||
                          group.kind == AttentionKind::kChunkedLocal;
  if (group.block_size.value() < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("block_size of group %d is %d; it must be at least 1",
                        index, group.block_size.value()));
  }
  if (has_window != (group.window > TokenCount(0)) ||
      group.window < TokenCount(0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "window of group %d is %d; it must be at least 1 with a sliding window "
        "or chunks, and 0 otherwise",
        index, group.window.value()));
  }
  if (group.num_sink_tokens < TokenCount(0) ||
      (group.num_sink_tokens > TokenCount(0) &&
       group.kind != AttentionKind::kSlidingWindow)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "num_sink_tokens of group %d is %d; only a sliding window has sinks",
        index, group.num_sink_tokens.value()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KvCacheManager> KvCacheManager::Create(
    const KvCacheManagerOptions& options) {
  if (options.groups.empty() || options.groups.size() > kMaxKvCacheGroups) {
    return absl::InvalidArgumentError(
        absl::StrFormat("there are %d KV cache groups; there must be 1 to %d",
                        options.groups.size(), kMaxKvCacheGroups));
  }
  for (std::size_t i = 0; i < options.groups.size(); ++i) {
    absl::Status status = CheckGroup(i, options.groups[i]);
    if (!status.ok()) return status;
  }
  if (options.max_sequence_tokens.value() < 1 ||
      options.max_sequence_tokens.value() > kMaxSequenceTokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_sequence_tokens is %d; it must be from 1 to %d",
        options.max_sequence_tokens.value(), kMaxSequenceTokens));
  }
  if (options.max_sequences < 1 || options.max_sequences > kMaxSequences) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_sequences is %d; it must be from 1 to %d",
                        options.max_sequences, kMaxSequences));
  }
  if (options.max_in_flight_tokens < TokenCount(0)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_in_flight_tokens is %d; it must not be negative",
                        options.max_in_flight_tokens.value()));
  }
  BlockPoolOptions pool_options = options.pool;
  pool_options.external_eviction = false;
  std::unique_ptr<PrefixCache> cache;
  if (options.pool.prefix_caching) {
    absl::StatusOr<std::unique_ptr<PrefixCache>> created = PrefixCache::Create(
        options.prefix_cache, options.groups, options.pool.num_blocks,
        options.max_sequence_tokens);
    if (!created.ok()) return created.status();
    cache = *std::move(created);
    pool_options.external_eviction = cache->has_policy();
  }
  absl::StatusOr<BlockPool> pool = BlockPool::Create(pool_options);
  if (!pool.ok()) return pool.status();
  return KvCacheManager(options, *std::move(pool), std::move(cache));
}

KvCacheManager::KvCacheManager(const KvCacheManagerOptions& options,
                               BlockPool pool,
                               std::unique_ptr<PrefixCache> cache)
    : pool_(std::move(pool)),
      cache_(std::move(cache)),
      max_sequence_tokens_(options.max_sequence_tokens),
      max_in_flight_tokens_(options.max_in_flight_tokens),
      max_pinned_blocks_(options.prefix_cache.max_pinned_blocks),
      max_sequences_(options.max_sequences),
      vllm_compatible_(options.prefix_cache.vllm_compatible) {
  for (const KvCacheGroupOptions& group : options.groups) {
    groups_.push_back(
        {group,
         BlockTables(static_cast<std::int32_t>(
             group.block_size.CoveringBlocks(max_sequence_tokens_).value()))});
    gives_back_ |=
        group_rules::NextSkip(group, max_sequence_tokens_).has_value();
  }
  is_simple_ = groups_.size() == 1 &&
               group_rules::KeepsAll(options.groups[0]) &&
               (cache_ == nullptr || !cache_->is_observed());
}

KvCacheManager::KvCacheManager(KvCacheManager&&) noexcept = default;
KvCacheManager& KvCacheManager::operator=(KvCacheManager&&) noexcept = default;
KvCacheManager::~KvCacheManager() = default;

SequenceContent& KvCacheManager::content(SequenceId id) {
  return contents_[Row(id)];
}

absl::Status KvCacheManager::CheckSequence(
    const SequenceOptions& options) const {
  const ContentKeys& keys = options.keys;
  if (options.num_encoder_tokens < TokenCount(0) ||
      options.num_encoder_tokens > max_sequence_tokens_ ||
      options.num_prompt_tokens < TokenCount(0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a sequence cannot have %d encoder tokens and a prompt of %d; the "
        "former must be from 0 to max_sequence_tokens, %d",
        options.num_encoder_tokens.value(), options.num_prompt_tokens.value(),
        max_sequence_tokens_.value()));
  }
  for (const MultimodalItem& item : keys.items) {
    if (item.offset < TokenCount(0) || item.length < TokenCount(0) ||
        item.offset.value() > kMaxSequenceTokens ||
        item.length.value() > kMaxSequenceTokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "item \"%s\" covers %d tokens from token %d; neither may be negative "
          "or beyond %d",
          item.identifier, item.length.value(), item.offset.value(),
          kMaxSequenceTokens));
    }
  }
  for (const CacheSalt& salt : keys.salts) {
    if (salt.begin < TokenCount(0) || salt.begin.value() > kMaxSequenceTokens) {
      return absl::InvalidArgumentError(
          absl::StrFormat("a salt begins at token %d; it must be from 0 to %d",
                          salt.begin.value(), kMaxSequenceTokens));
    }
  }
  if (!keys.prompt_embeddings.empty() && keys.embedding_bytes_per_token == 0) {
    return absl::InvalidArgumentError(
        "there are prompt_embeddings, and embedding_bytes_per_token is 0");
  }
  return absl::OkStatus();
}

absl::StatusOr<SequenceId> KvCacheManager::AddSequence(
    const SequenceOptions& options) {
  if (absl::Status status = CheckSequence(options); !status.ok()) {
    return status;
  }
  if (num_sequences_ == max_sequences_) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%d sequences are live, as many as max_sequences allows",
        num_sequences_));
  }
  ++num_sequences_;
  if (free_rows_.empty()) {
    free_rows_.push_back(static_cast<std::int32_t>(sequences_.size()));
    sequences_.emplace_back();
    num_pinned_.push_back(0);
    encoder_tokens_.emplace_back();
    if (cache_ != nullptr) contents_.emplace_back();
    for (Group& group : groups_) {
      group.tables.GrowTo(static_cast<std::int32_t>(sequences_.size()));
    }
  }
  const auto row = static_cast<std::uint32_t>(free_rows_.back());
  free_rows_.pop_back();
  Sequence& sequence = sequences_[row];
  encoder_tokens_[row] = options.num_encoder_tokens;
  if (cache_ != nullptr) cache_->Attach(contents_[row], options);
  const std::uint64_t generation = ++sequence.generation;
  return SequenceId(generation << 32 | row);
}

// Whether it has entries for tokens of its own, not only for its encoder's.
bool KvCacheManager::HoldsTokens(std::size_t row) const {
  return std::any_of(groups_.begin(), groups_.end(), [row](const Group& group) {
    return group.options.kind != AttentionKind::kCross &&
           group.tables.length(static_cast<std::int32_t>(row)) > 0;
  });
}

absl::Status KvCacheManager::CheckAppend(SequenceId id, TokenCount count,
                                         const AppendOptions& options) const {
  if (!IsLive(id)) return NotLive(id);
  if (count < TokenCount(0) || options.lookahead < TokenCount(0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "cannot append %d tokens with a lookahead of %d: negative",
        count.value(), options.lookahead.value()));
  }
  TokenCount computed = num_tokens(id);
  if (options.match != nullptr) {
    computed += options.match->num_tokens;
    if (num_tokens(id) > TokenCount(0) || HoldsTokens(Row(id))) {
      return absl::FailedPreconditionError(
          absl::StrFormat("a sequence of %d tokens cannot begin with a match",
                          num_tokens(id).value()));
    }
    if (options.match->num_tokens > TokenCount(0) &&
        (cache_ == nullptr || !cache_->IsCurrent(*options.match))) {
      return absl::FailedPreconditionError(
          "the match is out of date: match again after a change");
    }
  }
  if (count > max_sequence_tokens_ - computed) {
    return absl::OutOfRangeError(absl::StrFormat(
        "a sequence of %d tokens cannot grow by %d: max_sequence_tokens is %d",
        computed.value(), count.value(), max_sequence_tokens_.value()));
  }
  return absl::OkStatus();
}

// Whether `count` more tokens can be written; where it takes no more than
// blocks at the end of the only table, takes them. Most appends that are not
// inline are of this kind.
bool KvCacheManager::TryExtendWritable(SequenceId id, TokenCount count) {
  Sequence& sequence = sequences_[Row(id)];
  if (count.value() <= sequence.write_limit - sequence.num_tokens) return true;
  if (!is_simple_) return false;
  const BlockSize size = block_size();
  const TokenCount covered = TokenCount(sequence.num_tokens) + count;
  BlockTables& tables = groups_.front().tables;
  const std::int32_t length = tables.length(row(id));
  // With the table's end at the sequence's, no block is shared that would be
  // written.
  if (length == 0 ||
      size.Slots(BlockCount(length)) != TokenCount(sequence.num_tokens)) {
    return false;
  }
  const BlockCount added = size.CoveringBlocks(covered) - BlockCount(length);
  if (added > pool_.num_free()) return false;
  Take(tables.Extend(row(id), static_cast<std::int32_t>(added.value())));
  sequence.write_limit = static_cast<std::int32_t>(
      std::min(size.Slots(BlockCount(length) + added), max_sequence_tokens_)
          .value());
  return true;
}

// Nothing to find fault with: what `CheckAppend` would say at greater length.
bool KvCacheManager::IsPlainAppend(SequenceId id, TokenCount count,
                                   const AppendOptions& options) const {
  return options.match == nullptr && options.lookahead >= TokenCount(0) &&
         count >= TokenCount(0) && IsLive(id) &&
         count <= max_sequence_tokens_ - num_tokens(id);
}

absl::StatusOr<bool> KvCacheManager::TryAppend(SequenceId id, TokenCount count,
                                               const AppendOptions& options) {
  if (!IsPlainAppend(id, count, options)) {
    absl::Status status = CheckAppend(id, count, options);
    if (!status.ok()) return status;
  } else if (options.lookahead == TokenCount(0) &&
             options.must_fit == TokenCount(0) && !options.keep_watermark &&
             TryExtendWritable(id, count)) {
    Sequence& sequence = sequences_[Row(id)];
    const TokenCount computed(sequence.num_tokens);
    sequence.num_tokens += static_cast<std::int32_t>(count.value());
    if (!options.tokens.empty() && cache_ != nullptr) {
      RegisterContent(id, options.tokens, computed);
    }
    RefreshAppendLimit(id);
    return true;
  }
  const TokenCount old_tokens = num_tokens(id);
  const PrefixMatch* const match =
      options.match != nullptr && options.match->num_tokens > TokenCount(0)
          ? options.match
          : nullptr;
  Demand demand;
  demand.match = match;
  demand.computed =
      old_tokens + (match != nullptr ? match->num_tokens : TokenCount(0));
  const TokenCount new_tokens = demand.computed + count;
  const BlockCount withheld =
      options.keep_watermark ? pool_.watermark_blocks() : BlockCount(0);
  if (options.must_fit > TokenCount(0)) {
    demand.covered = std::min(options.must_fit, max_sequence_tokens_);
    demand.tokens = demand.covered;
    if (BlocksNeeded(id, demand, /*is_admission=*/true) + withheld >
        pool_.num_free()) {
      return false;
    }
  }
  if (gives_back_) ReleaseSkipped(id, demand.computed);
  demand.tokens = new_tokens;
  demand.covered = new_tokens + std::min(options.lookahead,
                                         max_sequence_tokens_ - new_tokens);
  if (BlocksNeeded(id, demand, /*is_admission=*/false) + withheld >
      pool_.num_free()) {
    return false;
  }

  if (demand.covered == old_tokens) return true;
  if (cache_ != nullptr && cache_->is_observed()) {
    cache_->BeginAppend(id, content(id), options.match, options.tokens);
  }
  const bool held_none = !HoldsTokens(Row(id));
  if (match != nullptr) AdoptMatch(id, *match);
  for (int group = 0; group < num_groups(); ++group) Cover(id, group, demand);
  if (held_none && HoldsTokens(Row(id))) ++num_holding_;
  if (match != nullptr && match->partial_tokens > TokenCount(0)) {
    CopyPartial(id, *match);
  }
  Sequence& sequence = sequences_[Row(id)];
  sequence.num_tokens = static_cast<std::int32_t>(new_tokens.value());
  if (cache_ != nullptr) {
    if (options.match != nullptr) {
      const TokenCount known(std::ssize(options.tokens));
      cache_->CountRequest(*options.match, std::max(known, new_tokens));
    }
    if (!options.tokens.empty()) {
      RegisterContent(id, options.tokens, demand.computed);
    }
  }
  RefreshLimits(id, demand);
  return true;
}

BlockCount KvCacheManager::BlocksToCover(SequenceId id,
                                         TokenCount covered) const {
  if (covered <= num_tokens(id)) return BlockCount(0);
  return BlocksNeeded(
      id, {.computed = num_tokens(id), .tokens = covered, .covered = covered},
      /*is_admission=*/false);
}

BlockCount KvCacheManager::BlocksNeeded(SequenceId id, const Demand& demand,
                                        bool is_admission) const {
  BlockCount needed(0);
  if (demand.covered <= num_tokens(id)) return needed;
  for (int group = 0; group < num_groups(); ++group) {
    needed += BlocksNeeded(id, group, demand, is_admission);
  }
  return needed;
}

// The free blocks that it takes to meet the demand in one group: new ones, own
// copies of shared ones, and those of the match that nobody else holds.
BlockCount KvCacheManager::BlocksNeeded(SequenceId id, int group,
                                        const Demand& demand,
                                        bool is_admission) const {
  const KvCacheGroupOptions& options = group_options(group);
  const BlockSize size = options.block_size;
  const std::span<const BlockId> table = block_table(id, group);
  const auto length = static_cast<std::int64_t>(table.size());
  if (options.kind == AttentionKind::kCross) {
    const TokenCount encoder = encoder_tokens_[Row(id)];
    return length > 0 ? BlockCount(0) : size.CoveringBlocks(encoder);
  }
  BlockCount end = size.CoveringBlocks(demand.slots(options));
  std::int64_t needed = 0;
  std::int64_t present = length;
  if (demand.match != nullptr) {
    const auto& hit = demand.match->blocks[static_cast<std::size_t>(group)];
    const std::int64_t skipped =
        group_rules::SkippedBlocks(options, demand.computed).value();
    const std::int64_t sinks = group_rules::SinkBlocks(options).value();
    present = std::max(skipped, static_cast<std::int64_t>(hit.size()));
    for (std::int64_t i = 0; std::cmp_less(i, hit.size()); ++i) {
      const BlockId block = hit[static_cast<std::size_t>(i)];
      if ((i >= skipped || i < sinks) && block != kNullBlock &&
          pool_.ref_count(block) == 0) {
        ++needed;
      }
    }
  }
  for (std::int64_t i = size.FullBlocks(num_tokens(id)).value();
       i < std::min(end.value(), length); ++i) {
    if (IsShared(table[static_cast<std::size_t>(i)])) ++needed;
  }
  if (is_admission) {
    end = std::min(end, group_rules::MostBlocks(options, demand.covered,
                                                max_in_flight_tokens_,
                                                max_sequence_tokens_));
  }
  std::int64_t added = std::max<std::int64_t>(end.value() - present, 0);
  if (options.kind == AttentionKind::kStateSpace) {
    added = std::min<std::int64_t>(added, 1);
  }
  return BlockCount(needed + added);
}

// Blocks that no token from position `computed` on looks at go back to the
// pool, the last first.
void KvCacheManager::ReleaseSkipped(SequenceId id, TokenCount computed) {
  for (Group& group : groups_) {
    const std::span<const BlockId> table = group.tables.row(row(id));
    const auto sinks = group_rules::SinkBlocks(group.options).value();
    auto end = static_cast<std::int32_t>(std::min<std::int64_t>(
        group_rules::SkippedBlocks(group.options, computed).value(),
        static_cast<std::int64_t>(table.size())));
    given_back_.clear();
    // A null block ends it: what lies before was given back before. But between
    // two states lie the blocks that the step from one to the other skipped.
    const bool has_gaps = group.options.kind == AttentionKind::kStateSpace;
    for (std::int32_t i = end - 1; i >= sinks; --i) {
      const BlockId block = table[static_cast<std::size_t>(i)];
      if (block == kNullBlock) {
        if (has_gaps && given_back_.empty()) continue;
        break;
      }
      given_back_.push_back(block);
      group.tables.Set(row(id), i, kNullBlock);
    }
    if (given_back_.empty()) continue;
    PAGEDKV_CHECK(pool_.Release(given_back_).ok());
    NoteIdle(given_back_);
  }
}

void KvCacheManager::AdoptMatch(SequenceId id, const PrefixMatch& match) {
  cache_->Adopt(content(id), match);
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    const std::vector<BlockId>& hit = match.blocks[g];
    if (hit.empty()) continue;
    const std::int64_t skipped =
        group_rules::SkippedBlocks(group.options, match.num_tokens).value();
    const std::int64_t sinks = group_rules::SinkBlocks(group.options).value();
    const std::span<BlockId> table =
        group.tables.Extend(row(id), static_cast<std::int32_t>(hit.size()));
    for (std::size_t i = 0; i < hit.size(); ++i) {
      const bool is_kept =
          std::cmp_greater_equal(i, skipped) || std::cmp_less(i, sinks);
      table[i] = is_kept ? hit[i] : kNullBlock;
    }
    if (cache_->has_policy()) {
      for (BlockId block : table) {
        if (block != kNullBlock) cache_->OnHit(block);
      }
    }
    Share(table);
  }
}

// Makes the slots from the end of what is computed up to `covered` writable in
// one group. REQUIRES: the pool has as many free blocks as are needed.
void KvCacheManager::Cover(SequenceId id, int group, const Demand& demand) {
  const KvCacheGroupOptions& options = group_options(group);
  const BlockSize size = options.block_size;
  BlockTables& tables = groups_[static_cast<std::size_t>(group)].tables;
  const std::int32_t row = KvCacheManager::row(id);
  const std::int32_t length = tables.length(row);
  if (options.kind == AttentionKind::kCross) {
    const TokenCount encoder = encoder_tokens_[Row(id)];
    if (length > 0 || encoder == TokenCount(0)) return;
    Take(tables.Extend(
        row, static_cast<std::int32_t>(size.CoveringBlocks(encoder).value())));
    return;
  }
  const auto end = static_cast<std::int32_t>(
      size.CoveringBlocks(demand.slots(options)).value());
  const auto first =
      static_cast<std::int32_t>(size.FullBlocks(demand.computed).value());
  for (std::int32_t i = first; i < std::min(end, length); ++i) {
    OwnBlock(id, group, i, demand.computed);
  }
  if (end <= length) return;
  std::span<BlockId> added = tables.Extend(row, end - length);
  if (options.kind == AttentionKind::kStateSpace) {
    // Only the last state is kept; the others are never written.
    std::fill(added.begin(), added.end() - 1, kNullBlock);
    added = added.last(1);
  }
  Take(added);
}

// Makes the block at `index` one that the sequence may write from position
// `computed` on: its own, and indexed for nothing that lies behind.
void KvCacheManager::OwnBlock(SequenceId id, int group, std::int32_t index,
                              TokenCount computed) {
  BlockTables& tables = groups_[static_cast<std::size_t>(group)].tables;
  const BlockSize size = block_size(group);
  const BlockId block = tables.row(row(id))[static_cast<std::size_t>(index)];
  if (!IsShared(block)) {
    if (block != kNullBlock && pool_.is_cached(block) &&
        cache_->content_of(block)->num_tokens > computed) {
      Unindex(block, RemovalReason::kInvalid);
    }
    return;
  }
  BlockId own;
  Take({&own, 1});
  const TokenCount start = size.Slots(BlockCount(index));
  const auto in_block = static_cast<std::int32_t>(
      std::max(TokenCount(0), computed - start).value());
  if (in_block > 0) copies_.push_back({group, block, own, in_block});
  PAGEDKV_CHECK(pool_.Release({&block, 1}).ok());
  tables.Set(row(id), index, own);
}

void KvCacheManager::CopyPartial(SequenceId id, const PrefixMatch& match) {
  const BlockId own = block_table(id)[match.blocks[0].size()];
  cache_->CountCopied(match.partial_tokens);
  // The source may have been evicted for the block that it is copied to.
  if (own == match.partial_source) return;
  copies_.push_back({0, match.partial_source, own,
                     static_cast<std::int32_t>(match.partial_tokens.value())});
}

void KvCacheManager::RegisterContent(SequenceId id,
                                     std::span<const TokenId> tokens,
                                     TokenCount computed) {
  SequenceContent& content = this->content(id);
  if (num_tokens(id) < cache_->NextDue(content) ||
      cache_->TryRegisterNext(content, tokens, num_tokens(id), block_table(id),
                              pool_)) {
    return;
  }
  tables_of_.clear();
  for (int group = 0; group < num_groups(); ++group) {
    tables_of_.push_back(block_table(id, group));
  }
  for (const PrefixCache::Equal& equal : cache_->Register(
           content, tokens, computed, num_tokens(id), tables_of_, pool_)) {
    BlockTables& tables = groups_[static_cast<std::size_t>(equal.group)].tables;
    const BlockId own =
        tables.row(row(id))[static_cast<std::size_t>(equal.index)];
    Share({&equal.indexed, 1});
    tables.Set(row(id), equal.index, equal.indexed);
    PAGEDKV_CHECK(pool_.Release({&own, 1}).ok());
    cache_->CountDeduplicated();
  }
}

// Up to where the next appends change nothing but the number of tokens.
void KvCacheManager::RefreshLimits(SequenceId id, const Demand& demand) {
  Sequence& sequence = sequences_[Row(id)];
  const TokenCount tokens(sequence.num_tokens);
  TokenCount limit = max_sequence_tokens_;
  for (const Group& group : groups_) {
    if (group.options.kind == AttentionKind::kCross) continue;
    const BlockSize size = group.options.block_size;
    limit = std::min(
        limit, size.Slots(size.CoveringBlocks(demand.slots(group.options))));
    if (!gives_back_) continue;
    const std::optional<TokenCount> skip =
        group_rules::NextSkip(group.options, demand.computed);
    if (skip.has_value()) limit = std::min(limit, std::max(tokens, *skip));
  }
  sequence.write_limit = static_cast<std::int32_t>(limit.value());
  RefreshAppendLimit(id);
}

void KvCacheManager::RefreshAppendLimit(SequenceId id) {
  Sequence& sequence = sequences_[Row(id)];
  sequence.append_limit = sequence.write_limit;
  if (cache_ == nullptr) return;
  const TokenCount unshared = cache_->NextDue(content(id)) - TokenCount(1);
  sequence.append_limit = static_cast<std::int32_t>(std::min<std::int64_t>(
      sequence.write_limit,
      std::max<std::int64_t>(sequence.num_tokens, unshared.value())));
}

// Fills `blocks` with free ones, evicting what they held.
void KvCacheManager::Take(std::span<BlockId> blocks) {
  if (cache_ != nullptr && cache_->has_policy()) {
    const BlockCount wanted(static_cast<std::int64_t>(blocks.size()));
    while (pool_.num_takeable() < wanted) {
      const BlockId victim = cache_->Victim(pool_);
      PAGEDKV_CHECK(victim != kNullBlock);
      Unindex(victim, cache_->ReasonOf(victim));
    }
  }
  evicted_.clear();
  PAGEDKV_CHECK(pool_.TryAllocate(blocks, &evicted_));
  if (!evicted_.empty()) cache_->RemoveEvicted(evicted_);
}

void KvCacheManager::Share(std::span<const BlockId> blocks) {
  if (cache_ != nullptr && cache_->has_policy()) {
    for (BlockId block : blocks) {
      if (block != kNullBlock && pool_.ref_count(block) == 0) {
        cache_->OnUse(block);
      }
    }
  }
  PAGEDKV_CHECK(pool_.Share(blocks).ok());
}

// After a release: tells the policy which of `blocks` nobody uses any longer,
// the last first, as a table is released.
void KvCacheManager::NoteIdle(std::span<const BlockId> blocks) {
  if (cache_ == nullptr || !cache_->has_policy()) return;
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    if (*block != kNullBlock && pool_.ref_count(*block) == 0 &&
        pool_.is_cached(*block)) {
      cache_->OnIdle(*block);
    }
  }
}

void KvCacheManager::Unindex(BlockId block, RemovalReason reason) {
  pool_.SetCached(block, false);
  cache_->Remove(block, reason);
}

absl::Status KvCacheManager::Truncate(SequenceId id, TokenCount num_tokens) {
  if (absl::Status status = CheckCut(id, num_tokens); !status.ok()) {
    return status;
  }
  Cut(id, num_tokens, /*keep_blocks=*/false);
  return absl::OkStatus();
}

absl::Status KvCacheManager::Retract(SequenceId id, TokenCount num_tokens) {
  if (absl::Status status = CheckCut(id, num_tokens); !status.ok()) {
    return status;
  }
  if (cache_ != nullptr) {
    for (int group = 0; group < num_groups(); ++group) {
      const std::span<const BlockId> table = block_table(id, group);
      const auto first = static_cast<std::size_t>(
          block_size(group).FullBlocks(num_tokens).value());
      for (std::size_t i = first; i < table.size(); ++i) {
        if (table[i] != kNullBlock && pool_.is_cached(table[i])) {
          Unindex(table[i], RemovalReason::kInvalid);
        }
      }
    }
  }
  Cut(id, num_tokens, /*keep_blocks=*/false);
  return absl::OkStatus();
}

// A sequence is cut only to where the next token still has all that it looks
// at, and a block to be written to.
absl::Status KvCacheManager::CheckCut(SequenceId id,
                                      TokenCount num_tokens) const {
  if (!IsLive(id)) return NotLive(id);
  const TokenCount present = this->num_tokens(id);
  if (num_tokens < TokenCount(0) || num_tokens > present) {
    return absl::OutOfRangeError(
        absl::StrFormat("a sequence of %d tokens cannot be cut to %d",
                        present.value(), num_tokens.value()));
  }
  if (num_tokens == present) return absl::OkStatus();
  for (int group = 0; group < num_groups(); ++group) {
    const KvCacheGroupOptions& options = group_options(group);
    if (group_rules::KeepsAll(options) || !group_rules::IsShareable(options)) {
      continue;
    }
    const std::span<const BlockId> table = block_table(id, group);
    const std::int64_t end =
        options.block_size.CoveringBlocks(num_tokens).value();
    for (std::int64_t i =
             group_rules::SkippedBlocks(options, num_tokens).value();
         i < end; ++i) {
      if (table[static_cast<std::size_t>(i)] != kNullBlock) continue;
      return absl::FailedPreconditionError(
          absl::StrFormat("a sequence of %d tokens cannot be cut to %d: group "
                          "%d has given back "
                          "what lies there",
                          present.value(), num_tokens.value(), group));
    }
  }
  return absl::OkStatus();
}

absl::Status KvCacheManager::Rewind(SequenceId id, TokenCount num_tokens) {
  if (absl::Status status = CheckCut(id, num_tokens); !status.ok()) {
    return status;
  }
  Cut(id, num_tokens, /*keep_blocks=*/true);
  return absl::OkStatus();
}

void KvCacheManager::Cut(SequenceId id, TokenCount num_tokens,
                         bool keep_blocks) {
  // The limit sends the next append through `Cover`: the block that it writes
  // may be shared.
  Sequence& sequence = sequences_[Row(id)];
  sequence.num_tokens = static_cast<std::int32_t>(num_tokens.value());
  sequence.append_limit = sequence.write_limit = sequence.num_tokens;
  if (cache_ != nullptr) cache_->Rewind(content(id), num_tokens);
  const bool held = HoldsTokens(Row(id));
  for (Group& group : groups_) {
    if (group.options.kind == AttentionKind::kCross) continue;
    const BlockSize size = group.options.block_size;
    const std::span<const BlockId> table = group.tables.row(row(id));
    const auto first =
        std::min(static_cast<std::size_t>(size.FullBlocks(num_tokens).value()),
                 table.size());
    // What is null cannot be kept for tokens to come: they are written there.
    if (keep_blocks &&
        std::find(table.begin() + static_cast<std::ptrdiff_t>(first),
                  table.end(), kNullBlock) == table.end()) {
      continue;
    }
    ShrinkTable(
        group, row(id),
        static_cast<std::int32_t>(size.CoveringBlocks(num_tokens).value()));
  }
  if (held && !HoldsTokens(Row(id))) --num_holding_;
}

absl::StatusOr<SequenceId> KvCacheManager::Fork(SequenceId id) {
  if (!IsLive(id)) return NotLive(id);
  absl::StatusOr<SequenceId> fork = AddSequence();
  if (!fork.ok()) return fork;
  for (Group& group : groups_) {
    const std::span<const BlockId> whole = group.tables.row(row(id));
    const BlockCount covering =
        group.options.block_size.CoveringBlocks(num_tokens(id));
    const std::size_t shared = group.options.kind == AttentionKind::kCross
                                   ? whole.size()
                                   : static_cast<std::size_t>(covering.value());
    const std::span<BlockId> table =
        group.tables.Extend(row(*fork), static_cast<std::int32_t>(shared));
    std::copy_n(group.tables.row(row(id)).begin(), shared, table.begin());
    PAGEDKV_CHECK(pool_.Share(table).ok());
  }
  Sequence& parent = sequences_[Row(id)];
  Sequence& child = sequences_[Row(*fork)];
  child.num_tokens = parent.num_tokens;
  encoder_tokens_[Row(*fork)] = encoder_tokens_[Row(id)];
  // Neither may write the last block before `Cover` has looked at it.
  child.append_limit = parent.append_limit = parent.num_tokens;
  child.write_limit = parent.write_limit = parent.num_tokens;
  if (HoldsTokens(Row(*fork))) ++num_holding_;
  if (cache_ != nullptr) {
    cache_->Detach(content(*fork));
    cache_->Fork(content(id), content(*fork));
  }
  return fork;
}

absl::Status KvCacheManager::Release(SequenceId id) {
  if (!IsLive(id)) return NotLive(id);
  if (HoldsTokens(Row(id))) --num_holding_;
  for (Group& group : groups_) ShrinkTable(group, row(id), 0);
  if (cache_ != nullptr) cache_->Detach(content(id));
  num_pinned_blocks_ -= num_pinned_[Row(id)];
  num_pinned_[Row(id)] = 0;
  Sequence& sequence = sequences_[Row(id)];
  sequence = {.generation = sequence.generation + 1};
  free_rows_.push_back(row(id));
  --num_sequences_;
  return absl::OkStatus();
}

void KvCacheManager::ShrinkTable(Group& group, std::int32_t row,
                                 std::int32_t length) {
  const std::span<const BlockId> table = group.tables.row(row);
  if (std::cmp_less_equal(table.size(), length)) return;
  const std::span<const BlockId> rest =
      table.subspan(static_cast<std::size_t>(length));
  PAGEDKV_CHECK(pool_.ReleaseReversed(rest).ok());
  NoteIdle(rest);
  group.tables.Shrink(row, length);
}

// The prefix cache.

absl::Status KvCacheManager::Match(SequenceId id,
                                   std::span<const TokenId> tokens,
                                   PrefixMatch& match) {
  if (!IsLive(id)) return NotLive(id);
  if (cache_ == nullptr || !content(id).is_attached) {
    Match(tokens.first(0), ContentKeys{}, match);
    return absl::OkStatus();
  }
  const SequenceContent& content = this->content(id);
  cache_->Match(tokens, content.has_extras ? &content.extras : nullptr, match);
  return absl::OkStatus();
}

void KvCacheManager::Match(std::span<const TokenId> tokens,
                           const ContentKeys& keys, PrefixMatch& match) {
  if (cache_ == nullptr) {
    match = {};
    match.blocks.resize(groups_.size());
    return;
  }
  if (keys.empty()) {
    cache_->Match(tokens, nullptr, match);
    return;
  }
  const SequenceExtras extras = cache_->FindExtras(keys);
  cache_->Match(tokens, &extras, match);
}

absl::Status KvCacheManager::ExplainMiss(SequenceId id,
                                         std::span<const TokenId> tokens,
                                         std::vector<MissedBlock>& missed) {
  if (!IsLive(id)) return NotLive(id);
  if (cache_ == nullptr || !cache_->explains_misses()) return NotExplained();
  const SequenceContent& content = this->content(id);
  if (!content.is_attached) {
    return absl::FailedPreconditionError(
        "the sequence is older than the last InvalidatePrefixCache, and shares "
        "nothing any more");
  }
  const SequenceExtras* const extras =
      content.has_extras ? &content.extras : nullptr;
  cache_->Match(tokens, extras, explained_);
  cache_->ExplainMisses(tokens, content.options.keys, extras,
                        explained_.num_tokens - explained_.partial_tokens,
                        missed);
  return absl::OkStatus();
}

absl::Status KvCacheManager::ExplainMiss(std::span<const TokenId> tokens,
                                         const ContentKeys& keys,
                                         std::vector<MissedBlock>& missed) {
  if (cache_ == nullptr || !cache_->explains_misses()) return NotExplained();
  const SequenceExtras extras = cache_->FindExtras(keys);
  cache_->Match(tokens, &extras, explained_);
  cache_->ExplainMisses(tokens, keys, &extras,
                        explained_.num_tokens - explained_.partial_tokens,
                        missed);
  return absl::OkStatus();
}

absl::Status KvCacheManager::Evict(std::span<const BlockId> blocks) {
  for (BlockId block : blocks) {
    if (block.value() <= 0 || block.value() >= pool_.num_blocks().value()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "block %d cannot be evicted: the pool has the blocks 1 to %d",
          block.value(), pool_.num_blocks().value() - 1));
    }
  }
  for (BlockId block : blocks) {
    if (pool_.is_cached(block)) Unindex(block, RemovalReason::kEvicted);
  }
  return absl::OkStatus();
}

bool KvCacheManager::ResetPrefixCache() {
  if (pool_.num_used() > BlockCount(0)) return false;
  if (cache_ != nullptr) cache_->Clear(RemovalReason::kReset, pool_);
  return true;
}

void KvCacheManager::InvalidatePrefixCache(std::string_view model_fingerprint) {
  if (cache_ == nullptr) return;
  for (SequenceContent& content : contents_) cache_->Detach(content);
  cache_->Clear(RemovalReason::kWeights, pool_);
  cache_->SetModel(model_fingerprint);
}

absl::StatusOr<SequenceId> KvCacheManager::Pin(std::span<const TokenId> tokens,
                                               const SequenceOptions& options) {
  absl::StatusOr<SequenceId> id = AddSequence(options);
  if (!id.ok()) return id;
  PrefixMatch match;
  PAGEDKV_CHECK(Match(*id, tokens, match).ok());
  match.num_tokens -= match.partial_tokens;
  match.partial_tokens = TokenCount(0);
  std::int64_t blocks = 0;
  for (const std::vector<BlockId>& hit : match.blocks) {
    blocks += std::count_if(hit.begin(), hit.end(),
                            [](BlockId block) { return block != kNullBlock; });
  }
  absl::Status refused = absl::OkStatus();
  if (match.num_tokens == TokenCount(0)) {
    refused = absl::NotFoundError("nothing of the prefix is cached");
  } else if (num_pinned_blocks_ + blocks > max_pinned_blocks_.value()) {
    refused = absl::ResourceExhaustedError(absl::StrFormat(
        "%d blocks are pinned; %d more would exceed max_pinned_blocks, %d",
        num_pinned_blocks_, blocks, max_pinned_blocks_.value()));
  }
  if (!refused.ok()) {
    PAGEDKV_CHECK(Release(*id).ok());
    return refused;
  }
  const absl::StatusOr<bool> held =
      TryAppend(*id, TokenCount(0), {.match = &match});
  PAGEDKV_CHECK(held.ok());
  if (!*held) {  // blocks for its encoder are lacking
    PAGEDKV_CHECK(Release(*id).ok());
    return absl::ResourceExhaustedError("the pool has too few free blocks");
  }
  num_pinned_[Row(*id)] = static_cast<std::int32_t>(blocks);
  num_pinned_blocks_ += blocks;
  return id;
}

void KvCacheManager::SetTime(std::int64_t now_ns) {
  if (cache_ != nullptr) cache_->SetTime(now_ns);
}

void KvCacheManager::Expect(std::span<const BlockId> blocks, bool expected) {
  if (cache_ == nullptr || !cache_->has_policy()) return;
  for (BlockId block : blocks) {
    if (block.value() > 0 && block.value() < pool_.num_blocks().value()) {
      cache_->OnExpect(block, expected);
    }
  }
}

BlockCount KvCacheManager::NumCommonPrefixBlocks(SequenceId id,
                                                 int group) const {
  if (cache_ == nullptr || !group_rules::KeepsAll(group_options(group))) {
    return BlockCount(0);
  }
  std::int64_t common = 0;
  for (BlockId block : block_table(id, group)) {
    if (pool_.ref_count(block) != num_holding_) break;
    ++common;
  }
  return BlockCount(common);
}

PrefixCacheMetrics KvCacheManager::prefix_cache_metrics() const {
  return cache_ == nullptr ? PrefixCacheMetrics{} : cache_->metrics();
}
std::int64_t KvCacheManager::num_cached_keys() const {
  return cache_ == nullptr ? 0 : cache_->num_keys();
}
CacheHistograms KvCacheManager::cache_histograms() const {
  return cache_ == nullptr ? CacheHistograms{} : cache_->histograms();
}
Bytes KvCacheManager::prefix_cache_bytes() const {
  return Bytes(
      cache_ == nullptr ? 0 : static_cast<std::int64_t>(cache_->bytes_held()));
}
std::optional<CachedContent> KvCacheManager::cached_content(
    BlockId block) const {
  if (cache_ == nullptr) return std::nullopt;
  return cache_->content_of(block);
}
KvEventBatch KvCacheManager::TakeEvents() {
  return cache_ == nullptr ? KvEventBatch{} : cache_->TakeEvents();
}

absl::StatusOr<KvIndexSnapshot> KvCacheManager::SnapshotIndex() const {
  if (cache_ == nullptr || !cache_->has_events()) return NoEvents();
  return cache_->Snapshot(pool_);
}

absl::StatusOr<IndexDigest> KvCacheManager::index_digest() {
  if (cache_ == nullptr || !cache_->has_events()) return NoEvents();
  return cache_->Digest(pool_);
}

void KvCacheManager::FillSlotMapping(SequenceId id, std::int32_t first,
                                     std::span<std::int64_t> slots,
                                     int group) const {
  const std::span<const BlockId> table = block_table(id, group);
  const auto size = static_cast<std::uint32_t>(block_size(group).value());
  const auto position = static_cast<std::uint32_t>(first);
  std::size_t index = position / size;
  std::uint32_t offset = position % size;
  for (std::size_t done = 0; done < slots.size(); ++index, offset = 0) {
    const std::int64_t base = std::int64_t{table[index].value()} * size;
    const std::size_t end =
        std::min<std::size_t>(done + (size - offset), slots.size());
    while (done < end) slots[done++] = base + offset++;
  }
}

void KvCacheManager::FillCsr(std::span<const SequenceId> ids,
                             CsrBlockTables& csr, int group) const {
  const BlockSize size = block_size(group);
  csr.indptr.assign(1, 0);
  csr.indices.clear();
  csr.last_page_len.clear();
  for (SequenceId id : ids) {
    TokenCount tokens = num_tokens(id);
    if (group_options(group).kind == AttentionKind::kCross) {
      tokens = block_table(id, group).empty() ? TokenCount(0)
                                              : encoder_tokens_[Row(id)];
    }
    const std::int64_t blocks = size.CoveringBlocks(tokens).value();
    for (BlockId block :
         block_table(id, group).first(static_cast<std::size_t>(blocks))) {
      csr.indices.push_back(block.value());
    }
    csr.indptr.push_back(static_cast<std::int32_t>(csr.indices.size()));
    const TokenCount before_last =
        size.Slots(BlockCount(std::max<std::int64_t>(blocks - 1, 0)));
    csr.last_page_len.push_back(
        static_cast<std::int32_t>((tokens - before_last).value()));
  }
}

BlockCount KvCacheManager::BlocksFor(TokenCount num_tokens,
                                     TokenCount num_encoder_tokens) const {
  BlockCount blocks(0);
  for (const Group& group : groups_) {
    if (group.options.kind == AttentionKind::kCross) {
      blocks += group.options.block_size.CoveringBlocks(num_encoder_tokens);
      continue;
    }
    blocks += group_rules::MostBlocks(
        group.options, num_tokens, max_in_flight_tokens_, max_sequence_tokens_);
  }
  return blocks;
}

void KvCacheManager::ClearCopies() {
  copies_.clear();
  if (cache_ != nullptr) cache_->BeginStep();
}

void KvCacheManager::ClearDirty() {
  for (Group& group : groups_) group.tables.ClearDirty();
}

absl::Status KvCacheManager::CheckInvariants() const {
  if (absl::Status status = pool_.CheckInvariants(); !status.ok()) {
    return status;
  }
  if (cache_ != nullptr) {
    absl::Status status = cache_->CheckInvariants(pool_);
    if (!status.ok()) return status;
  }
  std::vector<std::int32_t> references(
      static_cast<std::size_t>(pool_.num_blocks().value()), 0);
  std::int32_t live = 0;
  std::int32_t holding = 0;
  for (std::size_t row = 0; row < sequences_.size(); ++row) {
    const Sequence& sequence = sequences_[row];
    const bool is_live = sequence.generation % 2 == 1;
    live += is_live ? 1 : 0;
    holding += HoldsTokens(row) ? 1 : 0;
    for (const Group& group : groups_) {
      const std::span<const BlockId> table =
          group.tables.row(static_cast<std::int32_t>(row));
      const BlockSize size = group.options.block_size;
      const bool is_cross = group.options.kind == AttentionKind::kCross;
      const std::int64_t covering =
          is_cross
              ? 0
              : size.CoveringBlocks(TokenCount(sequence.num_tokens)).value();
      if (std::cmp_less(table.size(), covering) ||
          (!is_live && !table.empty())) {
        return absl::InternalError(absl::StrFormat(
            "sequence in row %d (%s) has %d tokens, %d blocks of %d", row,
            is_live ? "live" : "released", sequence.num_tokens, table.size(),
            size.value()));
      }
      for (BlockId block : table) {
        ++references[static_cast<std::size_t>(block.value())];
      }
      if (is_cross || sequence.write_limit == sequence.num_tokens) continue;
      for (std::int64_t i = sequence.num_tokens / size.value();
           i * size.value() < sequence.write_limit; ++i) {
        if (std::cmp_greater_equal(i, table.size()) ||
            IsShared(table[static_cast<std::size_t>(i)])) {
          return absl::InternalError(absl::StrFormat(
              "sequence in row %d may append up to token %d, yet its block at "
              "index %d is missing or shared",
              row, sequence.write_limit, i));
        }
      }
    }
  }
  for (std::size_t i = 1; i < references.size(); ++i) {
    const std::int32_t counted =
        pool_.ref_count(BlockId(static_cast<std::int32_t>(i)));
    if (counted != references[i]) {
      return absl::InternalError(absl::StrFormat(
          "block %d has %d references, and %d table entries name it", i,
          counted, references[i]));
    }
  }
  if (holding != num_holding_) {
    return absl::InternalError(absl::StrFormat(
        "%d sequences have blocks, %d are counted", holding, num_holding_));
  }
  if (live != num_sequences_ ||
      free_rows_.size() + static_cast<std::size_t>(live) != sequences_.size()) {
    return absl::InternalError(absl::StrFormat(
        "%d rows are live, %d free, %d counted as live of %d", live,
        free_rows_.size(), num_sequences_, sequences_.size()));
  }
  for (const Group& group : groups_) {
    if (absl::Status status = group.tables.CheckInvariants(); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
