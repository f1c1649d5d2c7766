// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a KvCacheManager and on a naive reference. A fake device
// follows: it does the moves to and from the swap space and the copies, takes
// the dirty ranges over, and writes each token to the slot that the manager
// names. After each step every sequence must read back its own tokens, and
// nothing but them, in every group.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

// Identifies a token together with all that came before it.
using Content = std::uint64_t;

Content Mix(Content a, Content b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15u + b + 1;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A block without a place: what shares it is who points to it.
struct ReferenceBlock {};

struct ReferenceSequence {
  std::vector<Content> tokens;
  // [groups]
  std::vector<std::vector<std::shared_ptr<ReferenceBlock>>> tables;
  std::size_t written = 0;  // tokens that the fake device holds
  bool is_swapped = false;  // then `tables` are of the swap space
};

class ReferenceManager {
 public:
  ReferenceManager(std::vector<std::int64_t> block_sizes, std::int64_t usable,
                   std::int64_t watermark, std::int64_t max_tokens)
      : block_sizes_(std::move(block_sizes)),
        usable_(usable),
        watermark_(watermark),
        max_tokens_(max_tokens) {}

  using Id = std::uint64_t;

  [[nodiscard]] std::map<Id, ReferenceSequence>& live() { return live_; }
  ReferenceSequence& Get(Id id) { return live_.at(id); }

  void Add(Id id) { live_[id].tables.resize(block_sizes_.size()); }

  [[nodiscard]] std::int64_t num_used() const {
    return std::ssize(Blocks(/*swapped=*/false));
  }
  [[nodiscard]] std::int64_t num_swap_used() const {
    std::set<const ReferenceBlock*> blocks = Blocks(/*swapped=*/true);
    for (const auto& block : read_) blocks.insert(block.get());
    return std::ssize(blocks);
  }
  // Blocks that these sequences hold for their tokens.
  [[nodiscard]] std::int64_t NumHeld(const std::vector<Id>& ids) const {
    std::set<const ReferenceBlock*> blocks;
    for (const Id id : ids) {
      const ReferenceSequence& sequence = live_.at(id);
      for (std::size_t g = 0; g < block_sizes_.size(); ++g) {
        for (std::size_t i = 0; i < Covering(sequence.tokens.size(), g); ++i) {
          blocks.insert(sequence.tables[g][i].get());
        }
      }
    }
    return std::ssize(blocks);
  }
  // Moves them to the other space, out or in.
  void Swap(const std::vector<Id>& ids) {
    std::map<const ReferenceBlock*, std::shared_ptr<ReferenceBlock>> moved;
    for (const Id id : ids) {
      ReferenceSequence& sequence = live_.at(id);
      for (std::size_t g = 0; g < block_sizes_.size(); ++g) {
        auto& table = sequence.tables[g];
        table.resize(Covering(sequence.tokens.size(), g));
        for (auto& block : table) {
          auto& other = moved[block.get()];
          if (other == nullptr) other = std::make_shared<ReferenceBlock>();
          // Kept alive, so that no new block has its address.
          if (sequence.is_swapped) read_.push_back(block);
          gone_.push_back(std::exchange(block, other));
        }
      }
    }
    for (const Id id : ids) live_.at(id).is_swapped ^= true;
    gone_.clear();
  }
  void EndStep() { read_.clear(); }

  [[nodiscard]] std::int64_t BlocksToCover(Id id, std::int64_t covered) const {
    const ReferenceSequence& sequence = live_.at(id);
    std::int64_t needed = 0;
    for (std::size_t g = 0; g < block_sizes_.size(); ++g) {
      const auto& table = sequence.tables[g];
      std::set<std::int64_t> written;  // indices of blocks, not of tokens
      for (std::int64_t i = std::ssize(sequence.tokens); i < covered; ++i) {
        written.insert(i / block_sizes_[g]);
      }
      for (const std::int64_t index : written) {
        const bool exists = index < std::ssize(table);
        if (!exists || table[static_cast<std::size_t>(index)].use_count() > 1) {
          ++needed;
        }
      }
    }
    return needed;
  }

  // REQUIRES: the arguments are in range. `unique` tells the new tokens from
  // all others.
  bool TryAppend(Id id, std::int64_t count, const AppendOptions& options,
                 Content unique) {
    ReferenceSequence& sequence = live_.at(id);
    const std::int64_t tokens = std::ssize(sequence.tokens) + count;
    const std::int64_t covered =
        std::min(tokens + options.lookahead.value(), max_tokens_);
    const std::int64_t must_fit =
        std::max(covered, std::min(options.must_fit.value(), max_tokens_));
    const std::int64_t free = usable_ - num_used();
    if (BlocksToCover(id, must_fit) +
            (options.keep_watermark ? watermark_ : 0) >
        free) {
      return false;
    }
    for (std::size_t g = 0; g < block_sizes_.size(); ++g) {
      auto& table = sequence.tables[g];
      for (std::int64_t i = std::ssize(sequence.tokens); i < covered; ++i) {
        const auto index = static_cast<std::size_t>(i / block_sizes_[g]);
        if (index == table.size()) table.emplace_back();
        if (table[index].use_count() != 1) {
          table[index] = std::make_shared<ReferenceBlock>();
        }
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const Content before =
          sequence.tokens.empty() ? 0 : sequence.tokens.back();
      sequence.tokens.push_back(Mix(before, unique));
    }
    return true;
  }

  void Rewind(Id id, std::size_t num_tokens) {
    ReferenceSequence& sequence = live_.at(id);
    sequence.tokens.resize(num_tokens);
    sequence.written = std::min(sequence.written, num_tokens);
  }
  void Truncate(Id id, std::size_t num_tokens) {
    Rewind(id, num_tokens);
    for (std::size_t g = 0; g < block_sizes_.size(); ++g) {
      auto& table = live_.at(id).tables[g];
      table.resize(std::min(table.size(), Covering(num_tokens, g)));
    }
  }
  void Fork(Id id, Id fork) {
    live_[fork] = live_.at(id);
    Truncate(fork, live_.at(id).tokens.size());
  }
  void Release(Id id) { live_.erase(id); }

 private:
  [[nodiscard]] std::set<const ReferenceBlock*> Blocks(bool swapped) const {
    std::set<const ReferenceBlock*> blocks;
    for (const auto& [id, sequence] : live_) {
      if (sequence.is_swapped != swapped) continue;
      for (const auto& table : sequence.tables) {
        for (const auto& block : table) blocks.insert(block.get());
      }
    }
    return blocks;
  }
  [[nodiscard]] std::size_t Covering(std::size_t tokens, std::size_t g) const {
    const auto size = static_cast<std::size_t>(block_sizes_[g]);
    return (tokens + size - 1) / size;
  }

  std::vector<std::int64_t> block_sizes_;
  std::int64_t usable_;
  std::int64_t watermark_;
  std::int64_t max_tokens_;
  std::map<Id, ReferenceSequence> live_;
  std::vector<std::shared_ptr<ReferenceBlock>> read_;  // in this step
  std::vector<std::shared_ptr<ReferenceBlock>> gone_;  // scratch
};

struct Workload {
  std::string name;
  std::vector<std::int32_t> block_sizes;  // one for each group
  std::int32_t num_blocks = 0;
  std::int32_t max_sequences = 0;
  std::int32_t max_tokens = 0;
  double watermark = 0.0;
  std::int32_t num_swap_blocks = 0;

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

// All that a refused call must leave as it was.
struct Snapshot {
  std::vector<std::vector<std::vector<BlockId>>> tables;  // [groups][rows]
  std::vector<std::vector<DirtyRange>> dirty;             // [groups]
  std::vector<BlockId> free;
  std::vector<BlockCopy> copies;
  std::vector<BlockSwap> swap_outs;
  std::vector<BlockSwap> swap_ins;
  BlockCount free_swap_blocks;
  std::int32_t num_sequences = 0;
  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};

class KvCacheManagerModelTest
    : public testing::TestWithParam<std::tuple<Workload, std::uint64_t>> {
 protected:
  KvCacheManagerModelTest()
      : workload_(std::get<0>(GetParam())),
        random_(std::get<1>(GetParam())),
        manager_(*KvCacheManager::Create(Options(workload_))),
        reference_({workload_.block_sizes.begin(), workload_.block_sizes.end()},
                   workload_.num_blocks - 1,
                   manager_.pool().watermark_blocks().value(),
                   workload_.max_tokens),
        memory_(
            static_cast<std::size_t>(workload_.num_blocks),
            std::vector<Content>(static_cast<std::size_t>(*std::max_element(
                workload_.block_sizes.begin(), workload_.block_sizes.end())))),
        swap_memory_(static_cast<std::size_t>(workload_.num_swap_blocks + 1),
                     std::vector<Content>(memory_[0].size())),
        mirrors_(workload_.block_sizes.size()) {}

  static KvCacheManagerOptions Options(const Workload& workload) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(workload.num_blocks),
                    .watermark = workload.watermark};
    options.groups.clear();
    for (const std::int32_t size : workload.block_sizes) {
      options.groups.push_back({.block_size = BlockSize(size)});
    }
    options.max_sequence_tokens = TokenCount(workload.max_tokens);
    options.max_sequences = workload.max_sequences;
    options.num_swap_blocks = BlockCount(workload.num_swap_blocks);
    return options;
  }

  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }
  SequenceId AnyLive() {
    auto it = reference_.live().begin();
    std::advance(it, Below(std::ssize(reference_.live())));
    return SequenceId(it->first);
  }
  // Nothing but a swap-in or its release changes a sequence that is swapped
  // out. Whether `id` is one.
  bool IsRefused(SequenceId id) {
    if (!reference_.Get(id.value()).is_swapped) return false;
    constexpr auto kFailedPrecondition = absl::StatusCode::kFailedPrecondition;
    const Snapshot before = Observe();
    const TokenCount tokens = manager_.num_tokens(id);
    EXPECT_EQ(manager_.TryAppend(id, TokenCount(Below(2))).status().code(),
              kFailedPrecondition);
    EXPECT_EQ(
        manager_.TryAppend(id, TokenCount(0), AppendOptions{}).status().code(),
        kFailedPrecondition);
    EXPECT_EQ(manager_.Truncate(id, tokens).code(), kFailedPrecondition);
    EXPECT_EQ(manager_.Rewind(id, TokenCount(0)).code(), kFailedPrecondition);
    EXPECT_EQ(manager_.Retract(id, tokens).code(), kFailedPrecondition);
    EXPECT_EQ(manager_.Fork(id).status().code(), kFailedPrecondition);
    EXPECT_EQ(manager_.TrySwapOut(id).status().code(), kFailedPrecondition);
    EXPECT_TRUE(manager_.block_table(id).empty());
    EXPECT_EQ(Observe(), before);
    return true;
  }

  Snapshot Observe() const {
    Snapshot snapshot;
    for (int g = 0; g < manager_.num_groups(); ++g) {
      const BlockTables& tables = manager_.tables(g);
      auto& rows = snapshot.tables.emplace_back();
      for (std::int32_t r = 0; r < tables.dense().num_rows; ++r) {
        rows.emplace_back(tables.row(r).begin(), tables.row(r).end());
      }
      snapshot.dirty.emplace_back(tables.dirty_ranges().begin(),
                                  tables.dirty_ranges().end());
    }
    snapshot.free = manager_.pool().FreeBlocks();
    snapshot.copies.assign(manager_.copies().begin(), manager_.copies().end());
    snapshot.swap_outs.assign(manager_.swap_outs().begin(),
                              manager_.swap_outs().end());
    snapshot.swap_ins.assign(manager_.swap_ins().begin(),
                             manager_.swap_ins().end());
    snapshot.free_swap_blocks = manager_.num_free_swap_blocks();
    snapshot.num_sequences = manager_.num_sequences();
    return snapshot;
  }

  void Add() {
    const Snapshot before = Observe();
    const auto id = manager_.AddSequence();
    if (std::ssize(reference_.live()) == workload_.max_sequences) {
      ASSERT_EQ(id.status().code(), absl::StatusCode::kResourceExhausted);
      ASSERT_EQ(Observe(), before);
      return;
    }
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_TRUE(ids_seen_.insert(id->value()).second) << "reissued " << *id;
    reference_.Add(id->value());
  }

  void Append() {
    const SequenceId id = AnyLive();
    if (IsRefused(id)) return;
    const std::int64_t room =
        workload_.max_tokens - manager_.num_tokens(id).value();
    const std::int64_t count =
        OneIn(2) ? std::min<std::int64_t>(room, Below(3))
                 : Below(std::min<std::int64_t>(room, 20) + 1);
    AppendOptions options;
    if (OneIn(4)) options.lookahead = TokenCount(Below(10));
    if (OneIn(4)) options.must_fit = TokenCount(Below(workload_.max_tokens));
    if (OneIn(4)) options.keep_watermark = true;
    const bool plain = options.lookahead == TokenCount(0) &&
                       options.must_fit == TokenCount(0) &&
                       !options.keep_watermark;
    const Snapshot before = Observe();
    const bool expected =
        reference_.TryAppend(id.value(), count, options, ++unique_);
    const absl::StatusOr<bool> granted =
        plain && OneIn(2) ? manager_.TryAppend(id, TokenCount(count))
                          : manager_.TryAppend(id, TokenCount(count), options);
    ASSERT_TRUE(granted.ok()) << granted.status();
    ASSERT_EQ(*granted, expected)
        << id << " + " << count << ", lookahead " << options.lookahead
        << ", must fit " << options.must_fit << ", watermark "
        << options.keep_watermark;
    if (!expected) {
      ASSERT_EQ(Observe(), before);
    }
  }

  void Cut(bool keep_blocks) {
    const SequenceId id = AnyLive();
    if (IsRefused(id)) return;
    const std::int64_t tokens = Below(manager_.num_tokens(id).value() + 1);
    const absl::Status status = keep_blocks
                                    ? manager_.Rewind(id, TokenCount(tokens))
                                    : manager_.Truncate(id, TokenCount(tokens));
    ASSERT_TRUE(status.ok()) << status;
    if (keep_blocks) {
      reference_.Rewind(id.value(), static_cast<std::size_t>(tokens));
    } else {
      reference_.Truncate(id.value(), static_cast<std::size_t>(tokens));
    }
  }

  void Fork() {
    const SequenceId id = AnyLive();
    if (IsRefused(id)) return;
    // The tokens of a fork are in the blocks that it shares: they must have
    // been written.
    const ReferenceSequence& parent = reference_.Get(id.value());
    if (parent.written < parent.tokens.size()) EndStep();
    const Snapshot before = Observe();
    const auto fork = manager_.Fork(id);
    if (std::ssize(reference_.live()) == workload_.max_sequences) {
      ASSERT_EQ(fork.status().code(), absl::StatusCode::kResourceExhausted);
      ASSERT_EQ(Observe(), before);
      return;
    }
    ASSERT_TRUE(fork.ok()) << fork.status();
    ASSERT_TRUE(ids_seen_.insert(fork->value()).second);
    reference_.Fork(id.value(), fork->value());
  }

  void Release() {
    const SequenceId id = AnyLive();
    ASSERT_TRUE(manager_.Release(id).ok());
    reference_.Release(id.value());
    stale_.push_back(id);
  }

  // Some that are swapped out, or that are not.
  std::vector<SequenceId> AnyOf(bool swapped) {
    std::vector<SequenceId> ids;
    const std::int64_t most = 1 + Below(4);
    for (const auto& [id, sequence] : reference_.live()) {
      if (sequence.is_swapped == swapped && std::ssize(ids) < most &&
          OneIn(2)) {
        ids.push_back(SequenceId(id));
      }
    }
    std::shuffle(ids.begin(), ids.end(), random_);
    return ids;
  }
  static std::vector<ReferenceManager::Id> Values(
      const std::vector<SequenceId>& ids) {
    std::vector<ReferenceManager::Id> values;
    for (const SequenceId id : ids) values.push_back(id.value());
    return values;
  }

  void SwapOut() {
    const std::vector<SequenceId> ids = AnyOf(/*swapped=*/false);
    // Their tokens must have been written, as for a fork: or they are not
    // theirs, where the step has only planned them.
    for (const SequenceId id : ids) {
      const ReferenceSequence& sequence = reference_.Get(id.value());
      if (sequence.written == sequence.tokens.size()) continue;
      if (OneIn(2)) {
        EndStep();
        break;
      }
      const std::size_t written = sequence.written;
      ASSERT_TRUE(
          manager_.Retract(id, TokenCount(static_cast<std::int64_t>(written)))
              .ok());
      reference_.Truncate(id.value(), written);
    }
    const Snapshot before = Observe();
    const absl::StatusOr<bool> granted = manager_.TrySwapOut(ids);
    if (absl::IsFailedPrecondition(granted.status())) {
      ASSERT_FALSE(manager_.swap_ins().empty()) << granted.status();
      ASSERT_EQ(Observe(), before);
      EndStep();
      return;
    }
    ASSERT_TRUE(granted.ok()) << granted.status();
    const std::int64_t needed = reference_.NumHeld(Values(ids));
    const std::int64_t free =
        workload_.num_swap_blocks - reference_.num_swap_used();
    ASSERT_EQ(*granted, workload_.num_swap_blocks > 0 && needed <= free);
    if (!*granted) {
      ASSERT_EQ(Observe(), before);
      return;
    }
    reference_.Swap(Values(ids));
    num_swapped_ += needed;
  }

  // And lengthens them: in total that takes what `BlocksToSwapIn` said.
  void SwapIn() {
    const std::vector<SequenceId> ids = AnyOf(/*swapped=*/true);
    std::vector<TokenCount> counts;
    for (const SequenceId id : ids) {
      counts.emplace_back(Below(std::min<std::int64_t>(
          workload_.max_tokens - manager_.num_tokens(id).value() + 1, 12)));
    }
    const BlockCount all = manager_.BlocksToSwapIn(ids, counts);
    std::set<BlockId> copied;  // and free
    for (const BlockCopy& copy : manager_.copies()) {
      for (const BlockId block : {copy.source, copy.destination}) {
        if (manager_.pool().ref_count(block) == 0) copied.insert(block);
      }
    }
    const std::int64_t needed = reference_.NumHeld(Values(ids));
    const std::int64_t free = manager_.pool().num_free().value();
    const Snapshot before = Observe();
    const absl::StatusOr<bool> granted = manager_.TrySwapIn(ids);
    ASSERT_TRUE(granted.ok()) << granted.status();
    ASSERT_EQ(*granted, needed + std::ssize(copied) <= free);
    if (!*granted) {
      ASSERT_EQ(Observe(), before);
      return;
    }
    reference_.Swap(Values(ids));
    if (ids.empty() || all.value() > free || OneIn(3)) return;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ASSERT_TRUE(reference_.TryAppend(ids[i].value(), counts[i].value(), {},
                                       ++unique_));
      ASSERT_EQ(*manager_.TryAppend(ids[i], counts[i]), true);
    }
    ASSERT_EQ(manager_.pool().num_free(), BlockCount(free) - all);
  }

  void Misuse() {
    const Snapshot before = Observe();
    const SequenceId stale =
        stale_.empty() || OneIn(4)
            ? SequenceId(random_() % 1000)
            : stale_[static_cast<std::size_t>(Below(std::ssize(stale_)))];
    if (!reference_.live().contains(stale.value())) {
      constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;
      ASSERT_FALSE(manager_.IsLive(stale));
      ASSERT_EQ(manager_.TryAppend(stale, TokenCount(0)).status().code(),
                kNotFound);
      ASSERT_EQ(manager_.TryAppend(stale, TokenCount(0), AppendOptions{})
                    .status()
                    .code(),
                kNotFound);
      ASSERT_EQ(manager_.Truncate(stale, TokenCount(0)).code(), kNotFound);
      ASSERT_EQ(manager_.Rewind(stale, TokenCount(0)).code(), kNotFound);
      ASSERT_EQ(manager_.Fork(stale).status().code(), kNotFound);
      ASSERT_EQ(manager_.TrySwapOut(stale).status().code(), kNotFound);
      ASSERT_EQ(manager_.TrySwapIn(stale).status().code(), kNotFound);
      ASSERT_EQ(manager_.Release(stale).code(), kNotFound);
    }
    if (!reference_.live().empty()) {
      constexpr absl::StatusCode kOutOfRange = absl::StatusCode::kOutOfRange;
      const SequenceId id = AnyLive();
      if (IsRefused(id)) return;
      ASSERT_EQ(manager_.TrySwapIn(id).status().code(),
                absl::StatusCode::kFailedPrecondition);
      if (manager_.swap_ins().empty()) {
        ASSERT_EQ(manager_.TrySwapOut(std::vector{id, id}).status().code(),
                  absl::StatusCode::kInvalidArgument);
      }
      const TokenCount tokens = manager_.num_tokens(id);
      const TokenCount beyond =
          manager_.max_sequence_tokens() - tokens + TokenCount(1 + Below(5));
      ASSERT_EQ(manager_.TryAppend(id, beyond).status().code(), kOutOfRange);
      ASSERT_EQ(manager_.TryAppend(id, TokenCount(-1)).status().code(),
                absl::StatusCode::kInvalidArgument);
      ASSERT_EQ(
          manager_.TryAppend(id, TokenCount(0), {.lookahead = TokenCount(-1)})
              .status()
              .code(),
          absl::StatusCode::kInvalidArgument);
      ASSERT_EQ(manager_.Truncate(id, tokens + TokenCount(1)).code(),
                kOutOfRange);
      ASSERT_EQ(manager_.Rewind(id, TokenCount(-1)).code(), kOutOfRange);
    }
    ASSERT_EQ(Observe(), before);
  }

  // What an engine does with what the operations have asked for.
  void EndStep() {
    for (const BlockSwap& swap : manager_.swap_outs()) {
      std::copy_n(Memory(swap.block).begin(), swap.num_tokens,
                  SwapMemory(swap.swap_block).begin());
    }
    for (const BlockSwap& swap : manager_.swap_ins()) {
      std::copy_n(SwapMemory(swap.swap_block).begin(), swap.num_tokens,
                  Memory(swap.block).begin());
    }
    // Nobody reads there again, but for those that were left behind.
    if (std::none_of(reference_.live().begin(), reference_.live().end(),
                     [](const auto& live) { return live.second.is_swapped; })) {
      for (std::vector<Content>& block : swap_memory_) {
        std::fill(block.begin(), block.end(), 0);
      }
    }
    reference_.EndStep();
    for (const BlockCopy& copy : manager_.copies()) {
      const auto& source = Memory(copy.source);
      std::copy_n(source.begin(), copy.num_tokens,
                  Memory(copy.destination).begin());
    }
    manager_.ClearCopies();
    UploadDirtyRanges();
    std::set<std::pair<BlockId, std::int64_t>> slots_written;
    for (auto& [id, sequence] : reference_.live()) {
      if (sequence.is_swapped) continue;
      for (int g = 0; g < manager_.num_groups(); ++g) {
        const std::int64_t size = manager_.block_size(g).value();
        std::vector<std::int64_t> slots(sequence.tokens.size() -
                                        sequence.written);
        manager_.FillSlotMapping(SequenceId(id),
                                 static_cast<std::int32_t>(sequence.written),
                                 slots, g);
        for (std::size_t i = 0; i < slots.size(); ++i) {
          const BlockId block(static_cast<std::int32_t>(slots[i] / size));
          ASSERT_TRUE(slots_written.emplace(block, slots[i] % size).second)
              << block << " offset " << slots[i] % size << " written twice";
          Memory(block)[static_cast<std::size_t>(slots[i] % size)] =
              InGroup(sequence.tokens[sequence.written + i], g);
        }
      }
      sequence.written = sequence.tokens.size();
    }
    for (const auto& [id, sequence] : reference_.live()) {
      if (!sequence.is_swapped) ReadBack(SequenceId(id), sequence);
    }
    CheckCsr();
  }

  void UploadDirtyRanges() {
    for (int g = 0; g < manager_.num_groups(); ++g) {
      std::vector<std::int32_t>& mirror = mirrors_[static_cast<std::size_t>(g)];
      const BlockTables& tables = manager_.tables(g);
      const DenseBlockTables dense = tables.dense();
      mirror.resize(static_cast<std::size_t>(dense.num_rows) *
                    static_cast<std::size_t>(dense.row_stride));
      std::set<std::int32_t> rows;
      for (const DirtyRange& range : tables.dirty_ranges()) {
        ASSERT_TRUE(rows.insert(range.row).second) << "row twice";
        const std::int64_t row = std::int64_t{range.row} * dense.row_stride;
        std::copy(dense.data + row + range.begin, dense.data + row + range.end,
                  mirror.begin() + row + range.begin);
      }
      ASSERT_TRUE(std::equal(mirror.begin(), mirror.end(), dense.data))
          << "the dirty ranges of group " << g << " miss a change";
    }
    manager_.ClearDirty();
  }

  void ReadBack(SequenceId id, const ReferenceSequence& sequence) {
    for (int g = 0; g < manager_.num_groups(); ++g) {
      const auto size =
          static_cast<std::size_t>(manager_.block_size(g).value());
      const std::span<const BlockId> table = manager_.block_table(id, g);
      for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
        ASSERT_EQ(Memory(table[i / size])[i % size],
                  InGroup(sequence.tokens[i], g))
            << id << ", group " << g << ", token " << i << " in "
            << table[i / size];
      }
    }
  }

  void CheckCsr() {
    std::vector<SequenceId> batch;
    for (const auto& [id, sequence] : reference_.live()) {
      if (!sequence.is_swapped && !OneIn(3)) batch.push_back(SequenceId(id));
    }
    std::shuffle(batch.begin(), batch.end(), random_);
    for (int g = 0; g < manager_.num_groups(); ++g) {
      manager_.FillCsr(batch, csr_, g);
      ASSERT_EQ(csr_.indptr.size(), batch.size() + 1);
      ASSERT_EQ(csr_.last_page_len.size(), batch.size());
      std::vector<std::int32_t> indices;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        ASSERT_EQ(csr_.indptr[i], std::ssize(indices));
        const std::int64_t tokens = manager_.num_tokens(batch[i]).value();
        const std::int64_t size = manager_.block_size(g).value();
        for (std::int64_t t = 0; t < tokens; t += size) {
          indices.push_back(
              manager_
                  .block_table(batch[i], g)[static_cast<std::size_t>(t / size)]
                  .value());
        }
        ASSERT_EQ(csr_.last_page_len[i],
                  tokens == 0 ? 0 : (tokens - 1) % size + 1);
      }
      ASSERT_EQ(csr_.indptr.back(), std::ssize(indices));
      ASSERT_EQ(csr_.indices, indices);
    }
  }

  void Compare() {
    ASSERT_EQ(manager_.num_sequences(), std::ssize(reference_.live()));
    ASSERT_EQ(manager_.pool().num_used().value(), reference_.num_used());
    ASSERT_EQ(
        (manager_.num_swap_blocks() - manager_.num_free_swap_blocks()).value(),
        reference_.num_swap_used());
    // The blocks of both sides correspond one to one, and have as many owners.
    std::map<BlockId, const ReferenceBlock*> block_of;
    std::map<const ReferenceBlock*, BlockId> id_of;
    for (const auto& [value, sequence] : reference_.live()) {
      const SequenceId id(value);
      ASSERT_TRUE(manager_.IsLive(id));
      ASSERT_EQ(manager_.num_tokens(id).value(), std::ssize(sequence.tokens));
      ASSERT_EQ(manager_.IsSwapped(id), sequence.is_swapped);
      if (sequence.is_swapped) continue;
      const std::int64_t covered =
          std::min(std::ssize(sequence.tokens) + Below(40),
                   std::int64_t{workload_.max_tokens});
      ASSERT_EQ(manager_.BlocksToCover(id, TokenCount(covered)).value(),
                reference_.BlocksToCover(value, covered))
          << id << " to " << covered;
      for (int g = 0; g < manager_.num_groups(); ++g) {
        const auto& expected = sequence.tables[static_cast<std::size_t>(g)];
        const std::span<const BlockId> table = manager_.block_table(id, g);
        ASSERT_EQ(table.size(), expected.size()) << id << ", group " << g;
        for (std::size_t i = 0; i < table.size(); ++i) {
          const ReferenceBlock* block = expected[i].get();
          ASSERT_EQ(block_of.emplace(table[i], block).first->second, block);
          ASSERT_EQ(id_of.emplace(block, table[i]).first->second, table[i]);
          ASSERT_EQ(manager_.pool().ref_count(table[i]),
                    expected[i].use_count())
              << table[i];
        }
      }
    }
    const absl::Status invariants = manager_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
  }

  std::vector<Content>& Memory(BlockId block) {
    return memory_[static_cast<std::size_t>(block.value())];
  }
  std::vector<Content>& SwapMemory(BlockId block) {
    return swap_memory_[static_cast<std::size_t>(block.value())];
  }
  static Content InGroup(Content token, int group) {
    return Mix(token, static_cast<Content>(group) + 100);
  }

  Workload workload_;
  std::mt19937_64 random_;
  KvCacheManager manager_;
  ReferenceManager reference_;
  Content unique_ = 0;
  std::set<std::uint64_t> ids_seen_;
  std::vector<SequenceId> stale_;
  // The fake device: a block holds what was written last, of whichever group.
  std::vector<std::vector<Content>> memory_;        // [blocks][slots]
  std::vector<std::vector<Content>> swap_memory_;   // [blocks][slots]
  std::int64_t num_swapped_ = 0;                    // blocks
  std::vector<std::vector<std::int32_t>> mirrors_;  // [groups]
  CsrBlockTables csr_;
};

TEST_P(KvCacheManagerModelTest, EverySequenceReadsBackItsOwnTokens) {
  constexpr int kOperations = 25'000;
  std::discrete_distribution<int> operations;
  for (int i = 0; i < kOperations; ++i) {
    if (i % 500 == 0) {
      // Add, append, truncate, rewind, fork, release, misuse, end of step,
      // swap out, swap in.
      std::vector<double> weights = {1, 8, 1, 1, 2, 1, 0.5, 4};
      if (workload_.num_swap_blocks > 0) weights.insert(weights.end(), {2, 3});
      for (double& weight : weights) {
        weight *= std::uniform_real_distribution<>(0.2, 1.0)(random_);
      }
      operations = {weights.begin(), weights.end()};
    }
    SCOPED_TRACE(testing::Message() << "operation " << i);
    const int operation = operations(random_);
    if (operation == 0 || reference_.live().empty()) {
      Add();
    } else if (operation == 1) {
      Append();
    } else if (operation == 2 || operation == 3) {
      Cut(/*keep_blocks=*/operation == 3);
    } else if (operation == 4) {
      Fork();
    } else if (operation == 5) {
      Release();
    } else if (operation == 6) {
      Misuse();
    } else if (operation == 8) {
      SwapOut();
    } else if (operation == 9) {
      SwapIn();
    } else {
      EndStep();
    }
    if (!HasFatalFailure()) Compare();
    if (HasFatalFailure()) return;
  }
  while (!reference_.live().empty()) Release();
  EXPECT_EQ(manager_.pool().num_used(), BlockCount(0));
  EXPECT_EQ(num_swapped_ > 0, workload_.num_swap_blocks > 0);
  EndStep();
}

INSTANTIATE_TEST_SUITE_P(
    Groups, KvCacheManagerModelTest,
    testing::Combine(
        testing::Values(Workload{"OneGroup", {4}, 60, 12, 50},
                        Workload{"OneGroupOfOneToken", {1}, 40, 5, 30},
                        Workload{
                            "OneGroupOfLargeBlocks", {16}, 24, 10, 70, 0.2},
                        Workload{"TwoGroups", {4, 8}, 70, 10, 60, 0.1},
                        Workload{"ThreeGroups", {16, 3, 1}, 150, 8, 50},
                        Workload{"TinyPool", {4, 2}, 9, 6, 40, 0.3},
                        Workload{"Swap", {4}, 40, 10, 50, 0, 60},
                        Workload{"SwapOfGroups", {4, 3}, 40, 8, 40, 0.1, 50},
                        Workload{"SwapTinyPool", {4, 2}, 12, 6, 40, 0, 15},
                        Workload{"SwapTinySpace", {4}, 30, 8, 40, 0, 5}),
        testing::Values(1, 20240607)),
    [](const auto& info) {
      return std::get<0>(info.param).name + "Seed" +
             std::to_string(std::get<1>(info.param));
    });

}  // namespace
}  // namespace pagedkv
