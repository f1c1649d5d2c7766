// SPDX-License-Identifier: Apache-2.0
//
// The prefix cache, as the manager's clients see it.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "block_table/group_rules.h"
#include "block_table/prefix_cache.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

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

}  // namespace

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

}  // namespace pagedkv
