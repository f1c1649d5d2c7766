// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/host_block_storage.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

#include "tests/support/block_storage_suite.h"

namespace pagedkv {
namespace {

template <bool kHugePages>
struct HostBackend {
  static absl::StatusOr<std::unique_ptr<BlockStorage>> Create(
      const BlockStorageLayout& layout) {
    return HostBlockStorage::Create(
        {.layout = layout, .huge_pages = kHugePages});
  }
  static void Write(std::byte* address, std::span<const std::byte> bytes) {
    std::memcpy(address, bytes.data(), bytes.size());
  }
  static void Read(const std::byte* address, std::span<std::byte> bytes) {
    std::memcpy(bytes.data(), address, bytes.size());
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Host, BlockStorageTest, HostBackend<false>);
INSTANTIATE_TYPED_TEST_SUITE_P(HostHugePages, BlockStorageTest,
                               HostBackend<true>);

constexpr std::int64_t kMiB = 1 << 20;

BlockStorageLayout ThreeArenasOf3MiB() {
  return {.num_blocks = BlockCount(3),
          .groups = {{.block_size = BlockSize(16),
                      .layers = std::vector<LayerLayout>(
                          3, {.bytes_per_block = Bytes(kMiB)})}}};
}

// The flags of the mapping that `address` lies in, as the kernel has them.
std::string KernelFlags(const std::byte* address) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(smaps, line)) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) ==
        2) {
      const auto value = reinterpret_cast<std::uintptr_t>(address);
      inside = begin <= value && value < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line + ' ';
    }
  }
  return "";
}

TEST(HostBlockStorageTest, ArenasStartOnPagesOfTheKindThatItReports) {
  for (const bool huge_pages : {false, true}) {
    const auto storage = HostBlockStorage::Create(
        {.layout = ThreeArenasOf3MiB(), .huge_pages = huge_pages});
    ASSERT_TRUE(storage.ok()) << storage.status();
    if (!huge_pages) {
      EXPECT_EQ((*storage)->page_kind(), PageKind::kSmall);
    }
    const std::string flags = KernelFlags((*storage)->arena(0, 2).base);
    if (!flags.empty()) {
      EXPECT_EQ((*storage)->page_kind() == PageKind::kTransparentHuge,
                flags.find(" hg ") != std::string::npos)
          << flags;
      EXPECT_EQ((*storage)->page_kind() == PageKind::kReservedHuge,
                flags.find(" ht ") != std::string::npos)
          << flags;
    }
    for (int layer = 0; layer < 3; ++layer) {
      EXPECT_EQ(
          reinterpret_cast<std::uintptr_t>((*storage)->arena(0, layer).base) %
              static_cast<std::uint64_t>((*storage)->page_size().value()),
          0u);
    }
  }
}

// What the library logs while `body` runs.
template <typename Body>
std::string LogOf(Body body) {
  std::ostringstream log;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(log);
  spdlog::register_logger(std::make_shared<spdlog::logger>("pagedkv", sink));
  body();
  spdlog::drop("pagedkv");
  return log.str();
}

TEST(HostBlockStorageTest, LogsOneLineWhereHugePagesAreNotToBeHad) {
  absl::StatusOr<std::unique_ptr<HostBlockStorage>> huge;
  absl::StatusOr<std::unique_ptr<HostBlockStorage>> small;
  const std::string lines = LogOf([&] {
    huge = HostBlockStorage::Create(
        {.layout = ThreeArenasOf3MiB(), .huge_pages = true});
    small = HostBlockStorage::Create({.layout = ThreeArenasOf3MiB()});
  });
  ASSERT_TRUE(huge.ok() && small.ok());
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'),
            (*huge)->page_kind() == PageKind::kReservedHuge ? 0 : 1)
      << lines;
}

// Bytes of the mapping's pages that are in memory.
std::int64_t ResidentBytes(const HostBlockStorage& storage, int layer) {
  const BlockArena arena = storage.arena(0, layer);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto bytes = static_cast<std::size_t>(arena.block_stride.value() *
                                              storage.max_num_blocks().value());
  std::vector<unsigned char> pages(bytes / page);
  if (mincore(arena.base, pages.size() * page, pages.data()) != 0) return -1;
  return std::count_if(pages.begin(), pages.end(),
                       [](unsigned char state) { return state % 2 != 0; }) *
         static_cast<std::int64_t>(page);
}

// Of the process, in anonymous memory.
std::int64_t ProcessBytes() {
  std::ifstream status("/proc/self/status");
  std::string name;
  while (status >> name) {
    std::int64_t kib = 0;
    if (name == "RssAnon:" && status >> kib) return kib * 1024;
    std::getline(status, name);
  }
  return -1;
}

TEST(HostBlockStorageTest, AShrunkStorageGivesItsMemoryBack) {
  BlockStorageLayout layout = ThreeArenasOf3MiB();
  layout.max_num_blocks = BlockCount(64);
  const auto created = HostBlockStorage::Create({.layout = layout});
  ASSERT_TRUE(created.ok()) << created.status();
  HostBlockStorage& storage = **created;
  const auto fill = [&storage] {
    std::vector<BlockId> all;
    for (std::int32_t i = 0; i < storage.layout().num_blocks.value(); ++i) {
      all.push_back(BlockId(i));
    }
    return storage.FillBlocks(all, std::byte{1});
  };
  ASSERT_TRUE(fill().ok());
  const std::int64_t process_before = ProcessBytes();
  const auto expect_resident = [&storage](std::int64_t blocks) {
    for (int layer = 0; layer < 3; ++layer) {
      const std::int64_t bytes = ResidentBytes(storage, layer);
      if (bytes >= 0) {
        EXPECT_EQ(bytes, blocks * kMiB);
      }
      EXPECT_EQ(std::ssize(storage.memory()[static_cast<std::size_t>(layer)]),
                blocks * kMiB);
    }
  };
  expect_resident(3);
  ASSERT_TRUE(storage.Resize(BlockCount(64)).ok());
  ASSERT_TRUE(fill().ok());
  expect_resident(64);
  const std::int64_t process_grown = ProcessBytes();
  ASSERT_TRUE(storage.Resize(BlockCount(2)).ok());
  expect_resident(2);
  if (process_before >= 0) {
    // What else the process does meanwhile aside.
    EXPECT_GE(process_grown - process_before, 3 * 58 * kMiB);
    EXPECT_LE(ProcessBytes(), process_before + 3 * kMiB);
  }
}

TEST(HostBlockStorageTest, APageIsKeptWhileABlockThatStaysHasAPartOfIt) {
  const auto created = HostBlockStorage::Create(
      {.layout = {.num_blocks = BlockCount(100),
                  .groups = {{.block_size = BlockSize(1),
                              .layers = {{.bytes_per_block = Bytes(100)}}}},
                  .max_num_blocks = BlockCount(100)}});
  ASSERT_TRUE(created.ok()) << created.status();
  HostBlockStorage& storage = **created;
  const std::int64_t page = storage.page_size().value();
  for (std::int32_t blocks = 99; blocks >= 1; --blocks) {
    const BlockId last(blocks - 1);
    ASSERT_TRUE(storage.FillBlocks({&last, 1}, std::byte{7}).ok());
    ASSERT_TRUE(storage.Resize(BlockCount(blocks)).ok());
    EXPECT_EQ(std::ssize(storage.memory()[0]),
              (blocks * 100 + page - 1) / page * page);
    const std::byte* const bytes =
        storage.arena(0, 0).base + last.value() * 100;
    EXPECT_EQ(std::count(bytes, bytes + 100, std::byte{7}), 100);
  }
}

TEST(HostBlockStorageTest, WhatIsReservedOnlyCannotBeTouched) {
  BlockStorageLayout layout = ThreeArenasOf3MiB();
  layout.max_num_blocks = BlockCount(4);
  const auto storage = HostBlockStorage::Create({.layout = layout});
  ASSERT_TRUE(storage.ok()) << storage.status();
  std::byte* const base = (*storage)->arena(0, 1).base;
  EXPECT_DEATH(base[3 * kMiB] = std::byte{1}, "");
  ASSERT_TRUE((*storage)->Resize(BlockCount(4)).ok());
  base[3 * kMiB] = std::byte{1};
  ASSERT_TRUE((*storage)->Resize(BlockCount(1)).ok());
  EXPECT_DEATH(base[kMiB] = std::byte{1}, "");
}

TEST(HostBlockStorageTest, ArenasAreAlignedAsAskedFor) {
  for (const std::int64_t alignment : {1LL, 64LL, 1LL << 16, 1LL << 24}) {
    const auto storage = HostBlockStorage::Create(
        {.layout = ThreeArenasOf3MiB(), .alignment = Bytes(alignment)});
    ASSERT_TRUE(storage.ok()) << storage.status();
    for (int layer = 0; layer < 3; ++layer) {
      EXPECT_EQ(
          reinterpret_cast<std::uintptr_t>((*storage)->arena(0, layer).base) %
              static_cast<std::uint64_t>(alignment),
          0u);
    }
  }
  for (const std::int64_t alignment : {-1LL, 3LL, 96LL, 1LL << 41}) {
    EXPECT_EQ(HostBlockStorage::Create({.layout = ThreeArenasOf3MiB(),
                                        .alignment = Bytes(alignment)})
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(HostBlockStorageTest, TakesTheMemoryOfANumaNodeOrSaysThatItCannot) {
  // The first node is there wherever the kernel knows of any.
  for (const int node : {0, 1000}) {
    std::unique_ptr<HostBlockStorage> storage;
    const std::string log = LogOf([&] {
      BlockStorageLayout layout = ThreeArenasOf3MiB();
      layout.max_num_blocks = BlockCount(8);
      storage =
          *HostBlockStorage::Create({.layout = layout, .numa_node = node});
    });
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'),
              storage->numa_node() == node ? 0 : 1)
        << log;
    EXPECT_TRUE(storage->numa_node() == node || storage->numa_node() == -1);
    if (node == 1000) {
      EXPECT_EQ(storage->numa_node(), -1);
    }
    ASSERT_TRUE(storage->Resize(BlockCount(8)).ok());
    ASSERT_TRUE(
        storage->FillBlocks(std::vector{BlockId(7)}, std::byte{1}).ok());
    if (storage->numa_node() != 0) continue;
    for (const std::span<std::byte> range : storage->memory()) {
      int found = -1;
      constexpr unsigned long kNodeOfAddress = 1 | 2;  // MPOL_F_NODE | _ADDR
      std::byte* const address = &range[7 * kMiB];
      if (syscall(SYS_get_mempolicy, &found, nullptr, 0UL, address,
                  kNodeOfAddress) == 0) {
        EXPECT_EQ(found, 0);
      }
    }
  }
  for (const int node : {-2, 1024}) {
    EXPECT_EQ(HostBlockStorage::Create(
                  {.layout = ThreeArenasOf3MiB(), .numa_node = node})
                  .status()
                  .code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pagedkv
