// SPDX-License-Identifier: Apache-2.0
#include "block_table/miss_explainer.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

#define XXH_INLINE_ALL
#include "xxhash.h"

#include "base/check.h"

namespace pagedkv {
namespace {

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  return XXH3_64bits_withSeed(&b, sizeof(b), a);
}

std::uint64_t Mix(std::uint64_t a, std::string_view text) {
  return XXH3_64bits_withSeed(text.data(), text.size(), a);
}

// Tell apart what ExtraKeysOfBlock keeps apart by its place in the list.
enum KeyKind : std::uint64_t { kAdapter = 1, kItem, kSalt, kEmbeddings };

// What distinguishes the unit of tokens [begin, end) beside its tokens, by the
// rules of `ExtraKeysOfBlock`; 0: nothing.
std::uint64_t KeysOfUnit(const ContentKeys& keys, std::int64_t begin,
                         std::int64_t end) {
  std::uint64_t hash = 0;
  if (!keys.adapter.empty()) hash = Mix(kAdapter, keys.adapter);
  for (const MultimodalItem& item : keys.items) {
    const std::int64_t offset = item.offset.value();
    if (offset < end && begin < offset + item.length.value()) {
      hash = Mix(Mix(hash + kItem, item.identifier),
                 static_cast<std::uint64_t>(offset - begin));
    }
  }
  for (const CacheSalt& salt : keys.salts) {
    const std::int64_t at = salt.begin.value();
    if (!salt.salt.empty() && begin <= at && at < end) {
      hash = Mix(hash + kSalt, salt.salt);
    }
  }
  if (!keys.prompt_embeddings.empty()) {
    const std::size_t size = keys.prompt_embeddings.size();
    const std::size_t per_token = keys.embedding_bytes_per_token;
    const std::size_t first =
        std::min(static_cast<std::size_t>(begin) * per_token, size);
    const std::size_t last =
        std::min(static_cast<std::size_t>(end) * per_token, size);
    hash = Mix(
        hash + kEmbeddings,
        {reinterpret_cast<const char*>(keys.prompt_embeddings.data()) + first,
         last - first});
  }
  return hash;
}

std::size_t Index(BlockId block) {
  return static_cast<std::size_t>(block.value());
}

}  // namespace

MissExplainer::MissExplainer(BlockCount num_blocks, BlockSize unit,
                             std::uint64_t secret)
    : unit_(unit),
      secret_(secret),
      noted_(static_cast<std::size_t>(num_blocks.value())),
      // At most three quarters full.
      counts_(std::bit_ceil(noted_.size() + noted_.size() / 3 + 1)),
      removals_(std::max(std::bit_ceil(noted_.size()), kWays)) {}

ContentFingerprint MissExplainer::Extend(
    ContentFingerprint from, std::span<const TokenId> tokens,
    const ContentKeys& keys, std::int32_t to,
    std::vector<ContentFingerprint>* each) const {
  if (each != nullptr) each->clear();
  if (from.depth == 0) from = {.tokens = secret_};
  const bool has_keys = !keys.empty();
  const auto unit = static_cast<std::size_t>(unit_.value());
  while (from.depth < to) {
    const std::size_t begin = static_cast<std::size_t>(from.depth) * unit;
    from.tokens = XXH3_64bits_withSeed(tokens.data() + begin,
                                       unit * sizeof(TokenId), from.tokens);
    if (has_keys) {
      const auto first = static_cast<std::int64_t>(begin);
      const std::uint64_t own =
          KeysOfUnit(keys, first, first + std::int64_t{unit_.value()});
      if (own != 0) from.keys = Mix(from.keys, own);
    }
    ++from.depth;
    if (each != nullptr) each->push_back(from);
  }
  return from;
}

std::uint64_t MissExplainer::TokensKey(int group,
                                       const ContentFingerprint& content) {
  const std::uint64_t key =
      content.tokens ^
      (static_cast<std::uint64_t>(group) * 0x9e3779b97f4a7c15u);
  return std::max(key, std::uint64_t{1});
}

std::uint64_t MissExplainer::ContentKey(std::uint64_t tokens_key,
                                        const ContentFingerprint& content) {
  return content.keys == 0 ? tokens_key : Mix(tokens_key, content.keys);
}

void MissExplainer::OnStored(BlockId block, int group,
                             const ContentFingerprint& content) {
  Noted& noted = noted_[Index(block)];
  const std::uint64_t tokens = TokensKey(group, content);
  if (noted.tokens != tokens) {
    if (noted.tokens != 0) CountDown(noted.tokens);
    CountUp(tokens);
  }
  noted = {tokens, ContentKey(tokens, content)};
}

void MissExplainer::OnRemoved(BlockId block, RemovalReason reason,
                              std::int64_t now_ns) {
  Noted& noted = noted_[Index(block)];
  if (noted.tokens == 0) return;
  Removal removal{.content = noted.content,
                  .time_ns = now_ns,
                  .number = ++num_removals_,
                  .reason = reason};
  if (reason == RemovalReason::kCapacity) {
    removal.taker = taker_;
    removal.taker_tag = taker_tag_;
  }
  NoteRemoval(removal);
  CountDown(noted.tokens);
  noted = {};
}

void MissExplainer::OnCleared(RemovalReason reason, std::int64_t now_ns) {
  for (std::size_t i = 1; i < noted_.size(); ++i) {
    OnRemoved(BlockId(static_cast<std::int32_t>(i)), reason, now_ns);
  }
}

const MissExplainer::Removal* MissExplainer::FindRemoval(
    int group, const ContentFingerprint& content) const {
  const std::uint64_t key = ContentKey(TokensKey(group, content), content);
  const std::size_t set = key & (removals_.size() - 1) & ~(kWays - 1);
  for (std::size_t i = set; i < set + kWays; ++i) {
    const Removal& removal = removals_[i];
    if (removal.number != 0 && removal.content == key) return &removal;
  }
  return nullptr;
}

bool MissExplainer::HasTokens(int group,
                              const ContentFingerprint& content) const {
  return counts_[FindSlot(TokensKey(group, content))].count > 0;
}

std::size_t MissExplainer::bytes_held() const {
  return noted_.size() * sizeof(Noted) + counts_.size() * sizeof(TokenBlocks) +
         removals_.size() * sizeof(Removal);
}

// Takes the place of an older removal of the same content, else of the oldest.
void MissExplainer::NoteRemoval(const Removal& removal) {
  const std::size_t set =
      removal.content & (removals_.size() - 1) & ~(kWays - 1);
  std::size_t target = set;
  for (std::size_t i = set; i < set + kWays; ++i) {
    if (removals_[i].content == removal.content && removals_[i].number != 0) {
      target = i;
      break;
    }
    if (removals_[i].number < removals_[target].number) target = i;
  }
  removals_[target] = removal;
}

// Where the entry is, or would be.
std::size_t MissExplainer::FindSlot(std::uint64_t tokens) const {
  const std::size_t mask = counts_.size() - 1;
  std::size_t i = tokens & mask;
  while (counts_[i].count > 0 && counts_[i].tokens != tokens) {
    i = (i + 1) & mask;
  }
  return i;
}

void MissExplainer::CountUp(std::uint64_t tokens) {
  TokenBlocks& entry = counts_[FindSlot(tokens)];
  entry.tokens = tokens;
  ++entry.count;
}

void MissExplainer::CountDown(std::uint64_t tokens) {
  std::size_t hole = FindSlot(tokens);
  PAGEDKV_CHECK(counts_[hole].count > 0);
  if (--counts_[hole].count > 0) return;
  // Move back what would no longer be found behind the hole.
  const std::size_t mask = counts_.size() - 1;
  for (std::size_t i = (hole + 1) & mask; counts_[i].count > 0;
       i = (i + 1) & mask) {
    const std::size_t wanted = counts_[i].tokens & mask;
    if (((i - wanted) & mask) >= ((i - hole) & mask)) {
      counts_[hole] = counts_[i];
      counts_[i].count = 0;
      hole = i;
    }
  }
}

absl::Status MissExplainer::CheckInvariants() const {
  absl::flat_hash_map<std::uint64_t, std::uint64_t> counts;
  for (const Noted& noted : noted_) {
    if (noted.tokens != 0) ++counts[noted.tokens];
  }
  std::size_t entries = 0;
  for (const TokenBlocks& entry : counts_) {
    if (entry.count > 0) ++entries;
  }
  for (const auto& [tokens, count] : counts) {
    const std::uint64_t counted = counts_[FindSlot(tokens)].count;
    if (counted != count) {
      return absl::InternalError(absl::StrFormat(
          "tokens %016x are noted for %d blocks, and counted %d times", tokens,
          count, counted));
    }
  }
  if (entries != counts.size()) {
    return absl::InternalError(absl::StrFormat(
        "%d tokens have a count, %d are noted", entries, counts.size()));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
