// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/virtual_range.h"

#include <random>

#include "gtest/gtest.h"

#include "tests/backends/cuda/fake_device.h"

namespace pagedkv::cuda {
namespace {

constexpr std::int64_t kChunk = FakeDevice::kGranularity;

TEST(VirtualRangeTest, CommitsWholeChunksAndNoMore) {
  FakeDevice device;
  const std::int64_t memory = device.memory_left;
  {
    auto range = VirtualRange::Reserve(device, 10 * kChunk - 5, 0);
    ASSERT_TRUE(range.ok()) << range.status();
    EXPECT_EQ(range->chunk_bytes(), kChunk);
    EXPECT_EQ(device.memory_left, memory);
    std::mt19937_64 random(1);
    for (int round = 0; round < 100; ++round) {
      const auto bytes = static_cast<std::int64_t>(
          random() % static_cast<std::uint64_t>(10 * kChunk - 4));
      const std::int64_t chunks = (bytes + kChunk - 1) / kChunk;
      const std::int64_t kept = std::min(range->committed(), chunks * kChunk);
      for (std::int64_t i = 0; i < kept; i += 1000) {
        range->address()[i] = static_cast<std::byte>(i / 1000);
      }
      ASSERT_TRUE(range->Commit(bytes).ok());
      ASSERT_EQ(range->committed(), chunks * kChunk);
      ASSERT_EQ(device.num_mapped(), chunks);
      ASSERT_EQ(device.memory_left, memory - chunks * kChunk);
      for (std::int64_t i = 0; i < kept; i += 1000) {
        ASSERT_EQ(range->address()[i], static_cast<std::byte>(i / 1000));
      }
    }
  }
  EXPECT_EQ(device.memory_left, memory);
}

TEST(VirtualRangeTest, RoundsChunksUpToTheGranularity) {
  FakeDevice device;
  const auto range = VirtualRange::Reserve(device, 1, 2 * kChunk + 1);
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->chunk_bytes(), 3 * kChunk);
}

TEST(VirtualRangeTest, AGrowthThatFailsLeavesAllAsItWas) {
  FakeDevice device;
  auto range = VirtualRange::Reserve(device, 8 * kChunk, 0);
  ASSERT_TRUE(range.ok() && range->Commit(2 * kChunk).ok());
  const std::int64_t memory = device.memory_left;
  const auto expect_unchanged = [&](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(range->committed(), 2 * kChunk);
    EXPECT_EQ(device.num_mapped(), 2);
    EXPECT_EQ(device.memory_left, memory);
    range->address()[2 * kChunk - 1] = std::byte{1};
  };
  device.memory_left = 3 * kChunk;
  expect_unchanged([&] {
    const absl::Status status = range->Commit(8 * kChunk);
    EXPECT_EQ(device.memory_left, 3 * kChunk);
    device.memory_left = memory;
    return status;
  }());
  device.map_failures_in = 2;
  expect_unchanged(range->Commit(8 * kChunk));
  device.allow_failures_in = 0;
  expect_unchanged(range->Commit(8 * kChunk));
  EXPECT_TRUE(range->Commit(8 * kChunk).ok());
}

}  // namespace
}  // namespace pagedkv::cuda
