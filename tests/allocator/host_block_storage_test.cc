// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/host_block_storage.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
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

TEST(HostBlockStorageTest, LogsOneLineWhereHugePagesAreNotToBeHad) {
  std::ostringstream log;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(log);
  spdlog::register_logger(std::make_shared<spdlog::logger>("pagedkv", sink));
  const auto huge = HostBlockStorage::Create(
      {.layout = ThreeArenasOf3MiB(), .huge_pages = true});
  const auto small = HostBlockStorage::Create({.layout = ThreeArenasOf3MiB()});
  spdlog::drop("pagedkv");
  ASSERT_TRUE(huge.ok() && small.ok());
  const std::string lines = log.str();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'),
            (*huge)->page_kind() == PageKind::kReservedHuge ? 0 : 1)
      << lines;
}

}  // namespace
}  // namespace pagedkv
