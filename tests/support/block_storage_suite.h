// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SUPPORT_BLOCK_STORAGE_SUITE_H_
#define TESTS_SUPPORT_BLOCK_STORAGE_SUITE_H_

/// The tests that every backend of `BlockStorage` passes. A backend is a type
///   struct Backend {
///     static absl::StatusOr<std::unique_ptr<BlockStorage>> Create(
///         const BlockStorageLayout& layout);
///     static void Write(std::byte* address, std::span<const std::byte> bytes);
///     static void Read(const std::byte* address, std::span<std::byte> bytes);
///   };
/// A backend that cannot be resized answers `Create` with Unimplemented where
/// the layout has `max_num_blocks`. One that may have no device says so in
/// `static const char* SkipReason()`: null if it has one. Swap spaces are the
/// host's. Write and Read move bytes between the test and the backend's memory:
///   INSTANTIATE_TYPED_TEST_SUITE_P(Host, BlockStorageTest, HostBackend);

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/host_block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv {

template <typename Backend>
class BlockStorageTest : public ::testing::Test {
 protected:
  using Content = std::vector<std::byte>;

  void SetUp() override {
    if constexpr (requires { Backend::SkipReason(); }) {
      if (const char* reason = Backend::SkipReason(); reason != nullptr) {
        GTEST_SKIP() << reason;
      }
    }
  }

  // Two groups that share arena 0; its stride is that of the larger, 96 bytes.
  // Arena 1 has one layer whose tokens are not contiguous.
  static BlockStorageLayout TwoGroups() {
    return {
        .num_blocks = BlockCount(9),
        .groups = {
            {.block_size = BlockSize(4),
             .layers = {{.bytes_per_block = Bytes(64)},
                        {.bytes_per_block = Bytes(50), .token_major = false}}},
            {.block_size = BlockSize(8),
             .layers = {{.bytes_per_block = Bytes(96)}}}}};
  }

  static std::unique_ptr<BlockStorage> CreateOrDie(
      const BlockStorageLayout& layout) {
    absl::StatusOr<std::unique_ptr<BlockStorage>> storage =
        Backend::Create(layout);
    if (!storage.ok()) {
      ADD_FAILURE() << storage.status();
      std::abort();
    }
    return *std::move(storage);
  }

  static std::byte* Address(const BlockStorage& storage, int group, int layer,
                            BlockId block) {
    const BlockArena arena = storage.arena(group, layer);
    return arena.base + arena.block_stride.value() * block.value();
  }

  // Block 0 to the last of every arena, strides included.
  static std::vector<Content> ReadAll(const BlockStorage& storage) {
    std::vector<Content> arenas;
    for (const auto& [group, layer] : ArenasOf(storage)) {
      const BlockArena arena = storage.arena(group, layer);
      Content bytes(static_cast<std::size_t>(
          arena.block_stride.value() * storage.layout().num_blocks.value()));
      Backend::Read(arena.base, bytes);
      arenas.push_back(std::move(bytes));
    }
    return arenas;
  }

  // Random bytes everywhere; returns them.
  static std::vector<Content> Scramble(BlockStorage& storage,
                                       std::mt19937_64& random) {
    std::vector<Content> arenas = ReadAll(storage);
    const auto places = ArenasOf(storage);
    for (std::size_t k = 0; k < arenas.size(); ++k) {
      for (std::byte& byte : arenas[k]) {
        byte = static_cast<std::byte>(random() & 0xff);
      }
      Backend::Write(storage.arena(places[k].first, places[k].second).base,
                     arenas[k]);
    }
    return arenas;
  }

  // The same of a storage in host memory.
  static std::vector<Content> ReadHost(const BlockStorage& storage) {
    std::vector<Content> arenas;
    for (const auto& [group, layer] : ArenasOf(storage)) {
      const BlockArena arena = storage.arena(group, layer);
      const std::byte* const begin = arena.base;
      const std::byte* const end =
          begin +
          arena.block_stride.value() * storage.layout().num_blocks.value();
      arenas.emplace_back(begin, end);
    }
    return arenas;
  }

  // What a swap or copy of `num_tokens` tokens moves in arena `k`.
  static std::size_t MovedBytes(const BlockStorageLayout& layout, int group,
                                std::size_t k, std::int32_t num_tokens) {
    const GroupLayout& of = layout.groups[static_cast<std::size_t>(group)];
    if (k >= of.layers.size()) return 0;
    return static_cast<std::size_t>(of.CopyBytes(k, num_tokens).value());
  }

  // Strides of the arenas of `TwoGroups`.
  static constexpr std::int64_t kStrides[] = {96, 50};

 private:
  // Arena k as (a group that has a layer k, k).
  static std::vector<std::pair<int, int>> ArenasOf(
      const BlockStorage& storage) {
    std::vector<std::pair<int, int>> arenas;
    const std::vector<GroupLayout>& groups = storage.layout().groups;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t k = arenas.size(); k < groups[g].layers.size(); ++k) {
        arenas.emplace_back(static_cast<int>(g), static_cast<int>(k));
      }
    }
    return arenas;
  }
};

TYPED_TEST_SUITE_P(BlockStorageTest);

TYPED_TEST_P(BlockStorageTest, GroupsShareArenasWithTheLargestStride) {
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const BlockArena first = storage->arena(0, 0);
  const BlockArena second = storage->arena(0, 1);
  EXPECT_EQ(first.block_stride, Bytes(96));
  EXPECT_EQ(second.block_stride, Bytes(50));
  EXPECT_EQ(storage->arena(1, 0).base, first.base);
  EXPECT_EQ(storage->size(), Bytes(9 * (96 + 50)));
  for (const BlockArena& arena : {first, second}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.base) % 64, 0u);
  }
  EXPECT_GE(std::abs(second.base - first.base),
            first.base < second.base ? 9 * 96 : 9 * 50);
}

TYPED_TEST_P(BlockStorageTest, CopiesTheFirstTokensOnly) {
  std::mt19937_64 random(1);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  auto expected = this->Scramble(*storage, random);
  // Three tokens of 16 bytes in arena 0; all of the block in arena 1.
  const BlockCopy copy{0, BlockId(2), BlockId(8), 3};
  ASSERT_TRUE(storage->CopyBlocks({&copy, 1}).ok());
  std::copy_n(expected[0].begin() + 2 * 96, 48, expected[0].begin() + 8 * 96);
  std::copy_n(expected[1].begin() + 2 * 50, 50, expected[1].begin() + 8 * 50);
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, ACopyOfOneGroupLeavesOtherLayersAlone) {
  std::mt19937_64 random(2);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  auto expected = this->Scramble(*storage, random);
  const BlockCopy copy{1, BlockId(5), BlockId(1), 8};
  ASSERT_TRUE(storage->CopyBlocks({&copy, 1}).ok());
  std::copy_n(expected[0].begin() + 5 * 96, 96, expected[0].begin() + 96);
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, ACopyOfNoTokensCopiesNothing) {
  std::mt19937_64 random(3);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const auto expected = this->Scramble(*storage, random);
  const BlockCopy copy{0, BlockId(5), BlockId(1), 0};
  ASSERT_TRUE(storage->CopyBlocks({&copy, 1}).ok());
  ASSERT_TRUE(storage->CopyBlocks({}).ok());
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, CopiesInTheGivenOrder) {
  std::mt19937_64 random(4);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const auto before = this->Scramble(*storage, random);
  // What was in 1 ends in 3, though 1 is overwritten by the end of the list.
  const std::vector<BlockCopy> copies = {{1, BlockId(1), BlockId(2), 8},
                                         {1, BlockId(2), BlockId(3), 8},
                                         {1, BlockId(4), BlockId(1), 8}};
  ASSERT_TRUE(storage->CopyBlocks(copies).ok());
  auto expected = before;
  const auto move = [&](int from, int to) {
    std::copy_n(before[0].begin() + from * 96, 96,
                expected[0].begin() + to * 96);
  };
  move(1, 2);
  move(1, 3);
  move(4, 1);
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, FillsWholeBlocksOfEveryArena) {
  std::mt19937_64 random(5);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  auto expected = this->Scramble(*storage, random);
  const std::vector<BlockId> blocks = {BlockId(8), kNullBlock, BlockId(3)};
  ASSERT_TRUE(storage->FillBlocks(blocks, std::byte{0xa5}).ok());
  for (const int block : {0, 3, 8}) {
    std::fill_n(expected[0].begin() + block * 96, 96, std::byte{0xa5});
    std::fill_n(expected[1].begin() + block * 50, 50, std::byte{0xa5});
  }
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, ARefusedListDoesNothing) {
  std::mt19937_64 random(6);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const auto expected = this->Scramble(*storage, random);
  const BlockCopy good{0, BlockId(1), BlockId(2), 4};
  const std::vector<BlockCopy> bad = {
      {2, BlockId(1), BlockId(2), 4},  {-1, BlockId(1), BlockId(2), 4},
      {0, BlockId(9), BlockId(2), 4},  {0, BlockId(1), BlockId(9), 4},
      {0, BlockId(-1), BlockId(2), 4}, {0, BlockId(1), kNullBlock, 4},
      {0, kNullBlock, BlockId(2), 4},  {0, BlockId(1), BlockId(1), 4},
      {0, BlockId(1), BlockId(2), 5},  {0, BlockId(1), BlockId(2), -1},
  };
  for (const BlockCopy& copy : bad) {
    const std::vector<BlockCopy> copies = {good, copy};
    const absl::Status status = storage->CopyBlocks(copies);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("copy 1"));
  }
  for (const BlockId block : {BlockId(-1), BlockId(9)}) {
    const std::vector<BlockId> blocks = {BlockId(1), block};
    const absl::Status status = storage->FillBlocks(blocks, std::byte{0});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()),
                ::testing::HasSubstr(std::to_string(block.value())));
  }
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, RefusesWhatIsNoLayout) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::vector<std::pair<BlockStorageLayout, const char*>> bad(
      9, {this->TwoGroups(), ""});
  const auto change = [&](std::size_t i, const char* says) -> auto& {
    bad[i].second = says;
    return bad[i].first;
  };
  change(0, "num_blocks is 0").num_blocks = BlockCount(0);
  change(1, "num_blocks is 2147483648").num_blocks = BlockCount(1LL << 31);
  change(2, "no groups").groups.clear();
  change(3, "group 1").groups[1].layers.clear();
  change(4, "group 0: block size 0").groups[0].block_size = BlockSize(0);
  change(5, "group 0, layer 1").groups[0].layers[1].bytes_per_block = Bytes(0);
  // Not a multiple of the block size, though token by token.
  change(6, "token_major").groups[1].layers[0].bytes_per_block = Bytes(97);
  change(7, "2^62").groups[0].layers[1].bytes_per_block = Bytes(kMax);
  change(8, "max_num_blocks is 8").max_num_blocks = BlockCount(8);
  for (const auto& [layout, says] : bad) {
    const auto storage = TypeParam::Create(layout);
    ASSERT_FALSE(storage.ok()) << says;
    EXPECT_EQ(storage.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(storage.status().message()),
                ::testing::HasSubstr(says));
  }
}

TYPED_TEST_P(BlockStorageTest, ReportsMemoryThatCannotBeHad) {
  BlockStorageLayout layout = this->TwoGroups();
  layout.groups[0].layers[0].bytes_per_block = Bytes(std::int64_t{1} << 58);
  const auto storage = TypeParam::Create(layout);
  ASSERT_FALSE(storage.ok());
  EXPECT_EQ(storage.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(
      std::string(storage.status().message()),
      ::testing::HasSubstr(std::to_string(9 * ((std::int64_t{1} << 58) + 50))));
}

TYPED_TEST_P(BlockStorageTest, RandomCopiesAndFillsEqualAPlainArray) {
  constexpr std::uint64_t kSeed = 20240607;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const BlockStorageLayout layout = this->TwoGroups();
  const auto storage = this->CreateOrDie(layout);
  auto expected = this->Scramble(*storage, random);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(n));
  };
  for (int round = 0; round < 200; ++round) {
    std::vector<BlockCopy> copies(static_cast<std::size_t>(below(6)));
    for (BlockCopy& copy : copies) {
      copy.group = below(2);
      copy.source = BlockId(1 + below(8));
      copy.destination = BlockId(1 + (copy.source.value() + below(7)) % 8);
      const GroupLayout& group =
          layout.groups[static_cast<std::size_t>(copy.group)];
      copy.num_tokens = below(group.block_size.value() + 1);
      for (std::size_t k = 0; k < group.layers.size(); ++k) {
        const std::int64_t stride = k == 0 ? 96 : 50;
        const std::int64_t bytes =
            k == 1 ? (copy.num_tokens > 0 ? 50 : 0)
                   : group.layers[0].bytes_per_block.value() * copy.num_tokens /
                         group.block_size.value();
        std::copy_n(expected[k].begin() + copy.source.value() * stride, bytes,
                    expected[k].begin() + copy.destination.value() * stride);
      }
    }
    ASSERT_TRUE(storage->CopyBlocks(copies).ok());
    const BlockId filled(below(9));
    const auto value = static_cast<std::byte>(below(256));
    ASSERT_TRUE(storage->FillBlocks({&filled, 1}, value).ok());
    std::fill_n(expected[0].begin() + filled.value() * 96, 96, value);
    std::fill_n(expected[1].begin() + filled.value() * 50, 50, value);
    ASSERT_EQ(this->ReadAll(*storage), expected) << "round " << round;
  }
}

TYPED_TEST_P(BlockStorageTest, SwapsEqualPlainArrays) {
  constexpr std::uint64_t kSeed = 20240608;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(n));
  };
  const BlockStorageLayout layout = this->TwoGroups();
  BlockStorageLayout swap_layout = layout;
  swap_layout.num_blocks = BlockCount(14);
  const auto storage = this->CreateOrDie(layout);
  const auto swap_space = *HostBlockStorage::Create({.layout = swap_layout});
  auto here = this->Scramble(*storage, random);
  ASSERT_TRUE(
      swap_space->FillBlocks(std::vector{BlockId(3)}, std::byte{3}).ok());
  auto there = this->ReadHost(*swap_space);
  for (int round = 0; round < 200; ++round) {
    const bool is_out = round % 2 == 0;
    std::vector<BlockSwap> swaps;
    while (std::ssize(swaps) < 5) {
      // Runs that ascend or descend on both sides, or on one only; of whole
      // blocks, or of a part.
      const std::int32_t group = below(2);
      const std::int32_t size =
          layout.groups[static_cast<std::size_t>(group)].block_size.value();
      std::int32_t block = 1 + below(8);
      std::int32_t swap_block = below(14);
      const std::int32_t step = below(2) * 2 - 1;
      const std::int32_t swap_step = below(4) == 0 ? -step : step;
      for (std::int32_t left = 1 + below(4);
           left > 0 && block >= 1 && block < 9 && swap_block >= 0 &&
           swap_block < 14;
           --left, block += step, swap_block += swap_step) {
        swaps.push_back({group, BlockId(block), BlockId(swap_block),
                         below(5) == 0 ? below(size + 1) : size});
      }
    }
    const absl::Status status = is_out ? storage->SwapOut(*swap_space, swaps)
                                       : storage->SwapIn(*swap_space, swaps);
    ASSERT_TRUE(status.ok()) << status;
    for (const BlockSwap& swap : swaps) {
      for (std::size_t k = 0; k < 2; ++k) {
        const auto bytes =
            this->MovedBytes(layout, swap.group, k, swap.num_tokens);
        const auto a = here[k].begin() + swap.block.value() * this->kStrides[k];
        const auto b =
            there[k].begin() + swap.swap_block.value() * this->kStrides[k];
        if (is_out) {
          std::copy_n(a, bytes, b);
        } else {
          std::copy_n(b, bytes, a);
        }
      }
    }
    ASSERT_EQ(this->ReadAll(*storage), here) << "round " << round;
    ASSERT_EQ(this->ReadHost(*swap_space), there) << "round " << round;
  }
}

TYPED_TEST_P(BlockStorageTest, ARefusedSwapDoesNothing) {
  std::mt19937_64 random(8);
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const auto swap_space =
      *HostBlockStorage::Create({.layout = this->TwoGroups()});
  const auto expected = this->Scramble(*storage, random);
  const auto refused = [&](BlockStorage& space, const BlockSwap& swap,
                           const char* says) {
    const std::vector<BlockSwap> swaps = {{0, BlockId(1), BlockId(2), 4}, swap};
    for (const absl::Status& status :
         {storage->SwapOut(space, swaps), storage->SwapIn(space, swaps)}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(says));
    }
  };
  const BlockSwap good{0, BlockId(1), BlockId(2), 4};
  refused(*swap_space, {2, BlockId(1), BlockId(2), 4}, "swap 1");
  refused(*swap_space, {-1, BlockId(1), BlockId(2), 4}, "swap 1");
  refused(*swap_space, {0, kNullBlock, BlockId(2), 4}, "swap 1");
  refused(*swap_space, {0, BlockId(9), BlockId(2), 4}, "swap 1");
  refused(*swap_space, {0, BlockId(1), BlockId(9), 4}, "swap 1");
  refused(*swap_space, {0, BlockId(1), BlockId(-1), 4}, "swap 1");
  refused(*swap_space, {0, BlockId(1), BlockId(2), 5}, "swap 1");
  refused(*swap_space, {0, BlockId(1), BlockId(2), -1}, "swap 1");
  refused(*storage, good, "its own swap space");
  BlockStorageLayout other = this->TwoGroups();
  other.groups[1].layers[0].bytes_per_block = Bytes(80);
  const auto other_space = *HostBlockStorage::Create({.layout = other});
  refused(*other_space, good, "other groups");
  EXPECT_EQ(this->ReadAll(*storage), expected);
}

TYPED_TEST_P(BlockStorageTest, PreparesAStepInTheOrderThatItsListsSay) {
  constexpr std::uint64_t kSeed = 20240609;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(n));
  };
  const BlockStorageLayout layout = this->TwoGroups();
  const auto storage = this->CreateOrDie(layout);
  const auto swap_space = *HostBlockStorage::Create({.layout = layout});
  const auto reference = *HostBlockStorage::Create({.layout = layout});
  const auto reference_space = *HostBlockStorage::Create({.layout = layout});
  std::vector<BlockId> all;
  for (int i = 0; i < 9; ++i) all.push_back(BlockId(i));
  ASSERT_TRUE(swap_space->FillBlocks(all, std::byte{5}).ok());
  ASSERT_TRUE(reference_space->FillBlocks(all, std::byte{5}).ok());
  for (int round = 0; round < 100; ++round) {
    const auto before = this->Scramble(*storage, random);
    for (int k = 0; k < 2; ++k) {
      const auto& bytes = before[static_cast<std::size_t>(k)];
      std::copy(bytes.begin(), bytes.end(), reference->arena(0, k).base);
    }
    std::vector<BlockCopy> copies(static_cast<std::size_t>(below(6)));
    for (BlockCopy& copy : copies) {
      copy = {0, BlockId(1 + below(8)), BlockId(), below(5)};
      copy.destination = BlockId(1 + (copy.source.value() + below(7)) % 8);
    }
    std::vector<BlockSwap> swaps[2];
    for (std::vector<BlockSwap>& list : swaps) {
      list.resize(static_cast<std::size_t>(below(4)));
      for (BlockSwap& swap : list) {
        swap = {0, BlockId(1 + below(8)), BlockId(below(9)), below(5)};
      }
    }
    std::vector<FreshBlock> fresh;
    std::int32_t after = 0;
    for (std::int32_t i = below(8); i > 0; --i) {
      if (below(2) == 0) {
        after = std::min<std::int32_t>(
            after + 1 + below(2), static_cast<std::int32_t>(copies.size()));
      }
      fresh.push_back({BlockId(1 + below(8)), below(2) == 0 ? 0 : after});
    }
    const auto hygiene = static_cast<ReuseHygiene>(below(3));
    const absl::Status status = storage->PrepareStep({.swap_outs = swaps[0],
                                                      .fresh = fresh,
                                                      .swap_ins = swaps[1],
                                                      .copies = copies},
                                                     hygiene, swap_space.get());
    ASSERT_TRUE(status.ok()) << status;

    // The same, one by one.
    ASSERT_TRUE(reference->SwapOut(*reference_space, swaps[0]).ok());
    for (std::size_t done = 0; done <= copies.size(); ++done) {
      for (const FreshBlock& block : fresh) {
        if (hygiene != ReuseHygiene::kLeave &&
            std::cmp_equal(block.after_copies, done)) {
          const std::uint8_t value = hygiene == ReuseHygiene::kZero ? 0 : 0xff;
          ASSERT_TRUE(
              reference->FillBlocks({&block.block, 1}, std::byte{value}).ok());
        }
      }
      if (done == 0) {
        ASSERT_TRUE(reference->SwapIn(*reference_space, swaps[1]).ok());
      }
      if (done < copies.size()) {
        ASSERT_TRUE(reference->CopyBlocks({&copies[done], 1}).ok());
      }
    }
    ASSERT_EQ(this->ReadAll(*storage), this->ReadHost(*reference))
        << "round " << round;
    ASSERT_EQ(this->ReadHost(*swap_space), this->ReadHost(*reference_space))
        << "round " << round;
  }
}

TYPED_TEST_P(BlockStorageTest, AStepThatCannotBeIsRefused) {
  const auto storage = this->CreateOrDie(this->TwoGroups());
  const FreshBlock late{BlockId(1), 1};
  const BlockSwap swap{0, BlockId(1), BlockId(1), 1};
  for (const StepMoves& moves :
       {StepMoves{.fresh = {&late, 1}}, StepMoves{.swap_outs = {&swap, 1}},
        StepMoves{.swap_ins = {&swap, 1}}}) {
    EXPECT_EQ(storage->PrepareStep(moves, ReuseHygiene::kZero).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TYPED_TEST_P(BlockStorageTest, AResizedStorageKeepsItsAddressesAndBytes) {
  constexpr std::uint64_t kSeed = 20240610;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  BlockStorageLayout layout = this->TwoGroups();
  // Many pages, which end within blocks.
  layout.groups[0].layers[1].bytes_per_block = Bytes(5000);
  layout.max_num_blocks = BlockCount(200);
  const auto created = TypeParam::Create(layout);
  if (absl::IsUnimplemented(created.status())) {
    GTEST_SKIP() << created.status();
  }
  ASSERT_TRUE(created.ok()) << created.status();
  BlockStorage& storage = **created;
  EXPECT_EQ(storage.max_num_blocks(), BlockCount(200));
  const std::byte* const bases[] = {storage.arena(0, 0).base,
                                    storage.arena(0, 1).base};
  for (int round = 0; round < 30; ++round) {
    const auto before = this->Scramble(storage, random);
    const std::int64_t old = storage.layout().num_blocks.value();
    const std::int64_t blocks =
        round == 0 ? 200 : 1 + static_cast<std::int64_t>(random() % 200);
    const absl::Status status = storage.Resize(BlockCount(blocks));
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(storage.layout().num_blocks, BlockCount(blocks));
    EXPECT_EQ(storage.max_num_blocks(), BlockCount(200));
    EXPECT_EQ(storage.size(), Bytes(blocks * (96 + 5000)));
    EXPECT_EQ(storage.arena(0, 0).base, bases[0]);
    EXPECT_EQ(storage.arena(0, 1).base, bases[1]);
    // All of it can be read, and what stayed is what it was.
    auto after = this->ReadAll(storage);
    const std::int64_t kept = std::min(old, blocks);
    for (std::size_t k = 0; k < 2; ++k) {
      const std::int64_t stride = k == 0 ? 96 : 5000;
      ASSERT_TRUE(std::equal(before[k].begin(),
                             before[k].begin() + kept * stride,
                             after[k].begin()))
          << "arena " << k << ", from " << old << " to " << blocks << " blocks";
    }
    // Blocks that are gone are refused, those that came are not.
    const BlockId last(static_cast<std::int32_t>(blocks) - 1);
    const BlockId behind(static_cast<std::int32_t>(blocks));
    EXPECT_TRUE(storage.FillBlocks({&last, 1}, std::byte{1}).ok());
    EXPECT_FALSE(storage.FillBlocks({&behind, 1}, std::byte{1}).ok());
  }
  const BlockCount blocks = storage.layout().num_blocks;
  for (const std::int64_t bad : {-1, 0, 201}) {
    const absl::Status status = storage.Resize(BlockCount(bad));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  EXPECT_EQ(storage.layout().num_blocks, blocks);
}

TYPED_TEST_P(BlockStorageTest, IsNotResizedWhereThatWasNotAskedFor) {
  const auto storage = this->CreateOrDie(this->TwoGroups());
  EXPECT_EQ(storage->max_num_blocks(), BlockCount(9));
  for (const std::int64_t blocks : {8, 9, 10}) {
    EXPECT_EQ(storage->Resize(BlockCount(blocks)).code(),
              absl::StatusCode::kFailedPrecondition);
  }
}

REGISTER_TYPED_TEST_SUITE_P(
    BlockStorageTest, GroupsShareArenasWithTheLargestStride,
    CopiesTheFirstTokensOnly, ACopyOfOneGroupLeavesOtherLayersAlone,
    ACopyOfNoTokensCopiesNothing, CopiesInTheGivenOrder,
    FillsWholeBlocksOfEveryArena, ARefusedListDoesNothing,
    RefusesWhatIsNoLayout, ReportsMemoryThatCannotBeHad,
    RandomCopiesAndFillsEqualAPlainArray, SwapsEqualPlainArrays,
    ARefusedSwapDoesNothing, PreparesAStepInTheOrderThatItsListsSay,
    AStepThatCannotBeIsRefused, AResizedStorageKeepsItsAddressesAndBytes,
    IsNotResizedWhereThatWasNotAskedFor);

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_BLOCK_STORAGE_SUITE_H_
