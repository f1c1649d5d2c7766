// SPDX-License-Identifier: Apache-2.0
#include "block_table/prefix_cache.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// Depths of the index are packed into 28 bits.
constexpr std::int64_t kMaxUnits = std::int64_t{1} << 28;
constexpr std::int32_t kMaxAlignment = 1 << 24;

std::int64_t Size(const auto& container) {
  return static_cast<std::int64_t>(container.size());
}

// Tokens of one position of the index, and what a joint hit is a multiple of.
struct Units {
  std::int32_t unit = 0;
  std::int64_t alignment = 1;
};

absl::StatusOr<Units> ChooseUnits(const PrefixCacheOptions& options,
                                  std::span<const KvCacheGroupOptions> groups) {
  Units units;
  for (const KvCacheGroupOptions& group : groups) {
    if (!group_rules::IsShareable(group)) continue;
    units.unit = std::gcd(units.unit, group.block_size.value());
    units.alignment =
        std::lcm(units.alignment, std::int64_t{group.block_size.value()});
  }
  if (units.unit == 0) {
    return absl::InvalidArgumentError(
        "prefix_caching is on, and no KV cache group can share its blocks: "
        "cross-attention depends on more than the tokens");
  }
  if (units.alignment > kMaxAlignment) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the least common multiple of the block sizes is %d; with "
        "prefix_caching it must be at most %d",
        units.alignment, kMaxAlignment));
  }
  if (options.hash_block_size != 0) {
    if (options.hash_block_size < 0 ||
        units.unit % options.hash_block_size != 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "hash_block_size is %d; it must divide the block size of every "
          "group, and so %d",
          options.hash_block_size, units.unit));
    }
    units.unit = options.hash_block_size;
  }
  return units;
}

std::optional<BlockHasher> MakeHasher(const PrefixCacheOptions& options,
                                      bool has_policy) {
  if (options.content_hash.has_value()) {
    std::string seed = options.content_hash->seed;
    if (!options.model_fingerprint.empty()) {
      seed += '\0';
      seed += options.model_fingerprint;
    }
    return BlockHasher(options.content_hash->algorithm, seed);
  }
  // A policy remembers what it evicted by the hash of the content.
  if (has_policy) {
    return BlockHasher(BlockHashAlgorithm::kKeyed128,
                       absl::StrFormat("%016x", options.secret));
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrefixCache>> PrefixCache::Create(
    const PrefixCacheOptions& options,
    std::span<const KvCacheGroupOptions> groups, BlockCount num_blocks,
    TokenCount max_sequence_tokens) {
  const absl::StatusOr<Units> units = ChooseUnits(options, groups);
  if (!units.ok()) return units.status();
  if (max_sequence_tokens.value() / units->unit >= kMaxUnits) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_sequence_tokens is %d; with prefix_caching and units of %d tokens "
        "it must be below %d",
        max_sequence_tokens.value(), units->unit, kMaxUnits * units->unit));
  }
  if (options.events && !options.content_hash.has_value()) {
    return absl::InvalidArgumentError(
        "events are on without content_hash: they name blocks by their hashes");
  }
  if (options.partial_block_reuse &&
      (groups.size() != 1 || !group_rules::KeepsAll(groups[0]) ||
       groups[0].block_size.value() != units->unit)) {
    return absl::InvalidArgumentError(
        "partial_block_reuse works with one group of full attention only");
  }
  if (!(options.lifetime_sample_rate >= 0 &&
        options.lifetime_sample_rate <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("lifetime_sample_rate is %g; it must be from 0 to 1",
                        options.lifetime_sample_rate));
  }
  std::unique_ptr<EvictionPolicy> policy;
  if (!options.tenant_quotas.empty() || options.eviction_policy != "lru") {
    absl::StatusOr<std::unique_ptr<EvictionPolicy>> created =
        options.tenant_quotas.empty()
            ? CreateEvictionPolicy(options.eviction_policy, num_blocks)
            : CreateTenantPolicy(options.eviction_policy, num_blocks,
                                 options.tenant_quotas);
    if (!created.ok()) return created.status();
    policy = *std::move(created);
  }
  PrefixIndexOptions index_options = {
      .num_blocks = num_blocks,
      .num_groups = static_cast<int>(groups.size()),
      .unit = BlockSize(units->unit),
      .secret = options.secret,
      .edge_hash_mask = options.edge_hash_mask,
      .hasher = MakeHasher(options, policy != nullptr)};
  std::unique_ptr<PrefixCache> cache(
      new PrefixCache(options, groups, num_blocks, std::move(index_options),
                      BlockSize(static_cast<std::int32_t>(units->alignment)),
                      std::move(policy)));
  if (options.explain_misses) {
    cache->explainer_ = std::make_unique<MissExplainer>(
        num_blocks, cache->index_.unit(), options.secret);
  }
  if (options.lifetime_sample_rate > 0) {
    cache->lifetimes_ = std::make_unique<BlockLifetimes>(
        num_blocks, options.lifetime_sample_rate, options.secret);
  }
  cache->is_observed_ =
      cache->explainer_ != nullptr || cache->lifetimes_ != nullptr;
  return cache;
}

PrefixCache::PrefixCache(const PrefixCacheOptions& options,
                         std::span<const KvCacheGroupOptions> groups,
                         BlockCount num_blocks,
                         PrefixIndexOptions index_options, BlockSize alignment,
                         std::unique_ptr<EvictionPolicy> policy)
    : options_(options),
      alignment_(alignment),
      index_(std::move(index_options)),
      matcher_(groups, index_.unit(), TokenCount(alignment.value())),
      policy_(std::move(policy)),
      is_plain_(policy_ == nullptr && !options.deduplicate && !options.events &&
                !options.partial_block_reuse && !options.explain_misses &&
                options.lifetime_sample_rate == 0 &&
                std::none_of(groups.begin(), groups.end(),
                             [](const KvCacheGroupOptions& group) {
                               return group.kind ==
                                          AttentionKind::kSlidingWindow ||
                                      group.kind == AttentionKind::kStateSpace;
                             })),
      registers_tails_(options.vllm_compatible && groups.size() > 1),
      lanes_(groups.size()) {
  for (const KvCacheGroupOptions& group : groups) {
    groups_.push_back(
        {group, group.block_size.value() / index_.unit().value()});
    if (options_.deduplicate || options_.partial_block_reuse ||
        group.kind == AttentionKind::kStateSpace) {
      births_.resize(static_cast<std::size_t>(num_blocks.value()));
    }
    if (group_rules::IsShareable(group)) ++num_shareable_;
  }
}

// Sequences.

void PrefixCache::Attach(SequenceContent& content,
                         const SequenceOptions& options) {
  content.options = options;
  content.has_extras = !options.keys.empty();
  if (content.has_extras) {
    content.extras = index_.extra_keys().Acquire(options.keys, index_.unit());
  }
  content.cursor = {};
  content.registered = 0;
  content.fingerprint.depth = 0;
  content.is_attached = true;
  index_.Pin(content.cursor);
}

void PrefixCache::Detach(SequenceContent& content) {
  if (!content.is_attached) return;
  index_.Unpin(content.cursor);
  if (content.has_extras) index_.extra_keys().Release(content.extras);
  content.is_attached = false;
  ++version_;
}

void PrefixCache::Fork(const SequenceContent& parent, SequenceContent& child) {
  child = parent;
  if (!child.is_attached) return;
  if (child.has_extras) index_.extra_keys().Acquire(child.extras);
  index_.Pin(child.cursor);
}

void PrefixCache::Rewind(SequenceContent& content, TokenCount num_tokens) {
  const TokenCount kept = alignment_.Slots(alignment_.FullBlocks(num_tokens));
  if (!content.is_attached || kept.value() >= content.registered) return;
  // The pin stays where it is, at or below the new depth.
  content.registered = static_cast<std::int32_t>(kept.value());
  content.cursor.depth = content.registered / index_.unit().value();
  content.fingerprint.depth = 0;
}

// Matching.

void PrefixCache::Match(std::span<const TokenId> tokens,
                        const SequenceExtras* extras, PrefixMatch& match) {
  match.blocks.resize(groups_.size());
  for (std::vector<BlockId>& blocks : match.blocks) blocks.clear();
  match.num_tokens = match.partial_tokens = TokenCount(0);
  match.partial_source = kNullBlock;
  match.index_node = 0;
  match.index_version = version_;
  // The last token is always computed: its logits are wanted.
  const TokenCount most(std::max<std::int64_t>(Size(tokens) - 1, 0));
  const PrefixContent content{tokens, extras};
  path_.clear();
  const std::int32_t units = index_.Walk(
      content,
      static_cast<std::int32_t>(index_.unit().FullBlocks(most).value()), path_);
  if (groups_.size() == 1 && group_rules::KeepsAll(groups_[0].options) &&
      groups_[0].units_per_block == 1) {
    MatchSingle(units, match);
    if (options_.partial_block_reuse) MatchPartial(content, most, match);
  } else {
    GatherLanes(units);
    // Not beyond what is indexed, though a chunk looks at nothing before it.
    const TokenCount walked = index_.unit().Slots(BlockCount(units));
    match.num_tokens = matcher_.Match(lanes_, walked, match.blocks);
  }
  const auto depth = static_cast<std::int32_t>(
      index_.unit().FullBlocks(match.num_tokens).value());
  for (const PrefixIndex::Segment& segment : path_) {
    if (segment.begin < depth) match.index_node = segment.node;
  }
}

// One group that keeps all: what the path has, up to the first hole.
void PrefixCache::MatchSingle(std::int32_t max_units, PrefixMatch& match) {
  std::vector<BlockId>& blocks = match.blocks[0];
  blocks.reserve(static_cast<std::size_t>(max_units));
  for (const PrefixIndex::Segment& segment : path_) {
    const std::span<const BlockId> ids = index_.Blocks(segment, 0);
    const auto hole = std::find(ids.begin(), ids.end(), kNullBlock);
    blocks.insert(blocks.end(), ids.begin(), hole);
    if (hole != ids.end()) break;
  }
  match.num_tokens = index_.unit().Slots(BlockCount(Size(blocks)));
}

// The block that continues the match may begin as the sequence goes on.
void PrefixCache::MatchPartial(const PrefixContent& content,
                               TokenCount max_tokens,
                               PrefixMatch& match) const {
  const std::int32_t depth = static_cast<std::int32_t>(match.blocks[0].size());
  if (!path_.empty() && path_.back().end != depth) return;
  const std::optional<PrefixIndex::Segment> next =
      index_.After({path_.empty() ? 0 : path_.back().node, depth});
  if (!next.has_value() || index_.extra(next->node) != content.extra(depth)) {
    return;
  }
  const BlockId source = index_.BlockAt(next->node, next->begin, 0);
  const std::span<const TokenId> theirs = index_.Tokens(*next);
  const auto begin = static_cast<std::size_t>(match.num_tokens.value());
  const std::span<const TokenId> ours = content.tokens.subspan(
      begin, std::min(theirs.size(),
                      static_cast<std::size_t>(max_tokens.value()) - begin));
  const auto end = std::mismatch(ours.begin(), ours.end(), theirs.begin());
  const auto common = end.first - ours.begin();
  // The copy is made before the step writes: not of what it writes.
  if (source == kNullBlock || common == 0 || !IsComputed(source)) return;
  match.partial_source = source;
  match.partial_tokens = TokenCount(common);
  match.num_tokens += match.partial_tokens;
}

void PrefixCache::GatherLanes(std::int32_t units) {
  for (std::size_t group = 0; group < lanes_.size(); ++group) {
    std::vector<BlockId>& lane = lanes_[group];
    lane.clear();
    lane.reserve(static_cast<std::size_t>(units));
    for (const PrefixIndex::Segment& segment : path_) {
      const auto ids = index_.Blocks(segment, static_cast<int>(group));
      lane.insert(lane.end(), ids.begin(), ids.end());
    }
    // A step reads its states before it writes any: not those of this step.
    if (groups_[group].options.kind != AttentionKind::kStateSpace) continue;
    for (BlockId& block : lane) {
      if (block != kNullBlock && !IsComputed(block)) block = kNullBlock;
    }
  }
}

void PrefixCache::Adopt(SequenceContent& content, const PrefixMatch& match) {
  const TokenCount shared = match.num_tokens - match.partial_tokens;
  const PrefixIndex::Cursor cursor{
      match.index_node,
      static_cast<std::int32_t>(index_.unit().FullBlocks(shared).value())};
  index_.Pin(cursor);
  index_.Unpin(content.cursor);
  content.cursor = cursor;
  content.registered = static_cast<std::int32_t>(shared.value());
  content.fingerprint.depth = 0;
  ++version_;
}

void PrefixCache::CountRequest(const PrefixMatch& match,
                               TokenCount num_tokens) {
  ++metrics_.requests;
  metrics_.queries += num_tokens.value();
  metrics_.hits += match.num_tokens.value();
}

// Indexing.

std::span<const PrefixCache::Equal> PrefixCache::Register(
    SequenceContent& content, std::span<const TokenId> tokens,
    TokenCount computed, TokenCount num_tokens,
    std::span<const std::span<const BlockId>> tables, BlockPool& pool) {
  equal_.clear();
  computed_ = static_cast<std::int32_t>(computed.value());
  if (!content.is_attached) return equal_;
  const TokenCount held = num_tokens;
  num_tokens = std::min(num_tokens, TokenCount(Size(tokens)));
  const auto end = static_cast<std::int32_t>(std::max<std::int64_t>(
      alignment_.Slots(alignment_.FullBlocks(num_tokens)).value(),
      content.registered));
  const std::int32_t begin = content.registered;
  const PrefixIndex::Cursor before = content.cursor;
  path_.clear();
  if (end > begin) {
    const PrefixIndex::Cursor cursor =
        index_.Extend(content.cursor, ContentOf(content, tokens),
                      end / index_.unit().value(), path_);
    index_.Pin(cursor);
    content.cursor = cursor;
    content.registered = end;
    ++version_;
  }
  for (std::size_t group = 0; group < groups_.size(); ++group) {
    if (!group_rules::IsShareable(groups_[group].options)) continue;
    unchanged_.clear();
    for (const PrefixIndex::Segment& segment : path_) {
      Index(segment, group, tables[group], held, content, pool);
    }
    if (options_.events && end > begin) {
      NoteStored(content, tokens, group, begin, end, tables[group], held);
    }
    if (registers_tails_ && groups_[group].units_per_block > 1 &&
        group_rules::KeepsAll(groups_[group].options)) {
      RegisterTail(content, group, tables[group], pool);
    }
  }
  if (is_observed_ && end > begin) {
    ObserveStored(content, tokens, begin, end, tables);
  }
  // Only then: it may join the nodes that the path names.
  if (end > begin) index_.Unpin(before);
  return equal_;
}

// As upstream: the block in which the prompt ends gets a key for the part of it
// that is full units. With groups of other kinds no lookup can find it.
void PrefixCache::RegisterTail(const SequenceContent& content,
                               std::size_t group,
                               std::span<const BlockId> table,
                               BlockPool& pool) {
  const BlockSize unit = index_.unit();
  const std::int32_t units = groups_[group].units_per_block;
  const auto depth = static_cast<std::int32_t>(
      unit.FullBlocks(content.options.num_prompt_tokens).value());
  const std::int32_t index = depth / units;
  if (depth % units == 0 ||
      unit.Slots(BlockCount(depth)).value() > content.registered ||
      std::cmp_greater_equal(index, table.size())) {
    return;
  }
  const BlockId block = table[static_cast<std::size_t>(index)];
  const PrefixIndex::Segment tail = index_.Before({content.cursor.node, depth});
  const bool is_new = block != kNullBlock && !index_.Contains(block);
  if (block == kNullBlock ||
      !index_.Insert(tail.node, tail.begin, static_cast<int>(group), block,
                     /*only_if_vacant=*/true)) {
    return;
  }
  if (is_new) {
    pool.SetCached(block, true);
    ++metrics_.blocks_stored;
    if (policy_ != nullptr) {
      policy_->OnInsert(
          block,
          InfoOf(content, {tail.node, depth, static_cast<std::int32_t>(group)},
                 index));
    }
  }
  if (!options_.events) return;
  BlocksStored event = StoredEvent(content, group);
  event.block_size = unit.value();
  event.hashes = {index_.HashAt({tail.node, depth})};
  if (depth > 1) event.parent = index_.HashAt({tail.node, depth - 1});
  const std::span<const TokenId> last = index_.Tokens(tail);
  event.tokens.assign(last.begin(), last.end());
  event.extra = {ExtraKeysOfBlock(content.options.keys,
                                  unit.Slots(BlockCount(depth - 1)), unit)};
  events_.Append(std::move(event));
}

// Whether the block that ends at `depth` holds what a hit can use, in a
// sequence of `held` tokens. A state is that of the last token computed in the
// block: of its end only if the sequence has stopped there.
bool PrefixCache::IsHittable(std::size_t group, std::int32_t depth,
                             TokenCount held) const {
  const KvCacheGroupOptions& options = groups_[group].options;
  if (options.kind == AttentionKind::kStateSpace) {
    return index_.unit().Slots(BlockCount(depth)) == held;
  }
  return group_rules::IsWorthIndexing(
      options, depth / groups_[group].units_per_block - 1,
      TokenCount(alignment_.value()));
}

// Indexes what of `group`'s table ends in the segment.
void PrefixCache::Index(PrefixIndex::Segment segment, std::size_t group,
                        std::span<const BlockId> table, TokenCount held,
                        const SequenceContent& content, BlockPool& pool) {
  const std::int32_t units = groups_[group].units_per_block;
  if (is_plain_ && units == 1) {
    const std::size_t begin = static_cast<std::size_t>(segment.begin);
    const std::size_t end =
        std::min(static_cast<std::size_t>(segment.end), table.size());
    if (begin >= end) return;
    std::int64_t stored = 0;
    index_.InsertRun(segment, static_cast<int>(group),
                     table.subspan(begin, end - begin), [&](BlockId block) {
                       pool.SetCached(block, true);
                       ++stored;
                     });
    metrics_.blocks_stored += stored;
    return;
  }
  const AttentionKind kind = groups_[group].options.kind;
  const bool is_masked = kind == AttentionKind::kSlidingWindow ||
                         kind == AttentionKind::kStateSpace;
  // The first position of the segment at which a block of the group ends.
  std::int32_t position = (segment.begin / units + 1) * units - 1;
  for (std::int64_t index = position / units; position < segment.end;
       position += units, ++index) {
    if (index >= Size(table)) break;
    const BlockId block = table[static_cast<std::size_t>(index)];
    if (block == kNullBlock) continue;
    if (is_masked && !IsHittable(group, position + 1, held)) continue;
    Put(segment.node, position, group, index, block, content, pool);
  }
}

void PrefixCache::Put(PrefixIndex::NodeId node, std::int32_t position,
                      std::size_t group, std::int64_t index, BlockId block,
                      const SequenceContent& content, BlockPool& pool) {
  if (index_.Contains(block)) {
    // It is indexed here already (a fork's is), or as the tail of a prompt.
    const std::int32_t units = groups_[group].units_per_block;
    if (index_.home(block).depth % units == 0) {
      unchanged_.push_back(index);
      return;
    }
    Remove(block, RemovalReason::kInvalid);
  }
  if (options_.deduplicate) {
    const BlockId indexed =
        index_.BlockAt(node, position, static_cast<int>(group));
    // And the state that the step goes on from must stay where it is.
    const KvCacheGroupOptions& options = groups_[group].options;
    const bool is_read =
        options.kind == AttentionKind::kStateSpace &&
        index * options.block_size.value() < std::int64_t{computed_};
    if (indexed != kNullBlock && !is_read && HasAllBefore(indexed, computed_)) {
      unchanged_.push_back(index);
      equal_.push_back(
          {static_cast<int>(group), static_cast<std::int32_t>(index), indexed});
      return;
    }
  }
  index_.Insert(node, position, static_cast<int>(group), block);
  pool.SetCached(block, true);
  ++metrics_.blocks_stored;
  if (!births_.empty()) {
    births_[static_cast<std::size_t>(block.value())] = {step_, computed_};
  }
  if (policy_ != nullptr) {
    policy_->OnInsert(
        block,
        InfoOf(content, {node, position + 1, static_cast<std::int32_t>(group)},
               index));
  }
}

CachedBlockInfo PrefixCache::InfoOf(const SequenceContent& content,
                                    PrefixIndex::Place place,
                                    std::int64_t index) const {
  CachedBlockInfo info;
  info.content = index_.HashAt({place.node, place.depth}).ToInt();
  info.position = static_cast<std::int32_t>(index);
  info.tenant = content.options.tenant;
  const TokenCount end = index_.unit().Slots(BlockCount(place.depth));
  for (const RetentionRange& range : content.options.retention) {
    // The range that the block ends in.
    if (end <= range.begin || end > range.end) continue;
    info.priority = range.priority;
    const std::int64_t left = std::numeric_limits<std::int64_t>::max() -
                              std::max<std::int64_t>(now_ns_, 0);
    info.expires_ns =
        now_ns_ + std::clamp<std::int64_t>(range.duration_ns, 0, left);
  }
  return info;
}

void PrefixCache::RemoveEvicted(std::span<const BlockId> blocks) {
  if (policy_ != nullptr || options_.events || is_observed_) {
    for (BlockId block : blocks) Remove(block, RemovalReason::kCapacity);
    return;
  }
  if (blocks.empty()) return;
  ++version_;
  metrics_.blocks_evicted += Size(blocks);
  index_.RemoveAll(blocks);
}

void PrefixCache::Remove(BlockId block, RemovalReason reason) {
  ++version_;
  if (is_observed_) ObserveRemoved(block, reason);
  if (policy_ != nullptr && index_.Contains(block)) policy_->OnRemove(block);
  ++(reason == RemovalReason::kCapacity ? metrics_.blocks_evicted
                                        : metrics_.blocks_invalidated);
  if (!options_.events) {
    index_.Remove(block, nullptr);
    return;
  }
  removed_.clear();
  index_.Remove(block, &removed_);
  NoteRemoved(reason);
}

void PrefixCache::Clear(RemovalReason reason, BlockPool& pool) {
  ++version_;
  for (std::int32_t i = 1; i < pool.num_blocks().value(); ++i) {
    const BlockId block(i);
    if (!pool.is_cached(block)) continue;
    pool.SetCached(block, false);
    ++metrics_.blocks_invalidated;
    if (policy_ != nullptr) policy_->OnRemove(block);
  }
  index_.Clear();
  if (is_observed_) ObserveCleared(reason);
  if (options_.events) events_.Append(AllBlocksCleared{reason});
}

void PrefixCache::SetModel(std::string_view fingerprint) {
  if (fingerprint.empty()) return;
  options_.model_fingerprint = fingerprint;
  index_.SetHasher(MakeHasher(options_, policy_ != nullptr));
}

BlockId PrefixCache::Victim(const BlockPool& pool) {
  const BlockId victim = policy_->Victim();
  if (victim == kNullBlock || policy_->may_evict_parents()) return victim;
  const BlockId last = index_.DeepestFollower(victim);
  return pool.ref_count(last) == 0 ? last : victim;
}

void PrefixCache::SetTime(std::int64_t now_ns) {
  now_ns_ = now_ns;
  if (policy_ != nullptr) policy_->SetTime(now_ns);
}

std::size_t PrefixCache::bytes_held() const {
  return index_.bytes_held() +
         (explainer_ == nullptr ? 0 : explainer_->bytes_held());
}

std::optional<CachedContent> PrefixCache::content_of(BlockId block) const {
  if (!index_.Contains(block)) return std::nullopt;
  const PrefixIndex::Place place = index_.home(block);
  CachedContent content;
  content.group = place.group;
  content.num_tokens = index_.unit().Slots(BlockCount(place.depth));
  if (index_.has_hashes()) {
    content.hash = index_.HashAt({place.node, place.depth});
  }
  return content;
}

absl::Status PrefixCache::CheckInvariants(const BlockPool& pool) const {
  if (absl::Status status = index_.CheckInvariants(); !status.ok()) {
    return status;
  }
  if (policy_ != nullptr) {
    if (absl::Status status = policy_->CheckInvariants(); !status.ok()) {
      return status;
    }
  }
  if (explainer_ != nullptr) {
    if (absl::Status status = explainer_->CheckInvariants(); !status.ok()) {
      return status;
    }
  }
  if (lifetimes_ != nullptr) {
    if (absl::Status status = lifetimes_->CheckInvariants(); !status.ok()) {
      return status;
    }
  }
  if (events_.digest().has_value() &&
      *events_.digest() != Snapshot(pool).digest) {
    return absl::InternalError(absl::StrFormat(
        "the digest by events is %s, that of the index %s",
        events_.digest()->ToHex(), Snapshot(pool).digest.ToHex()));
  }
  std::int64_t idle = 0;
  for (std::int32_t i = 1; i < pool.num_blocks().value(); ++i) {
    const BlockId block(i);
    if (index_.Contains(block) != pool.is_cached(block)) {
      return absl::InternalError(absl::StrFormat(
          "block %d is%s in the index and is%s marked as cached", i,
          index_.Contains(block) ? "" : " not",
          pool.is_cached(block) ? "" : " not"));
    }
    if (pool.is_cached(block) && pool.ref_count(block) == 0) ++idle;
  }
  if (policy_ != nullptr && policy_->num_candidates() != idle) {
    return absl::InternalError(absl::StrFormat(
        "the policy has %d candidates, %d cached blocks are idle",
        policy_->num_candidates(), idle));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
