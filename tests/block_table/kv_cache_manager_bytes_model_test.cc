// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a KvCacheManager whose pool grows and shrinks, and on
// real bytes: a fake engine with a HostBlockStorage of just the size that the
// pool needs does what each step asks for and writes its tokens. After each
// step every sequence reads back its own tokens; where blocks are cleaned, no
// slot of its blocks, written or not, shows bytes of another tenant; and the
// SlotSanitizer, which follows the step, finds nothing wrong.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/slot_sanitizer.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kBlocks = 40;
constexpr std::int32_t kMaxBlocks = 64;
constexpr std::int32_t kSwapBlocks = 20;  // beside the null block
constexpr int kTenants = 3;
constexpr std::int32_t kMaxTokens = 60;
constexpr std::int32_t kMaxSequences = 8;
constexpr std::int64_t kSlotBytes = 8;
constexpr std::uint64_t kPoisoned = ~std::uint64_t{0};

std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15u + b + 1;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

struct Workload {
  std::string name;
  std::vector<KvCacheGroupOptions> groups;
  std::string policy;  // of the prefix cache; empty: there is none
  bool deduplicate = false;
  bool quotas = false;

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

struct TestSequence {
  int tenant = 0;
  std::vector<TokenId> tokens;          // known
  std::vector<std::uint64_t> contents;  // of each, with all before it
  std::int64_t written = 0;
};

class KvCacheManagerBytesModelTest
    : public testing::TestWithParam<
          std::tuple<Workload, ReuseHygiene, std::uint64_t>> {
 protected:
  KvCacheManagerBytesModelTest()
      : workload_(std::get<0>(GetParam())),
        hygiene_(std::get<1>(GetParam())),
        random_(std::get<2>(GetParam())),
        manager_(*KvCacheManager::Create(Options(workload_))),
        storage_(*HostBlockStorage::Create({.layout = Layout(workload_)})),
        swap_space_(*HostBlockStorage::Create({.layout = SwapLayout()})),
        sanitizer_(*SlotSanitizer::Create(BlockCount(kMaxBlocks),
                                          BlockSizes(workload_))),
        swap_sanitizer_(*SlotSanitizer::Create(BlockCount(kSwapBlocks + 1),
                                               BlockSizes(workload_))) {}

  static KvCacheManagerOptions Options(const Workload& workload) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(kBlocks),
                    .prefix_caching = !workload.policy.empty(),
                    .watermark = 0.1,
                    .max_num_blocks = BlockCount(kMaxBlocks)};
    options.groups = workload.groups;
    options.max_sequence_tokens = TokenCount(kMaxTokens);
    options.max_sequences = kMaxSequences;
    options.list_fresh_blocks = true;
    options.num_swap_blocks = BlockCount(kSwapBlocks);
    if (!workload.policy.empty()) {
      options.prefix_cache.content_hash = ContentHashOptions{};
      options.prefix_cache.events = true;
      options.prefix_cache.explain_misses = true;
      options.prefix_cache.lifetime_sample_rate = 0.5;
      options.prefix_cache.deduplicate = workload.deduplicate;
      options.prefix_cache.eviction_policy = workload.policy;
      if (workload.quotas) {
        options.prefix_cache.tenant_quotas = {
            {.tenant = 0, .floor = BlockCount(10)},
            {.tenant = 1, .ceiling = BlockCount(6)}};
      }
    }
    return options;
  }

  // Two layers, the second of them not token by token.
  static BlockStorageLayout Layout(const Workload& workload) {
    BlockStorageLayout layout{.num_blocks = BlockCount(kBlocks),
                              .groups = {},
                              .max_num_blocks = BlockCount(kMaxBlocks)};
    for (const KvCacheGroupOptions& group : workload.groups) {
      const Bytes bytes(kSlotBytes * group.block_size.value());
      layout.groups.push_back(
          {.block_size = group.block_size,
           .layers = {{.bytes_per_block = bytes},
                      {.bytes_per_block = bytes, .token_major = false}}});
    }
    return layout;
  }
  BlockStorageLayout SwapLayout() const {
    BlockStorageLayout layout = Layout(workload_);
    layout.num_blocks = BlockCount(kSwapBlocks + 1);
    return layout;
  }
  static std::vector<BlockSize> BlockSizes(const Workload& workload) {
    std::vector<BlockSize> sizes;
    for (const KvCacheGroupOptions& group : workload.groups) {
      sizes.push_back(group.block_size);
    }
    return sizes;
  }

  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }
  SequenceId AnyLive() {
    auto it = live_.begin();
    std::advance(it, Below(std::ssize(live_)));
    return SequenceId(it->first);
  }
  TestSequence& Get(SequenceId id) { return live_.at(id.value()); }
  // Brings the sequence back from the swap space, if it is there. False if
  // blocks are lacking.
  bool TryBringIn(SequenceId id) {
    return !manager_.IsSwapped(id) || *manager_.TrySwapIn(id);
  }

  // The low byte names the tenant.
  static std::uint64_t InGroup(std::uint64_t content, int group, int layer,
                               int tenant) {
    const std::uint64_t mixed =
        Mix(content, static_cast<std::uint64_t>(2 * group + layer));
    return (mixed & ~std::uint64_t{0xff}) |
           static_cast<std::uint64_t>(tenant + 1);
  }
  void AddToken(TestSequence& sequence, TokenId token) {
    const std::uint64_t before =
        sequence.contents.empty() ? static_cast<std::uint64_t>(sequence.tenant)
                                  : sequence.contents.back();
    sequence.tokens.push_back(token);
    sequence.contents.push_back(Mix(before, static_cast<std::uint64_t>(token)));
  }

  void Add() {
    TestSequence sequence;
    sequence.tenant = static_cast<int>(Below(kTenants));
    SequenceOptions options;
    options.tenant = sequence.tenant;
    options.keys.salts = {
        CacheSalt{"tenant " + std::to_string(sequence.tenant)}};
    const auto id = manager_.AddSequence(options);
    if (!id.ok()) {
      ASSERT_EQ(std::ssize(live_), kMaxSequences);
      return;
    }
    // One of a few documents, perhaps with an end of its own.
    const auto document = static_cast<TokenId>(Below(3) * 1000);
    const std::int64_t common = 1 + Below(40);
    for (std::int64_t i = 0; i < common; ++i) {
      AddToken(sequence, document + static_cast<TokenId>(i));
    }
    for (std::int64_t i = Below(6); i > 0; --i) {
      AddToken(sequence, static_cast<TokenId>(Below(1'000'000)));
    }
    live_.emplace(id->value(), sequence);
    Append(*id);
  }

  void Append(SequenceId id) {
    TestSequence& sequence = Get(id);
    if (sequence.written < manager_.num_tokens(id).value()) EndStep();
    if (!TryBringIn(id)) return;
    PrefixMatch match;
    const bool is_first = manager_.num_tokens(id) == TokenCount(0) &&
                          manager_.block_table(id).empty();
    if (is_first) {
      ASSERT_TRUE(manager_.Match(id, sequence.tokens, match).ok());
      for (const std::vector<BlockId>& hit : match.blocks) {
        for (BlockId block : hit) {
          ASSERT_LT(block.value(), manager_.pool().num_blocks().value());
        }
      }
    }
    const std::int64_t computed =
        manager_.num_tokens(id).value() + match.num_tokens.value();
    std::int64_t count = std::ssize(sequence.tokens) - computed;
    if (count == 0 && computed < kMaxTokens) {
      AddToken(sequence, static_cast<TokenId>(Below(1'000'000)));
      count = 1;
    }
    if (OneIn(3)) count = Below(count + 1);
    AppendOptions options{.tokens = sequence.tokens,
                          .match = is_first ? &match : nullptr};
    if (OneIn(4)) options.lookahead = TokenCount(Below(8));
    const auto granted = manager_.TryAppend(id, TokenCount(count), options);
    ASSERT_TRUE(granted.ok()) << granted.status();
    if (*granted && is_first) sequence.written = match.num_tokens.value();
  }

  void Fork() {
    const SequenceId id = AnyLive();
    if (!TryBringIn(id)) return;
    EndStep();
    const auto fork = manager_.Fork(id);
    if (!fork.ok()) {
      ASSERT_EQ(std::ssize(live_), kMaxSequences);
      return;
    }
    TestSequence child = Get(id);
    // What it goes on with is its own.
    child.tokens.resize(
        static_cast<std::size_t>(manager_.num_tokens(id).value()));
    child.contents.resize(child.tokens.size());
    live_.emplace(fork->value(), std::move(child));
  }

  void Cut() {
    const SequenceId id = AnyLive();
    if (!TryBringIn(id)) return;
    EndStep();
    TestSequence& sequence = Get(id);
    const std::int64_t tokens = Below(manager_.num_tokens(id).value() + 1);
    const absl::Status status = OneIn(2)
                                    ? manager_.Truncate(id, TokenCount(tokens))
                                    : manager_.Rewind(id, TokenCount(tokens));
    if (absl::IsFailedPrecondition(status)) return;  // a window has moved on
    ASSERT_TRUE(status.ok()) << status;
    sequence.written = std::min(sequence.written, tokens);
    sequence.tokens.resize(static_cast<std::size_t>(tokens));
    sequence.contents.resize(static_cast<std::size_t>(tokens));
  }

  // Some sequences together, what they share once; copies may wait.
  void SwapOut() {
    std::vector<SequenceId> ids;
    for (const auto& [value, sequence] : live_) {
      const SequenceId id(value);
      if (OneIn(4) && !manager_.IsSwapped(id)) ids.push_back(id);
    }
    for (SequenceId id : ids) {
      if (Get(id).written < manager_.num_tokens(id).value()) {
        EndStep();
        break;
      }
    }
    const auto swapped = manager_.TrySwapOut(ids);
    // What the same step swaps in stays.
    if (absl::IsFailedPrecondition(swapped.status())) return;
    ASSERT_TRUE(swapped.ok()) << swapped.status();
    if (*swapped) num_swapped_ += std::ssize(ids);
  }
  void SwapIn() {
    std::vector<SequenceId> ids;
    for (const auto& [value, sequence] : live_) {
      const SequenceId id(value);
      if (OneIn(2) && manager_.IsSwapped(id)) ids.push_back(id);
    }
    const auto swapped = manager_.TrySwapIn(ids);
    ASSERT_TRUE(swapped.ok()) << swapped.status();
  }

  // Of a sequence whose tokens are written: what others found of it stays.
  // Blocks of copies that wait may go back to the pool.
  void Release() {
    const SequenceId id = AnyLive();
    if (Get(id).written < manager_.num_tokens(id).value()) EndStep();
    ASSERT_TRUE(manager_.Release(id).ok());
    live_.erase(id.value());
  }

  void Grow() {
    const BlockCount blocks(Below(kMaxBlocks + 3));
    if (blocks > storage_->layout().num_blocks &&
        blocks <= BlockCount(kMaxBlocks)) {
      ASSERT_TRUE(storage_->Resize(blocks).ok());
    }
    const absl::Status status = manager_.Grow(blocks);
    const bool may = blocks >= num_blocks_ && blocks <= BlockCount(kMaxBlocks);
    ASSERT_EQ(status.ok(), may) << status << " " << blocks;
    if (may) num_blocks_ = blocks;
  }

  void BeginShrink() {
    const BlockCount blocks(OneIn(2) ? Below(num_blocks_.value() + 2)
                                     : num_blocks_.value() - Below(4));
    const bool waits =
        !manager_.copies().empty() || !manager_.fresh_blocks().empty() ||
        !manager_.swap_outs().empty() || !manager_.swap_ins().empty();
    if (blocks >= BlockCount(2) && blocks <= num_blocks_ && waits) {
      ASSERT_EQ(manager_.BeginShrink(blocks).code(),
                absl::StatusCode::kFailedPrecondition);
      EndStep();
    }
    const std::vector<std::int64_t> cached = CachedBelow(blocks.value());
    const std::int64_t all_cached = std::ssize(CachedBelow(kMaxBlocks));
    std::vector<BlockId> free = manager_.pool().FreeBlocks();
    const std::int64_t removed =
        manager_.prefix_cache_metrics().blocks_invalidated;
    const absl::Status status = manager_.BeginShrink(blocks);
    if (blocks < BlockCount(2) || blocks > num_blocks_) {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    num_blocks_ = blocks;
    // What stays is cached as before, and is reissued in the same order.
    ASSERT_EQ(CachedBelow(blocks.value()), cached);
    ASSERT_EQ(std::ssize(CachedBelow(kMaxBlocks)), std::ssize(cached));
    ASSERT_EQ(manager_.prefix_cache_metrics().blocks_invalidated - removed,
              all_cached - std::ssize(cached));
    std::erase_if(
        free, [&](BlockId block) { return block.value() >= blocks.value(); });
    ASSERT_EQ(manager_.pool().FreeBlocks(), free);
    // No copy waits: what is not in use need not be there any more.
    ASSERT_TRUE(storage_->Resize(manager_.pool().extent()).ok());
  }

  void Drain() {
    EndStep();
    const BlockCount draining = manager_.pool().num_draining();
    const BlockCount free = manager_.pool().num_free();
    const BlockCount most(OneIn(2) ? Below(4) : kMaxBlocks);
    const auto moved = manager_.Drain(most);
    ASSERT_TRUE(moved.ok()) << moved.status();
    ASSERT_EQ(*moved, std::min({draining, free, most}));
    ASSERT_EQ(manager_.pool().num_draining(), draining - *moved);
    ASSERT_LE(manager_.copies().size(),
              static_cast<std::size_t>(moved->value()));
  }

  std::vector<std::int64_t> CachedBelow(std::int64_t end) const {
    std::vector<std::int64_t> cached;
    for (std::int32_t i = 1; i < std::min<std::int64_t>(end, kMaxBlocks); ++i) {
      if (manager_.pool().is_cached(BlockId(i))) cached.push_back(i);
    }
    return cached;
  }

  // What an engine does with what the operations have asked for.
  void EndStep() {
    const StepMoves moves{.swap_outs = manager_.swap_outs(),
                          .fresh = manager_.fresh_blocks(),
                          .swap_ins = manager_.swap_ins(),
                          .copies = manager_.copies()};
    ASSERT_TRUE(sanitizer_.OnStep(moves, &swap_sanitizer_).ok());
    const absl::Status prepared =
        storage_->PrepareStep(moves, hygiene_, swap_space_.get());
    ASSERT_TRUE(prepared.ok()) << prepared;
    manager_.ClearCopies();
    manager_.ClearDirty();
    for (auto& [id, sequence] : live_) Write(SequenceId(id), sequence);
    for (const auto& [id, sequence] : live_) {
      ReadBack(SequenceId(id), sequence);
    }
    ASSERT_TRUE(storage_->Resize(manager_.pool().extent()).ok());
  }

  std::byte* Slot(int group, int layer, std::int64_t slot) const {
    const BlockArena arena = storage_->arena(group, layer);
    const std::int64_t size = manager_.block_size(group).value();
    return arena.base + slot / size * arena.block_stride.value() +
           slot % size * kSlotBytes;
  }
  static std::uint64_t Load(const std::byte* address) {
    std::uint64_t value = 0;
    std::memcpy(&value, address, sizeof(value));
    return value;
  }

  void Write(SequenceId id, TestSequence& sequence) {
    if (manager_.IsSwapped(id)) return;
    const std::int64_t end = manager_.num_tokens(id).value();
    for (int g = 0; g < manager_.num_groups(); ++g) {
      std::vector<std::int64_t> slots(
          static_cast<std::size_t>(end - sequence.written));
      manager_.FillSlotMapping(id, static_cast<std::int32_t>(sequence.written),
                               slots, g);
      ASSERT_TRUE(sanitizer_.OnWrite(g, slots).ok());
      for (std::size_t i = 0; i < slots.size(); ++i) {
        const auto position = static_cast<std::size_t>(sequence.written) + i;
        for (int layer = 0; layer < 2; ++layer) {
          const std::uint64_t value =
              InGroup(sequence.contents[position], g, layer, sequence.tenant);
          std::memcpy(Slot(g, layer, slots[i]), &value, sizeof(value));
        }
      }
    }
    sequence.written = end;
  }

  void ReadBack(SequenceId id, const TestSequence& sequence) {
    if (manager_.IsSwapped(id)) return;
    for (int g = 0; g < manager_.num_groups(); ++g) {
      const std::span<const BlockId> table = manager_.block_table(id, g);
      const absl::Status read =
          sanitizer_.CheckRead(id, g, table, manager_.num_tokens(id));
      ASSERT_TRUE(read.ok()) << read;
      const std::int64_t size = manager_.block_size(g).value();
      for (std::int64_t i = 0; i < sequence.written; ++i) {
        const BlockId block = table[static_cast<std::size_t>(i / size)];
        if (block == kNullBlock) continue;
        for (int layer = 0; layer < 2; ++layer) {
          ASSERT_EQ(Load(Slot(g, layer, block.value() * size + i % size)),
                    InGroup(sequence.contents[static_cast<std::size_t>(i)], g,
                            layer, sequence.tenant))
              << id << ", group " << g << ", token " << i << " in " << block;
        }
      }
      if (hygiene_ == ReuseHygiene::kLeave) continue;
      for (BlockId block : table) CheckClean(block, sequence.tenant);
    }
  }

  // Every byte that the tenant could read in its block, of whichever group.
  void CheckClean(BlockId block, int tenant) {
    if (block == kNullBlock) return;
    const std::uint64_t clean = hygiene_ == ReuseHygiene::kZero ? 0 : kPoisoned;
    const BlockStorageLayout& layout = storage_->layout();
    for (int layer = 0; layer < 2; ++layer) {
      const BlockArena arena = storage_->arena(0, layer);
      for (std::int64_t at = 0; at < arena.block_stride.value();
           at += kSlotBytes) {
        const std::uint64_t value =
            Load(arena.base + block.value() * arena.block_stride.value() + at);
        ASSERT_TRUE(value == clean ||
                    (value & 0xff) == static_cast<std::uint64_t>(tenant + 1))
            << block << " of " << layout.num_blocks << " shows " << std::hex
            << value << " at byte " << std::dec << at << " to tenant "
            << tenant;
      }
    }
  }

  void Check() {
    const absl::Status invariants = manager_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
    const BlockPool& pool = manager_.pool();
    ASSERT_EQ(pool.num_blocks(), num_blocks_);
    ASSERT_EQ(pool.watermark_blocks().value(), num_blocks_.value() / 10);
    std::set<BlockId> draining;
    std::int64_t last = num_blocks_.value() - 1;
    for (const auto& [id, sequence] : live_) {
      for (int g = 0; g < manager_.num_groups(); ++g) {
        for (BlockId block : manager_.block_table(SequenceId(id), g)) {
          if (block.value() >= num_blocks_.value()) draining.insert(block);
          last = std::max<std::int64_t>(last, block.value());
        }
      }
    }
    ASSERT_EQ(pool.num_draining().value(), std::ssize(draining));
    ASSERT_EQ(pool.extent().value(), last + 1);
    ASSERT_GE(storage_->layout().num_blocks, pool.extent());
  }

  Workload workload_;
  ReuseHygiene hygiene_;
  std::mt19937_64 random_;
  KvCacheManager manager_;
  std::unique_ptr<HostBlockStorage> storage_;
  std::unique_ptr<HostBlockStorage> swap_space_;
  SlotSanitizer sanitizer_;
  SlotSanitizer swap_sanitizer_;
  std::int64_t num_swapped_ = 0;
  BlockCount num_blocks_{kBlocks};
  std::map<std::uint64_t, TestSequence> live_;
};

TEST_P(KvCacheManagerBytesModelTest, EverySequenceReadsItsOwnBytesAndNoOthers) {
  constexpr int kOperations = 3000;
  // From now on `CheckInvariants` compares it with what the events say.
  if (!workload_.policy.empty()) {
    ASSERT_TRUE(manager_.index_digest().ok());
  }
  std::int64_t drained = 0;
  for (int i = 0; i < kOperations; ++i) {
    SCOPED_TRACE(testing::Message() << "operation " << i);
    const std::int64_t operation = Below(44);
    if (live_.empty() || operation < 5) {
      Add();
    } else if (operation < 18) {
      Append(AnyLive());
    } else if (operation < 21) {
      Fork();
    } else if (operation < 23) {
      Cut();
    } else if (operation < 27) {
      Release();
    } else if (operation < 30) {
      Grow();
    } else if (operation < 33) {
      BeginShrink();
    } else if (operation < 35) {
      drained += manager_.pool().num_draining().value();
      Drain();
    } else if (operation < 37) {
      SwapOut();
    } else if (operation < 39) {
      SwapIn();
    } else {
      EndStep();
    }
    if (!HasFatalFailure()) Check();
    if (HasFatalFailure()) return;
  }
  // The workload has been where it should.
  EXPECT_GT(drained, 50);
  EXPECT_GT(num_swapped_, 50);
  EndStep();
  while (!live_.empty()) Release();
  EXPECT_EQ(manager_.pool().num_used(), BlockCount(0));
  EXPECT_EQ(manager_.pool().extent(), num_blocks_);
}

const Workload kWorkloads[] = {
    {"NoCache", {Full(4)}, ""},
    {"NoCacheTwoGroups", {Full(8), Sliding(2, 6)}, ""},
    {"Lru", {Full(4)}, "lru"},
    {"LruTwoSizes", {Full(8), Full(2)}, "lru"},
    {"LruWindow", {Full(4), Sliding(4, 10)}, "lru"},
    {"Deduplicate", {Full(4)}, "lru", true},
    {"Tenants", {Full(4)}, "lru", false, true},
};

std::string TestName(const testing::TestParamInfo<
                     std::tuple<Workload, ReuseHygiene, std::uint64_t>>& info) {
  constexpr const char* kNames[] = {"Leave", "Zero", "Poison"};
  std::string name = std::get<0>(info.param).name;
  std::erase(name, '-');
  return name + kNames[static_cast<int>(std::get<1>(info.param))] + "Seed" +
         std::to_string(std::get<2>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Groups, KvCacheManagerBytesModelTest,
                         testing::Combine(testing::ValuesIn(kWorkloads),
                                          testing::Values(ReuseHygiene::kZero),
                                          testing::Values(1, 20240607)),
                         TestName);

INSTANTIATE_TEST_SUITE_P(
    Hygiene, KvCacheManagerBytesModelTest,
    testing::Combine(testing::Values(kWorkloads[2]),
                     testing::Values(ReuseHygiene::kLeave,
                                     ReuseHygiene::kPoison),
                     testing::Values(1)),
    TestName);

std::vector<Workload> OnePerPolicy() {
  std::vector<Workload> workloads;
  for (const std::string& policy : EvictionPolicyNames()) {
    workloads.push_back({"Policy" + policy, {Full(4)}, policy});
  }
  return workloads;
}

INSTANTIATE_TEST_SUITE_P(Policies, KvCacheManagerBytesModelTest,
                         testing::Combine(testing::ValuesIn(OnePerPolicy()),
                                          testing::Values(ReuseHygiene::kZero),
                                          testing::Values(3)),
                         TestName);

}  // namespace
}  // namespace pagedkv
