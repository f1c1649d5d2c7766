// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a KvCacheManager that explains its misses, and a naive
// reference that follows its events and forgets nothing: what is said of each
// block must be what the reference knows of it. Only removals of long ago may
// be forgotten.

#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

constexpr std::uint64_t kSeed = 20261127;
constexpr std::int64_t kMaxTokens = 64;
constexpr std::int32_t kUnit = 4;

struct Workload {
  std::string name;
  std::vector<KvCacheGroupOptions> groups;
  PrefixCacheOptions cache = {};

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

KvCacheGroupOptions Full(std::int32_t block_size) {
  return {.block_size = BlockSize(block_size)};
}

struct Sequence {
  SequenceId id;
  std::size_t keys = 0;
  std::vector<TokenId> tokens;
};

// The block of a group that ends a content, named by the chained hash.
using Key = std::pair<int, BlockHash>;

struct Left {
  RemovalReason reason = RemovalReason::kCapacity;
  SequenceId taker{0};
  std::int64_t time_ns = 0;
  std::optional<std::int64_t> number;
};

class MissedBlockModelTest : public testing::TestWithParam<Workload> {
 protected:
  MissedBlockModelTest() : manager_(*KvCacheManager::Create(Options())) {}

  static KvCacheManagerOptions Options() {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(40), .prefix_caching = true};
    options.groups = GetParam().groups;
    options.max_sequence_tokens = TokenCount(kMaxTokens);
    options.max_sequences = 6;
    options.prefix_cache = GetParam().cache;
    options.prefix_cache.events = true;
    options.prefix_cache.explain_misses = true;
    options.prefix_cache.lifetime_sample_rate = 0.5;
    options.prefix_cache.content_hash = {
        .algorithm = BlockHashAlgorithm::kXxh3Cbor, .seed = "0"};
    return options;
  }
  static const std::vector<ContentKeys>& AllKeys() {
    static const auto* const all = new std::vector<ContentKeys>{
        {},
        {},
        {.adapter = "a"},
        {.salts = {{.salt = "s"}}},
        {.salts = {{.salt = "late", .begin = TokenCount(13)}}},
        {.items = {{.identifier = "cat",
                    .offset = TokenCount(6),
                    .length = TokenCount(9)}}}};
    return *all;
  }

  std::int64_t Below(std::int64_t bound) {
    return std::uniform_int_distribution<std::int64_t>(0, bound - 1)(random_);
  }
  Sequence& Any() {
    return sequences_[static_cast<std::size_t>(Below(std::ssize(sequences_)))];
  }
  void AddTokens(std::vector<TokenId>& tokens, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      tokens.push_back(Below(16) == 0 ? static_cast<TokenId>(Below(2)) : 7);
    }
  }

  // The keys of the full blocks of `group`, by index.
  std::vector<Key> KeysOf(const std::vector<TokenId>& tokens, std::size_t keys,
                          int group) {
    const std::int32_t size = manager_.block_size(group).value();
    std::vector<Key> all;
    BlockHash hash;
    for (std::int32_t end = kUnit; end <= std::ssize(tokens); end += kUnit) {
      hash = hasher_.Hash(
          hash,
          std::span(tokens).subspan(static_cast<std::size_t>(end - kUnit),
                                    kUnit),
          ExtraKeysOfBlock(AllKeys()[keys], TokenCount(end - kUnit),
                           BlockSize(kUnit)));
      if (end % size != 0) continue;
      all.emplace_back(group, hash);
      tokens_of_.try_emplace(all.back(), tokens.begin(), tokens.begin() + end);
    }
    return all;
  }
  void Learn(const Sequence& sequence) {
    for (int group = 0; group < manager_.num_groups(); ++group) {
      for (const Key& key : KeysOf(sequence.tokens, sequence.keys, group)) {
        seen_[tokens_of_.at(key)].insert(key);
      }
    }
  }

  void Begin() {
    Sequence sequence;
    sequence.keys = static_cast<std::size_t>(Below(std::ssize(AllKeys())));
    AddTokens(sequence.tokens, 1 + Below(kMaxTokens / 2));
    const absl::StatusOr<SequenceId> id =
        manager_.AddSequence({.keys = AllKeys()[sequence.keys], .tag = 5});
    if (!id.ok()) return;
    sequence.id = *id;
    PrefixMatch match;
    ASSERT_TRUE(manager_.Match(*id, sequence.tokens, match).ok());
    std::vector<MissedBlock> missed;
    ASSERT_TRUE(manager_.ExplainMiss(*id, sequence.tokens, missed).ok());
    const PrefixCacheMetrics before = manager_.prefix_cache_metrics();
    const TokenCount rest =
        TokenCount(std::ssize(sequence.tokens)) - match.num_tokens;
    const absl::StatusOr<bool> granted = manager_.TryAppend(
        *id, rest, {.tokens = sequence.tokens, .match = &match});
    ASSERT_TRUE(granted.ok()) << granted.status();
    actor_ = *id;
    if (!*granted) {
      ASSERT_TRUE(manager_.Release(*id).ok());
      return;
    }
    // The admission counts what was explained just before it.
    auto expected = before.blocks_missed;
    for (const MissedBlock& block : missed) {
      ++expected[static_cast<std::size_t>(block.reason)];
    }
    ASSERT_EQ(manager_.prefix_cache_metrics().blocks_missed, expected);
    Learn(sequence);
    sequences_.push_back(std::move(sequence));
  }

  void Append() {
    Sequence& sequence = Any();
    std::vector<TokenId> tokens = sequence.tokens;
    AddTokens(tokens, std::min(Below(10), kMaxTokens - std::ssize(tokens)));
    const absl::StatusOr<bool> granted = manager_.TryAppend(
        sequence.id,
        TokenCount(std::ssize(tokens) - std::ssize(sequence.tokens)),
        std::span<const TokenId>(tokens));
    ASSERT_TRUE(granted.ok()) << granted.status();
    actor_ = sequence.id;
    if (*granted) sequence.tokens = std::move(tokens);
    Learn(sequence);
  }

  void Cut() {
    Sequence& sequence = Any();
    const std::int64_t left = Below(std::ssize(sequence.tokens) + 1);
    const absl::Status cut =
        Below(2) == 0 ? manager_.Truncate(sequence.id, TokenCount(left))
                      : manager_.Retract(sequence.id, TokenCount(left));
    // What the next token would look at may be gone.
    if (absl::IsFailedPrecondition(cut)) return;
    ASSERT_TRUE(cut.ok()) << cut;
    sequence.tokens.resize(static_cast<std::size_t>(left));
  }

  void Fork() {
    Sequence fork = Any();
    const absl::StatusOr<SequenceId> id = manager_.Fork(fork.id);
    if (!id.ok()) return;
    fork.id = *id;
    sequences_.push_back(std::move(fork));
  }

  void End() {
    std::swap(Any(), sequences_.back());
    ASSERT_TRUE(manager_.Release(sequences_.back().id).ok());
    sequences_.pop_back();
  }

  void Step() {
    if (Below(2) == 0) manager_.ClearCopies();  // a step of the engine ends
    const std::int64_t choice = Below(200);
    if (sequences_.empty() || choice < 60) return Begin();
    if (choice < 110) return Append();
    if (choice < 120) return Cut();
    if (choice < 135) return Fork();
    if (choice < 190) return End();
    if (choice < 199) {
      const BlockId block(1 + static_cast<std::int32_t>(Below(39)));
      ASSERT_TRUE(manager_.Evict(std::span(&block, 1)).ok());
    } else {
      while (!sequences_.empty()) End();
      ASSERT_TRUE(manager_.ResetPrefixCache());
    }
  }

  // What the events of the step say.
  void Follow() {
    const KvEventBatch batch = manager_.TakeEvents();
    for (const KvEvent& event : batch.events) {
      if (const auto* removed = std::get_if<BlocksRemoved>(&event)) {
        const bool is_taken = removed->reason == RemovalReason::kCapacity;
        left_[{removed->group, removed->hashes[0]}] = {
            removed->reason, is_taken ? actor_ : SequenceId(0), now_ns_,
            ++num_removals_};
      } else if (std::holds_alternative<AllBlocksCleared>(event)) {
        num_removals_ += view_.num_blocks();
        for (const auto& [key, tokens] : tokens_of_) {
          if (view_.Count(key.first, "GPU", key.second) == 0) continue;
          left_[key] = {RemovalReason::kReset, SequenceId(0), now_ns_, {}};
        }
      }
    }
    ASSERT_TRUE(view_.Apply(batch).ok());
  }

  void Check() {
    const auto keys = static_cast<std::size_t>(Below(std::ssize(AllKeys())));
    std::vector<TokenId> tokens;
    if (!sequences_.empty() && Below(2) == 0) tokens = Any().tokens;
    AddTokens(tokens, Below(kMaxTokens - std::ssize(tokens) + 1));
    PrefixMatch match;
    manager_.Match(tokens, AllKeys()[keys], match);
    std::vector<MissedBlock> missed;
    ASSERT_TRUE(manager_.ExplainMiss(tokens, AllKeys()[keys], missed).ok());
    std::set<std::pair<int, std::int32_t>> listed;
    for (const MissedBlock& block : missed) {
      ASSERT_TRUE(listed.emplace(block.group, block.index).second);
      const std::vector<Key> all = KeysOf(tokens, keys, block.group);
      const std::int32_t size = manager_.block_size(block.group).value();
      ASSERT_GE(block.index, match.num_tokens.value() / size);
      ASSERT_LT(block.index, std::ssize(all));
      CheckBlock(block, all, std::ssize(tokens));
    }
    if (manager_.num_groups() == 1) {
      ASSERT_EQ(std::ssize(missed),
                (std::ssize(tokens) - match.num_tokens.value()) / kUnit);
    }
  }

  void CheckBlock(const MissedBlock& block, const std::vector<Key>& all,
                  std::int64_t num_tokens) {
    const Key& key = all[static_cast<std::size_t>(block.index)];
    const auto is_cached = [this](const Key& content) {
      return view_.Count(content.first, "GPU", content.second) > 0;
    };
    ++counts_[static_cast<std::size_t>(block.reason)];
    switch (block.reason) {
      case MissReason::kAlignment:
      case MissReason::kOtherGroup:
      case MissReason::kGap:
        ASSERT_TRUE(is_cached(key)) << MissReasonName(block.reason);
        if (manager_.num_groups() > 1) return;
        ASSERT_EQ(
            block.reason == MissReason::kAlignment,
            std::all_of(all.begin(), all.begin() + block.index, is_cached));
        if (block.reason == MissReason::kAlignment) {
          ASSERT_EQ((block.index + 1) * kUnit, num_tokens);
        }
        return;
      case MissReason::kEvicted: {
        ASSERT_FALSE(is_cached(key));
        const auto left = left_.find(key);
        ASSERT_NE(left, left_.end());
        ASSERT_EQ(block.removal, left->second.reason);
        ASSERT_EQ(block.taker, left->second.taker);
        ASSERT_EQ(block.taker_tag, block.taker == SequenceId(0) ? 0u : 5u);
        ASSERT_EQ(block.age_ns, now_ns_ - left->second.time_ns);
        if (left->second.number.has_value()) {
          ASSERT_EQ(block.removals_since, num_removals_ - *left->second.number);
        }
        return;
      }
      case MissReason::kOtherKeys:
      case MissReason::kCold: {
        ASSERT_FALSE(is_cached(key));
        // The four latest removals are never forgotten.
        const auto left = left_.find(key);
        if (left != left_.end() && left->second.number.has_value()) {
          ASSERT_GE(num_removals_ - *left->second.number, 4);
        }
        const std::set<Key>& others = seen_[tokens_of_.at(key)];
        ASSERT_EQ(
            block.reason == MissReason::kOtherKeys,
            std::any_of(others.begin(), others.end(), [&](const Key& other) {
              return other.first == key.first && is_cached(other);
            }));
        return;
      }
    }
  }

  std::mt19937_64 random_{kSeed};
  KvCacheManager manager_;
  BlockHasher hasher_{BlockHashAlgorithm::kXxh3Cbor, "0"};
  std::vector<Sequence> sequences_;
  SequenceId actor_{0};
  std::int64_t now_ns_ = 0;

  KvIndexView view_;
  std::map<Key, std::vector<TokenId>> tokens_of_;
  std::map<std::vector<TokenId>, std::set<Key>> seen_;
  std::map<Key, Left> left_;
  std::int64_t num_removals_ = 0;
  std::array<int, kNumMissReasons> counts_ = {};
};

TEST_P(MissedBlockModelTest, SaysOfEachBlockWhatTheEventsSay) {
  std::cout << "seed " << kSeed << '\n';
  for (int step = 0; step < 3000; ++step) {
    now_ns_ += Below(100);
    manager_.SetTime(now_ns_);
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    ASSERT_NO_FATAL_FAILURE(Follow()) << "step " << step;
    const absl::Status invariants = manager_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << "step " << step << ": " << invariants;
    ASSERT_NO_FATAL_FAILURE(Check()) << "step " << step;
  }
  const auto count = [this](MissReason reason) {
    return counts_[static_cast<std::size_t>(reason)];
  };
  EXPECT_GT(count(MissReason::kCold), 100);
  EXPECT_GT(count(MissReason::kEvicted), 100);
  EXPECT_GT(count(MissReason::kOtherKeys), 100);
  EXPECT_GT(count(MissReason::kAlignment), 10);
  EXPECT_GT(count(MissReason::kGap), 10);
  if (manager_.num_groups() > 1) {
    EXPECT_GT(count(MissReason::kOtherGroup), 10);
  }
  const CacheHistograms histograms = manager_.cache_histograms();
  EXPECT_GT(histograms.lifetime.count(), 100);
  if (GetParam().cache.deduplicate) {
    EXPECT_GT(manager_.prefix_cache_metrics().blocks_deduplicated, 100);
  }
  EXPECT_EQ(histograms.lifetime.count(), histograms.idle_before_evict.count());
  EXPECT_LT(histograms.num_sampled,
            manager_.prefix_cache_metrics().blocks_stored);
}

INSTANTIATE_TEST_SUITE_P(
    , MissedBlockModelTest,
    testing::Values(Workload{"OneGroup", {Full(4)}},
                    Workload{"Deduplicating", {Full(4)}, {.deduplicate = true}},
                    Workload{"Policy", {Full(4)}, {.eviction_policy = "lfu"}},
                    Workload{"Aligned", {Full(4), Full(8)}},
                    Workload{"Hybrid",
                             {Full(8),
                              {.block_size = BlockSize(4),
                               .kind = AttentionKind::kSlidingWindow,
                               .window = TokenCount(6)}}}),
    [](const testing::TestParamInfo<Workload>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace pagedkv
