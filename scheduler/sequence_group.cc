// SPDX-License-Identifier: Apache-2.0
#include "scheduler/sequence_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

void MustRelease(KvCacheManager& cache, SequenceId sequence) {
  PAGEDKV_CHECK(cache.Release(sequence).ok());
}

template <typename... Arguments>
SequenceId MustAdd(KvCacheManager& cache, const Arguments&... options) {
  const absl::StatusOr<SequenceId> added = cache.AddSequence(options...);
  PAGEDKV_CHECK(added.ok());
  return *added;
}

SequenceId MustFork(KvCacheManager& cache, SequenceId parent) {
  const absl::StatusOr<SequenceId> fork = cache.Fork(parent);
  PAGEDKV_CHECK(fork.ok());
  return *fork;
}

bool KeepsAll(AttentionKind kind) {
  return kind == AttentionKind::kFull || kind == AttentionKind::kLatent;
}

// Whether a sequence that begins with the match holds the very blocks that
// `trunk` has of the prompt: a group must not hold two copies of them, nor of
// the encoder's tokens, for it was admitted for one.
bool SharesPrompt(const KvCacheManager& cache, const PrefixMatch& match,
                  SequenceId trunk, TokenCount prompt) {
  for (int group = 0; group < cache.num_groups(); ++group) {
    const AttentionKind kind = cache.group_options(group).kind;
    if (kind == AttentionKind::kCross) return false;
    if (!KeepsAll(kind)) continue;
    const auto& hit = match.blocks[static_cast<std::size_t>(group)];
    const std::span<const BlockId> table = cache.block_table(trunk, group);
    const auto full = static_cast<std::ptrdiff_t>(
        cache.block_size(group).FullBlocks(prompt).value());
    if (!std::equal(hit.begin(), hit.begin() + full, table.begin())) {
      return false;
    }
  }
  return true;
}

}  // namespace

SequenceGroup::SequenceGroup(const Request& request)
    : is_beam_(request.beam_width > 0),
      width_(is_beam_ ? request.beam_width : request.num_samples),
      num_places_(width_) {
  members_.push_back({.tokens = request.prompt_tokens});
}

TokenCount SequenceGroup::NumComputed(const KvCacheManager& cache,
                                      TokenCount prompt) const {
  if (!has_spread_) return cache.num_tokens(members_.front().sequence);
  TokenCount computed = prompt;
  for (const Member& member : members_) {
    computed += cache.num_tokens(member.sequence) - prompt;
  }
  return computed;
}

bool SequenceGroup::TryEnter(KvCacheManager& cache,
                             const SequenceOptions& options) {
  const absl::StatusOr<SequenceId> first = cache.AddSequence(options);
  if (!first.ok()) return false;
  members_.front().sequence = *first;
  while (std::cmp_less(spares_.size() + 1, num_places_)) {
    const absl::StatusOr<SequenceId> spare = cache.AddSequence();
    if (!spare.ok()) {
      Leave(cache);
      return false;
    }
    spares_.push_back(*spare);
  }
  return true;
}

void SequenceGroup::Leave(KvCacheManager& cache) {
  for (Member& member : members_) {
    if (member.sequence == SequenceId()) continue;
    MustRelease(cache, member.sequence);
    member.sequence = SequenceId();
  }
  for (SequenceId spare : spares_) MustRelease(cache, spare);
  spares_.clear();
  has_spread_ = false;
}

// Makes room for one more sequence in the cache.
void SequenceGroup::TakeSpare(KvCacheManager& cache) {
  PAGEDKV_CHECK(!spares_.empty());
  MustRelease(cache, spares_.back());
  spares_.pop_back();
}

void SequenceGroup::Branch(KvCacheManager& cache,
                           std::span<const BeamSurvivor> survivors) {
  std::vector<std::int32_t> children(members_.size(), 0);
  for (const BeamSurvivor& survivor : survivors) {
    ++children[static_cast<std::size_t>(survivor.parent)];
  }
  // First who ends, so that there are never more sequences than places.
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (children[i] > 0) continue;
    MustRelease(cache, members_[i].sequence);
    spares_.push_back(MustAdd(cache));
  }
  std::vector<Member> next;
  next.reserve(survivors.size());
  std::vector<bool> has_gone_on(members_.size(), false);
  for (const BeamSurvivor& survivor : survivors) {
    const auto p = static_cast<std::size_t>(survivor.parent);
    Member& parent = members_[p];
    Member child{.index = static_cast<std::int32_t>(next.size()),
                 .sequence = parent.sequence};
    if (has_gone_on[p]) {
      TakeSpare(cache);
      child.sequence = MustFork(cache, parent.sequence);
    }
    has_gone_on[p] = true;
    if (--children[p] == 0) {
      child.tokens = std::move(parent.tokens);
    } else {
      child.tokens = parent.tokens;
    }
    if (!child.tokens.empty()) child.tokens.push_back(survivor.token);
    next.push_back(std::move(child));
  }
  members_ = std::move(next);
  has_branched_ = has_spread_ = true;
}

// Gives the empty sequence what the prefix cache has of the member, if that is
// more than the first member has, which ends with the prompt.
bool SequenceGroup::TryAdopt(KvCacheManager& cache, const Member& member,
                             SequenceId sequence, TokenCount prompt,
                             PrefixMatch& match) const {
  PAGEDKV_CHECK(cache.Match(sequence, member.tokens, match).ok());
  match.num_tokens -= match.partial_tokens;
  match.partial_tokens = TokenCount(0);
  if (match.num_tokens <= prompt ||
      !SharesPrompt(cache, match, members_.front().sequence, prompt)) {
    return false;
  }
  const absl::StatusOr<bool> held =
      cache.TryAppend(sequence, TokenCount(0), {.match = &match});
  PAGEDKV_CHECK(held.ok());
  return *held;
}

void SequenceGroup::Spread(KvCacheManager& cache,
                           const SequenceOptions& options, TokenCount prompt,
                           PrefixMatch& match) {
  PAGEDKV_CHECK(has_branched_ && !has_spread_);
  const bool may_find =
      cache.pool().prefix_caching() && !members_.front().tokens.empty();
  for (std::size_t i = 1; i < members_.size(); ++i) {
    Member& member = members_[i];
    TakeSpare(cache);
    if (may_find) {
      member.sequence = MustAdd(cache, options);
      if (TryAdopt(cache, member, member.sequence, prompt, match)) continue;
      MustRelease(cache, member.sequence);
    }
    member.sequence = MustFork(cache, members_.front().sequence);
  }
  has_spread_ = true;
  if (!may_find) return;
  // The others have what they need of the first, which may find more itself,
  // if there is a row to look.
  Member& first = members_.front();
  const absl::StatusOr<SequenceId> other = cache.AddSequence(options);
  if (!other.ok()) return;
  const bool found = TryAdopt(cache, first, *other, prompt, match);
  MustRelease(cache, found ? first.sequence : *other);
  if (found) first.sequence = *other;
}

void SequenceGroup::EndMember(KvCacheManager& cache, std::size_t position) {
  MustRelease(cache, members_[position].sequence);
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(position));
  --num_places_;
}

absl::Status SequenceGroup::CheckInvariants(const KvCacheManager& cache,
                                            bool has_sequences) const {
  std::int32_t with_sequence = 0;
  for (const Member& member : members_) {
    if (member.sequence == SequenceId()) continue;
    ++with_sequence;
    if (!cache.IsLive(member.sequence)) {
      return absl::InternalError(absl::StrFormat(
          "the sequence of index %d is not live", member.index));
    }
  }
  for (SequenceId spare : spares_) {
    if (!cache.IsLive(spare) || cache.num_tokens(spare) > TokenCount(0)) {
      return absl::InternalError("a spare row is not live, or not empty");
    }
  }
  const auto members = static_cast<std::int32_t>(members_.size());
  const auto spares = static_cast<std::int32_t>(spares_.size());
  const std::int32_t expected =
      !has_sequences ? 0 : (has_spread_ || !has_branched_ ? members : 1);
  if (members < 1 || members > num_places_ ||
      (!has_branched_ && members != 1) || with_sequence != expected ||
      with_sequence + spares != (has_sequences ? num_places_ : 0)) {
    return absl::InternalError(absl::StrFormat(
        "a group that %s has %d members, %d of them with a sequence, and %d "
        "spare rows, for %d places",
        has_sequences ? "has sequences" : "waits", members, with_sequence,
        spares, num_places_));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
