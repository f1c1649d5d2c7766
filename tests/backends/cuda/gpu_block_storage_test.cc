// SPDX-License-Identifier: Apache-2.0
//
// `CudaBlockStorage` on a GPU: the tests that every backend passes, and pinned
// memory.

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "backends/cuda/cuda_block_storage.h"
#include "backends/cuda/pinned_memory.h"
#include "pagedkv/host_block_storage.h"
#include "tests/support/block_storage_suite.h"

namespace pagedkv {
namespace {

using cuda::CudaApi;
using cuda::CudaBlockStorage;
using cuda::NumDevices;
using cuda::PinnedMemory;

struct GpuBackend {
  static const char* SkipReason() {
    return NumDevices() == 0 ? "no device" : nullptr;
  }
  static absl::StatusOr<std::unique_ptr<BlockStorage>> Create(
      const BlockStorageLayout& layout) {
    return CudaBlockStorage::Create({.layout = layout});
  }
  static void Write(std::byte* address, std::span<const std::byte> bytes) {
    Move(address, bytes.data(), bytes.size());
  }
  static void Read(const std::byte* address, std::span<std::byte> bytes) {
    Move(bytes.data(), address, bytes.size());
  }
  static void Move(std::byte* to, const std::byte* from, std::size_t bytes) {
    absl::Status status =
        CudaApi().Copy(to, from, static_cast<std::int64_t>(bytes), nullptr);
    if (status.ok()) status = CudaApi().Synchronize(nullptr);
    ASSERT_TRUE(status.ok()) << status;
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Gpu, BlockStorageTest, GpuBackend);

BlockStorageLayout SomeLayers(std::int64_t num_blocks, std::int64_t bytes) {
  return {.num_blocks = BlockCount(num_blocks),
          .groups = {{.block_size = BlockSize(16),
                      .layers = std::vector<LayerLayout>(
                          5, {.bytes_per_block = Bytes(bytes)})}}};
}

std::vector<std::byte> RandomBytes(std::size_t bytes, std::mt19937_64& random) {
  std::vector<std::byte> result(bytes);
  for (std::byte& byte : result) byte = static_cast<std::byte>(random() & 0xff);
  return result;
}

// Out to pinned memory and back to other blocks, by the kernel and by the
// engine, with parts of blocks.
TEST(CudaBlockStorageTest, SwapsWithPinnedMemoryEqualTheHosts) {
  if (NumDevices() == 0) GTEST_SKIP() << "no device";
  std::mt19937_64 random(20241125);
  for (const std::int64_t bytes : {16L, 48L, 4096L, 16L << 10, 80L << 10}) {
    const BlockStorageLayout layout = SomeLayers(20, bytes);
    const auto swap_space = *HostBlockStorage::Create({.layout = layout});
    const auto pinned = PinnedMemory::Create(swap_space->memory());
    ASSERT_TRUE(pinned.ok()) << pinned.status();
    const auto storage = CudaBlockStorage::Create(
        {.layout = layout, .copy_engine_from = Bytes(64 << 10)});
    ASSERT_TRUE(storage.ok()) << storage.status();
    const auto host = *HostBlockStorage::Create({.layout = layout});
    const auto host_space = *HostBlockStorage::Create({.layout = layout});
    const auto arena_bytes = static_cast<std::size_t>(20 * bytes);
    for (int k = 0; k < 5; ++k) {
      const auto content = RandomBytes(arena_bytes, random);
      GpuBackend::Write((*storage)->arena(0, k).base, content);
      std::copy(content.begin(), content.end(), host->arena(0, k).base);
      std::fill_n(swap_space->arena(0, k).base, arena_bytes, std::byte{1});
      std::fill_n(host_space->arena(0, k).base, arena_bytes, std::byte{1});
    }
    for (int round = 0; round < 20; ++round) {
      std::vector<BlockSwap> swaps;
      for (int i = 0; i < 6; ++i) {
        swaps.push_back(
            {0, BlockId(static_cast<std::int32_t>(1 + random() % 19)),
             BlockId(static_cast<std::int32_t>(random() % 20)),
             random() % 3 == 0 ? static_cast<std::int32_t>(random() % 17)
                               : 16});
      }
      for (int i = 0; i < 8; ++i) {
        swaps.push_back({0, BlockId(3 + i), BlockId(9 + i), 16});
      }
      if (round % 2 == 0) {
        ASSERT_TRUE((*storage)->SwapOut(*swap_space, swaps).ok());
        ASSERT_TRUE(host->SwapOut(*host_space, swaps).ok());
      } else {
        ASSERT_TRUE((*storage)->SwapIn(*swap_space, swaps).ok());
        ASSERT_TRUE(host->SwapIn(*host_space, swaps).ok());
      }
    }
    ASSERT_TRUE((*storage)->Synchronize().ok());
    for (int k = 0; k < 5; ++k) {
      std::vector<std::byte> content(arena_bytes);
      GpuBackend::Read((*storage)->arena(0, k).base, content);
      EXPECT_TRUE(
          std::equal(content.begin(), content.end(), host->arena(0, k).base));
      EXPECT_TRUE(std::equal(swap_space->arena(0, k).base,
                             swap_space->arena(0, k).base + arena_bytes,
                             host_space->arena(0, k).base));
    }
  }
}

}  // namespace
}  // namespace pagedkv
