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
/// where Write and Read move bytes between the test and the backend's memory:
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
#include "pagedkv/types.h"

namespace pagedkv {

template <typename Backend>
class BlockStorageTest : public ::testing::Test {
 protected:
  using Content = std::vector<std::byte>;

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
      8, {this->TwoGroups(), ""});
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

REGISTER_TYPED_TEST_SUITE_P(BlockStorageTest,
                            GroupsShareArenasWithTheLargestStride,
                            CopiesTheFirstTokensOnly,
                            ACopyOfOneGroupLeavesOtherLayersAlone,
                            ACopyOfNoTokensCopiesNothing, CopiesInTheGivenOrder,
                            FillsWholeBlocksOfEveryArena,
                            ARefusedListDoesNothing, RefusesWhatIsNoLayout,
                            ReportsMemoryThatCannotBeHad,
                            RandomCopiesAndFillsEqualAPlainArray);

}  // namespace pagedkv

#endif  // TESTS_SUPPORT_BLOCK_STORAGE_SUITE_H_
