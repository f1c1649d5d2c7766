// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_cache_manager.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/group_rules.h"
#include "block_table/prefix_cache.h"
#include "block_table/swap_space.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxSequenceTokens = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequences = 1 << 24;

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
  if (options.list_fresh_blocks && options.prefix_cache.partial_block_reuse) {
    return absl::InvalidArgumentError(
        "list_fresh_blocks is on with partial_block_reuse, which copies blocks "
        "of other content into those that are to be clean; turn one of them "
        "off");
  }
  BlockPoolOptions pool_options = options.pool;
  pool_options.external_eviction = false;
  std::unique_ptr<PrefixCache> cache;
  if (options.pool.prefix_caching) {
    absl::StatusOr<std::unique_ptr<PrefixCache>> created = PrefixCache::Create(
        options.prefix_cache, options.groups,
        std::max(options.pool.num_blocks, options.pool.max_num_blocks),
        options.max_sequence_tokens);
    if (!created.ok()) return created.status();
    cache = *std::move(created);
    pool_options.external_eviction = cache->has_policy();
  }
  absl::StatusOr<BlockPool> pool = BlockPool::Create(pool_options);
  if (!pool.ok()) return pool.status();
  if (cache != nullptr) cache->SetNumBlocks(pool->num_blocks());
  std::unique_ptr<SwapSpace> swap;
  if (options.num_swap_blocks != BlockCount(0)) {
    absl::StatusOr<std::unique_ptr<SwapSpace>> created =
        SwapSpace::Create(options.num_swap_blocks, options.groups.size());
    if (!created.ok()) return created.status();
    swap = *std::move(created);
  }
  return KvCacheManager(options, *std::move(pool), std::move(cache),
                        std::move(swap));
}

KvCacheManager::KvCacheManager(const KvCacheManagerOptions& options,
                               BlockPool pool,
                               std::unique_ptr<PrefixCache> cache,
                               std::unique_ptr<SwapSpace> swap)
    : pool_(std::move(pool)),
      cache_(std::move(cache)),
      swap_(std::move(swap)),
      max_sequence_tokens_(options.max_sequence_tokens),
      max_in_flight_tokens_(options.max_in_flight_tokens),
      max_pinned_blocks_(options.prefix_cache.max_pinned_blocks),
      max_sequences_(options.max_sequences),
      vllm_compatible_(options.prefix_cache.vllm_compatible),
      lists_fresh_(options.list_fresh_blocks) {
  if (lists_fresh_) {
    touched_.resize(static_cast<std::size_t>(pool_.max_num_blocks().value()));
  }
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

absl::Status KvCacheManager::NotLive(SequenceId id) {
  return absl::NotFoundError(absl::StrFormat(
      "sequence %#x is not live: it was released, or never added", id.value()));
}

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
  if (IsSwapped(id)) return Swapped(id);
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
      return absl::FailedPreconditionError(absl::StrFormat(
          "a sequence of %d tokens cannot be cut to %d: group %d has given "
          "back what lies there",
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
  if (IsSwapped(id)) return Swapped(id);
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
  if (IsSwapped(id)) swap_->Drop(Row(id));
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

BlockCount KvCacheManager::BlocksForForks(std::int32_t num_sequences,
                                          TokenCount num_shared,
                                          TokenCount num_tokens,
                                          TokenCount num_encoder_tokens) const {
  if (num_sequences <= 1 || num_tokens <= num_shared) {
    return BlocksFor(num_tokens, num_encoder_tokens);
  }
  BlockCount blocks = BlocksFor(num_tokens) * num_sequences;
  for (const Group& group : groups_) {
    if (group.options.kind == AttentionKind::kCross) {
      blocks += group.options.block_size.CoveringBlocks(num_encoder_tokens);
    } else if (group_rules::KeepsAll(group.options)) {
      blocks -=
          group.options.block_size.FullBlocks(num_shared) * (num_sequences - 1);
    }
  }
  return blocks;
}

void KvCacheManager::ForgetTouched() {
  for (const BlockCopy& copy : copies_) {
    touched(copy.source) = touched(copy.destination) = {};
  }
  for (const BlockSwap& swap : swap_ins()) touched(swap.block) = {};
}

void KvCacheManager::ClearCopies() {
  if (lists_fresh_) ForgetTouched();
  fresh_.clear();
  copies_.clear();
  if (swap_ != nullptr) swap_->BeginStep();
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
  if (swap_ != nullptr) {
    absl::Status status = swap_->CheckInvariants();
    if (!status.ok()) return status;
  }
  std::vector<std::int32_t> references(
      static_cast<std::size_t>(pool_.extent().value()), 0);
  std::int32_t live = 0;
  std::int32_t holding = 0;
  for (std::size_t row = 0; row < sequences_.size(); ++row) {
    const Sequence& sequence = sequences_[row];
    const bool is_live = sequence.generation % 2 == 1;
    live += is_live ? 1 : 0;
    holding += HoldsTokens(row) ? 1 : 0;
    if (swap_ != nullptr) {
      if (absl::Status status = CheckSwapped(row); !status.ok()) return status;
    }
    for (const Group& group : groups_) {
      const std::span<const BlockId> table =
          group.tables.row(static_cast<std::int32_t>(row));
      const BlockSize size = group.options.block_size;
      const bool is_cross = group.options.kind == AttentionKind::kCross;
      const std::int64_t covering =
          is_cross || sequence.write_limit < 0
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
