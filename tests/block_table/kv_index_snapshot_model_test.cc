// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a KvCacheManager with events, and routers that follow
// it. One takes every batch; one begins late, from a snapshot, again and again;
// one loses a batch, must notice, and recovers. After each step, who has all
// events must hold exactly what is in the index, and know it by the digest.

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_index_view.h"

namespace pagedkv {
namespace {

constexpr std::uint64_t kSeed = 20261125;
constexpr std::int64_t kMaxTokens = 96;

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
KvCacheGroupOptions Window(std::int32_t block_size, std::int64_t window) {
  return {.block_size = BlockSize(block_size),
          .kind = AttentionKind::kSlidingWindow,
          .window = TokenCount(window)};
}

struct Sequence {
  SequenceId id;
  std::vector<TokenId> tokens;
};

class KvIndexSnapshotModelTest : public testing::TestWithParam<Workload> {
 protected:
  KvIndexSnapshotModelTest() : manager_(*KvCacheManager::Create(Options())) {}

  static KvCacheManagerOptions Options() {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(40), .prefix_caching = true};
    options.groups = GetParam().groups;
    options.max_sequence_tokens = TokenCount(kMaxTokens);
    options.max_sequences = 6;
    options.prefix_cache = GetParam().cache;
    options.prefix_cache.events = true;
    options.prefix_cache.content_hash = {
        .algorithm = BlockHashAlgorithm::kXxh3Cbor, .seed = "0"};
    return options;
  }

  std::int64_t Below(std::int64_t bound) {
    return std::uniform_int_distribution<std::int64_t>(0, bound - 1)(random_);
  }
  Sequence& Any() {
    return sequences_[static_cast<std::size_t>(Below(std::ssize(sequences_)))];
  }
  // Few values, and long runs of one, so that contents often agree.
  void AddTokens(std::vector<TokenId>& tokens, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      tokens.push_back(Below(12) == 0 ? static_cast<TokenId>(Below(2)) : 7);
    }
  }

  void Begin() {
    SequenceOptions options;
    if (Below(4) == 0) options.keys.adapter = "a";
    if (Below(4) == 0) options.keys.salts = {{.salt = "s"}};
    Sequence sequence;
    AddTokens(sequence.tokens, 1 + Below(kMaxTokens / 2));
    options.num_prompt_tokens =
        TokenCount(static_cast<std::int64_t>(sequence.tokens.size()));
    const absl::StatusOr<SequenceId> id = manager_.AddSequence(options);
    if (!id.ok()) return;
    sequence.id = *id;
    PrefixMatch match;
    ASSERT_TRUE(manager_.Match(*id, sequence.tokens, match).ok());
    const TokenCount rest =
        TokenCount(std::ssize(sequence.tokens)) - match.num_tokens;
    const absl::StatusOr<bool> granted = manager_.TryAppend(
        *id, rest, {.tokens = sequence.tokens, .match = &match});
    ASSERT_TRUE(granted.ok()) << granted.status();
    if (*granted) {
      sequences_.push_back(std::move(sequence));
    } else {
      ASSERT_TRUE(manager_.Release(*id).ok());
    }
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
    if (*granted) sequence.tokens = std::move(tokens);
  }

  void Cut() {
    Sequence& sequence = Any();
    const std::int64_t left = Below(std::ssize(sequence.tokens) + 1);
    const TokenCount num_tokens(left);
    const std::int64_t kind = Below(3);
    const absl::Status cut =
        kind == 0   ? manager_.Truncate(sequence.id, num_tokens)
        : kind == 1 ? manager_.Rewind(sequence.id, num_tokens)
                    : manager_.Retract(sequence.id, num_tokens);
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
    const std::int64_t choice = Below(100);
    if (sequences_.empty() || choice < 20) return Begin();
    if (choice < 55) return Append();
    if (choice < 65) return Cut();
    if (choice < 75) return Fork();
    if (choice < 90) return End();
    if (choice < 97) {
      const BlockId block(1 + static_cast<std::int32_t>(Below(39)));
      ASSERT_TRUE(manager_.Evict(std::span(&block, 1)).ok());
    } else if (choice < 99) {
      while (!sequences_.empty()) End();
      ASSERT_TRUE(manager_.ResetPrefixCache());
    } else {
      manager_.InvalidatePrefixCache("v" + std::to_string(Below(3)));
    }
  }

  std::mt19937_64 random_{kSeed};
  KvCacheManager manager_;
  std::vector<Sequence> sequences_;
};

TEST_P(KvIndexSnapshotModelTest,
       RoutersHoldWhatIsInTheIndexOrKnowThatTheyDoNot) {
  std::cout << "seed " << kSeed << '\n';
  KvIndexView first;
  std::optional<KvIndexView> late;
  std::optional<KvIndexView> deaf;  // has lost a batch
  int num_joined = 0;
  int num_lost = 0;
  int num_duplicates = 0;
  for (int step = 0; step < 4000; ++step) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << step;
    const absl::Status invariants = manager_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << "step " << step << ": " << invariants;
    if (Below(3) == 0) continue;  // events of several steps in one batch

    const KvEventBatch batch = manager_.TakeEvents();
    const absl::Status applied = first.Apply(batch);
    ASSERT_TRUE(applied.ok()) << "step " << step << ": " << applied;
    const absl::StatusOr<KvIndexSnapshot> snapshot = manager_.SnapshotIndex();
    ASSERT_TRUE(snapshot.ok());
    ASSERT_EQ(first.Snapshot(), *snapshot) << "step " << step;
    ASSERT_EQ(*manager_.index_digest(), first.digest());
    first.CheckInvariants();
    num_duplicates += static_cast<int>(std::count_if(
        snapshot->entries.begin(), snapshot->entries.end(),
        [](const KvIndexEntry& entry) { return entry.count > 1; }));

    if (late.has_value()) {
      ASSERT_TRUE(late->Apply(batch).ok());
      ASSERT_EQ(late->digest(), *manager_.index_digest());
    }
    if (Below(50) == 0) {
      absl::StatusOr<KvIndexView> joined = KvIndexView::Create(*snapshot);
      ASSERT_TRUE(joined.ok()) << joined.status();
      late = *std::move(joined);
      ++num_joined;
    }
    if (deaf.has_value() && !batch.events.empty()) {
      const KvIndexSnapshot before = deaf->Snapshot();
      ASSERT_EQ(deaf->Apply(batch).code(),
                absl::StatusCode::kFailedPrecondition);
      ASSERT_EQ(deaf->Snapshot(), before);
      deaf = *KvIndexView::Create(*snapshot);
      ASSERT_EQ(deaf->digest(), *manager_.index_digest());
      deaf.reset();
      ++num_lost;
    } else if (!deaf.has_value() && Below(10) == 0) {
      deaf = first;
      Step();
      if (manager_.TakeEvents().events.empty()) {
        deaf.reset();
      } else {
        // All views but that one get what happened by a snapshot.
        first = *KvIndexView::Create(*manager_.SnapshotIndex());
        late.reset();
      }
    }
  }
  EXPECT_GT(num_joined, 20);
  EXPECT_GT(num_lost, 20);
  if (!GetParam().cache.deduplicate) {
    EXPECT_GT(num_duplicates, 100);
  }
}

INSTANTIATE_TEST_SUITE_P(
    , KvIndexSnapshotModelTest,
    testing::Values(
        Workload{"OneGroup", {Full(4)}}, Workload{"Fine", {Full(1)}},
        Workload{"Deduplicating", {Full(4)}, {.deduplicate = true}},
        Workload{"Partial", {Full(4)}, {.partial_block_reuse = true}},
        Workload{"Policy", {Full(4)}, {.eviction_policy = "s3-fifo"}},
        Workload{"Aligned", {Full(4), Full(8)}},
        Workload{
            "AlignedDeduplicating", {Full(4), Full(8)}, {.deduplicate = true}},
        Workload{"Hybrid", {Full(8), Window(4, 6)}},
        Workload{"HybridAsUpstream",
                 {Full(8), Window(4, 6)},
                 {.vllm_compatible = true}},
        Workload{"States",
                 {Full(4),
                  {.block_size = BlockSize(8),
                   .kind = AttentionKind::kStateSpace}}}),
    [](const testing::TestParamInfo<Workload>& info) {
      return info.param.name;
    });

TEST(KvIndexSnapshotTest, ThereIsNoneWithoutEvents) {
  KvCacheManagerOptions options;
  options.pool = {.num_blocks = BlockCount(4), .prefix_caching = true};
  options.max_sequence_tokens = TokenCount(16);
  auto manager = KvCacheManager::Create(options);
  ASSERT_TRUE(manager.ok()) << manager.status();
  EXPECT_EQ(manager->SnapshotIndex().status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(manager->index_digest().status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(KvIndexSnapshotTest, AForkThatFillsASharedBlockStoresItOnce) {
  // A block that is full, but not yet a multiple of the alignment, belongs to
  // both when both come to index it. A router must not count it twice: it will
  // be removed once.
  KvCacheManagerOptions options;
  options.pool = {.num_blocks = BlockCount(20), .prefix_caching = true};
  options.groups = {Full(4), Full(8)};
  options.max_sequence_tokens = TokenCount(16);
  options.prefix_cache = {.content_hash = ContentHashOptions{}, .events = true};
  auto manager = KvCacheManager::Create(options);
  ASSERT_TRUE(manager.ok()) << manager.status();
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto known = std::span(tokens);
  const SequenceId parent = *manager->AddSequence();
  ASSERT_TRUE(*manager->TryAppend(parent, TokenCount(5), known.first(5)));
  const SequenceId child = *manager->Fork(parent);
  ASSERT_TRUE(*manager->TryAppend(parent, TokenCount(3), known));
  ASSERT_TRUE(*manager->TryAppend(child, TokenCount(3), known));

  const BlockId shared = manager->block_table(parent, 0)[0];
  ASSERT_EQ(manager->block_table(child, 0)[0], shared);
  KvIndexView router;
  ASSERT_TRUE(router.Apply(manager->TakeEvents()).ok());
  const BlockHash hash = manager->cached_content(shared)->hash;
  EXPECT_EQ(router.Count(0, "GPU", hash), 1);
  ASSERT_TRUE(manager->Evict(std::span(&shared, 1)).ok());
  ASSERT_TRUE(router.Apply(manager->TakeEvents()).ok());
  EXPECT_EQ(router.Count(0, "GPU", hash), 0);
  EXPECT_EQ(router.digest(), *manager->index_digest());
}

}  // namespace
}  // namespace pagedkv
