// SPDX-License-Identifier: Apache-2.0
//
// `CudaBlockStorage` on a device that is emulated: the tests that every backend
// passes, and what happens between the host and a device that lags behind.

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "backends/cuda/cuda_block_storage.h"
#include "backends/cuda/pinned_memory.h"
#include "pagedkv/host_block_storage.h"
#include "tests/backends/cuda/fake_device.h"
#include "tests/support/block_storage_suite.h"

namespace pagedkv {
namespace {

using cuda::CudaBlockStorage;
using cuda::FakeDevice;
using cuda::PinnedMemory;

// How swaps go.
enum class Swaps {
  kPageable,  // by the engine, since kernels do not reach the memory
  kByKernel,
  kByEngine,  // where runs have no gaps
};

// One for all storages of a kind; says at its end what was not freed.
template <Swaps kSwaps>
FakeDevice& SharedDevice() {
  static FakeDevice device;
  device.is_prompt = kSwaps != Swaps::kPageable;
  return device;
}

template <Swaps kSwaps>
struct EmulatedBackend {
  static absl::StatusOr<std::unique_ptr<BlockStorage>> Create(
      const BlockStorageLayout& layout) {
    return CudaBlockStorage::Create(
        {.layout = layout,
         .copy_engine_from = Bytes(kSwaps == Swaps::kByKernel ? 1 << 20 : 1)},
        SharedDevice<kSwaps>());
  }
  static void Write(std::byte* address, std::span<const std::byte> bytes) {
    Move(address, bytes.data(), bytes.size());
  }
  static void Read(const std::byte* address, std::span<std::byte> bytes) {
    Move(bytes.data(), address, bytes.size());
  }
  static void Move(std::byte* to, const std::byte* from, std::size_t bytes) {
    FakeDevice& device = SharedDevice<kSwaps>();
    ASSERT_TRUE(
        device.Copy(to, from, static_cast<std::int64_t>(bytes), nullptr).ok());
    ASSERT_TRUE(device.Synchronize(nullptr).ok());
  }
};

using EmulatedBackends = ::testing::Types<EmulatedBackend<Swaps::kPageable>,
                                          EmulatedBackend<Swaps::kByKernel>,
                                          EmulatedBackend<Swaps::kByEngine>>;
INSTANTIATE_TYPED_TEST_SUITE_P(Emulated, BlockStorageTest, EmulatedBackends);

constexpr BlockSize kBlockSize{4};

BlockStorageLayout ThreeLayers(std::int64_t num_blocks) {
  return {.num_blocks = BlockCount(num_blocks),
          .groups = {{.block_size = kBlockSize,
                      .layers = std::vector<LayerLayout>(
                          3, {.bytes_per_block = Bytes(256)})}}};
}

std::unique_ptr<CudaBlockStorage> CreateOrDie(
    const cuda::CudaBlockStorageOptions& options, FakeDevice& device) {
  absl::StatusOr<std::unique_ptr<CudaBlockStorage>> storage =
      CudaBlockStorage::Create(options, device);
  if (!storage.ok()) {
    ADD_FAILURE() << storage.status();
    std::abort();
  }
  return *std::move(storage);
}

BlockSwap WholeSwap(std::int32_t block, std::int32_t swap_block) {
  return {0, BlockId(block), BlockId(swap_block), kBlockSize.value()};
}

void FillAll(BlockStorage& storage, std::byte value) {
  std::vector<BlockId> all;
  for (std::int32_t i = 0; i < storage.layout().num_blocks.value(); ++i) {
    all.push_back(BlockId(i));
  }
  ASSERT_TRUE(storage.FillBlocks(all, value).ok());
}

std::byte FirstByte(const BlockStorage& storage, int layer,
                    std::int32_t block) {
  const BlockArena arena = storage.arena(0, layer);
  return arena.base[arena.block_stride.value() * block];
}

TEST(EmulatedBlockStorageTest, AListIsOneLaunchUnlessItsEntriesDepend) {
  FakeDevice device;
  const auto storage = CreateOrDie({.layout = ThreeLayers(20)}, device);
  std::vector<BlockCopy> copies;
  for (std::int32_t i = 1; i < 10; ++i) {
    copies.push_back({0, BlockId(i), BlockId(i + 9), 4});
  }
  ASSERT_TRUE(storage->CopyBlocks(copies).ok());
  EXPECT_EQ(device.num_moves, 1);
  EXPECT_EQ(device.last_num_moves, 9);
  EXPECT_EQ(device.num_copies, 1);  // of the list
  copies.push_back({0, BlockId(18), BlockId(19), 4});
  ASSERT_TRUE(storage->CopyBlocks(copies).ok());
  EXPECT_EQ(device.num_moves, 3);
  ASSERT_TRUE(
      storage->FillBlocks(std::vector{BlockId(1), BlockId(2)}, std::byte{1})
          .ok());
  EXPECT_EQ(device.num_fills, 1);
}

// The device does nothing until it must. A list must be kept until then,
// however many come after it, and however long they are.
TEST(EmulatedBlockStorageTest, ListsWaitInTheRingUntilTheDeviceHasReadThem) {
  FakeDevice device;
  const auto storage = CreateOrDie({.layout = ThreeLayers(5000)}, device);
  FillAll(*storage, std::byte{0});
  std::vector<std::byte> expected(5000);
  std::mt19937_64 random(3);
  for (int round = 0; round < 60; ++round) {
    std::vector<BlockId> blocks(round % 20 == 19 ? 20000 : 1 + random() % 9);
    const auto value = static_cast<std::byte>(round);
    for (BlockId& block : blocks) {
      block = BlockId(static_cast<std::int32_t>(random() % 5000));
      expected[static_cast<std::size_t>(block.value())] = value;
    }
    if (blocks.size() == 20000) blocks.resize(20000, BlockId(0));
    ASSERT_TRUE(storage->FillBlocks(blocks, value).ok());
  }
  ASSERT_TRUE(storage->Synchronize().ok());
  for (std::int32_t block = 0; block < 5000; ++block) {
    ASSERT_EQ(FirstByte(*storage, 2, block),
              expected[static_cast<std::size_t>(block)])
        << block;
  }
}

TEST(EmulatedBlockStorageTest, SwapsWithPinnedMemoryDoNotWait) {
  FakeDevice device;
  const auto swap_space = *HostBlockStorage::Create({.layout = ThreeLayers(9)});
  FillAll(*swap_space, std::byte{9});
  const auto pinned = PinnedMemory::Create(swap_space->memory(), device);
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  const auto storage = CreateOrDie({.layout = ThreeLayers(6)}, device);
  FillAll(*storage, std::byte{5});
  const std::vector<BlockSwap> swaps = {WholeSwap(1, 8), WholeSwap(3, 2),
                                        WholeSwap(2, 0)};
  ASSERT_TRUE(storage->SwapOut(*swap_space, swaps).ok());
  EXPECT_EQ(FirstByte(*swap_space, 1, 8), std::byte{9});
  EXPECT_EQ(device.num_moves, 1);
  EXPECT_EQ(device.last_num_moves, 3);
  ASSERT_TRUE(storage->Synchronize().ok());
  for (std::int32_t block = 0; block < 9; ++block) {
    const bool was_swapped = block == 8 || block == 2 || block == 0;
    EXPECT_EQ(FirstByte(*swap_space, 1, block),
              was_swapped ? std::byte{5} : std::byte{9});
  }
  // Back to elsewhere.
  ASSERT_TRUE(
      swap_space->FillBlocks(std::vector{BlockId(4)}, std::byte{4}).ok());
  const BlockSwap back = WholeSwap(5, 4);
  ASSERT_TRUE(storage->SwapIn(*swap_space, {&back, 1}).ok());
  ASSERT_TRUE(storage->Synchronize().ok());
  EXPECT_EQ(FirstByte(*storage, 2, 5), std::byte{4});
}

TEST(EmulatedBlockStorageTest, LongRunsAreForTheEngineAndTheRestForTheKernel) {
  FakeDevice device;
  const auto swap_space =
      *HostBlockStorage::Create({.layout = ThreeLayers(20)});
  const auto pinned = PinnedMemory::Create(swap_space->memory(), device);
  ASSERT_TRUE(pinned.ok());
  const auto storage = CreateOrDie(
      {.layout = ThreeLayers(20), .copy_engine_from = Bytes(4 * 256)}, device);
  for (std::int32_t block = 0; block < 20; ++block) {
    ASSERT_TRUE(storage
                    ->FillBlocks(std::vector{BlockId(block)},
                                 static_cast<std::byte>(block))
                    .ok());
  }
  device.num_copies = 0;
  std::vector<BlockSwap> swaps;
  for (std::int32_t i = 0; i < 5; ++i)
    swaps.push_back(WholeSwap(2 + i, 10 + i));
  for (std::int32_t i = 0; i < 3; ++i) swaps.push_back(WholeSwap(8 + i, 1 + i));
  ASSERT_TRUE(storage->SwapOut(*swap_space, swaps).ok());
  EXPECT_EQ(device.num_copies, 3 + 1);  // a run in 3 layers, and a list
  EXPECT_EQ(device.num_moves, 1);
  EXPECT_EQ(device.last_num_moves, 3);
  ASSERT_TRUE(storage->Synchronize().ok());
  for (int layer = 0; layer < 3; ++layer) {
    for (const BlockSwap& swap : swaps) {
      EXPECT_EQ(FirstByte(*swap_space, layer, swap.swap_block.value()),
                static_cast<std::byte>(swap.block.value()));
    }
  }
}

TEST(EmulatedBlockStorageTest, OperationsAreQueuedOnTheStreamThatIsSet) {
  FakeDevice device;
  const auto storage = CreateOrDie({.layout = ThreeLayers(4)}, device);
  FillAll(*storage, std::byte{1});
  ASSERT_TRUE(storage->Synchronize().ok());
  const cuda::Stream other = device.CreateStream();
  storage->set_stream(other);
  FillAll(*storage, std::byte{2});
  ASSERT_TRUE(device.Synchronize(nullptr).ok());
  EXPECT_EQ(FirstByte(*storage, 0, 3), std::byte{1});
  ASSERT_TRUE(device.Synchronize(other).ok());
  EXPECT_EQ(FirstByte(*storage, 0, 3), std::byte{2});
}

TEST(EmulatedBlockStorageTest, AResizeThatFailsChangesNothing) {
  FakeDevice device;
  BlockStorageLayout layout = ThreeLayers(64);
  layout.max_num_blocks = BlockCount(6400);
  const auto storage = CreateOrDie({.layout = layout}, device);
  FillAll(*storage, std::byte{7});
  ASSERT_TRUE(storage->Synchronize().ok());
  const std::int64_t mapped = device.num_mapped();
  // Enough for one arena and a half.
  device.memory_left = 6400 * 256 * 3 / 2;
  const absl::Status status = storage->Resize(BlockCount(6400));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(device.num_mapped(), mapped);
  EXPECT_EQ(device.memory_left, 6400 * 256 * 3 / 2);
  EXPECT_EQ(storage->layout().num_blocks, BlockCount(64));
  EXPECT_EQ(FirstByte(*storage, 2, 63), std::byte{7});
}

// Work that was queued on blocks that go is done before they do: the fake says
// so where it is not.
TEST(EmulatedBlockStorageTest, AShrinkWaitsForWhatIsQueued) {
  FakeDevice device;
  BlockStorageLayout layout = ThreeLayers(640);
  layout.max_num_blocks = BlockCount(640);
  const auto storage = CreateOrDie({.layout = layout}, device);
  const std::int64_t mapped = device.num_mapped();
  FillAll(*storage, std::byte{7});
  ASSERT_TRUE(storage->Resize(BlockCount(3)).ok());
  EXPECT_LT(device.num_mapped(), mapped);
  EXPECT_EQ(FirstByte(*storage, 2, 2), std::byte{7});
}

TEST(EmulatedBlockStorageTest, RefusesSizesBelowZero) {
  FakeDevice device;
  for (const cuda::CudaBlockStorageOptions& options :
       {cuda::CudaBlockStorageOptions{.layout = ThreeLayers(4),
                                      .chunk = Bytes(-1)},
        cuda::CudaBlockStorageOptions{.layout = ThreeLayers(4),
                                      .copy_engine_from = Bytes(-1)}}) {
    EXPECT_EQ(CudaBlockStorage::Create(options, device).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pagedkv
