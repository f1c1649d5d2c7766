// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/host_block_storage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"

#include "base/check.h"
#include "base/log.h"

namespace pagedkv {
namespace {

constexpr char kTransparentHugePages[] = "/sys/kernel/mm/transparent_hugepage/";

// The size of huge pages, or 0 where the kernel has none.
std::int64_t HugePageSize() {
  std::ifstream file(std::string(kTransparentHugePages) + "hpage_pmd_size");
  std::int64_t size = 0;
  return file >> size && std::has_single_bit(static_cast<std::uint64_t>(size))
             ? size
             : 0;
}

// madvise succeeds even where the administrator has switched them off.
bool TransparentHugePagesAllowed() {
  std::ifstream file(std::string(kTransparentHugePages) + "enabled");
  std::string line;
  return std::getline(file, line) && line.find("[never]") == std::string::npos;
}

constexpr std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::byte* Address(const BlockArena& arena, BlockId block) {
  return arena.base + arena.block_stride.value() * block.value();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBlockStorage>> HostBlockStorage::Create(
    const HostBlockStorageOptions& options) {
  const BlockStorageLayout& layout = options.layout;
  const absl::StatusOr<std::vector<Bytes>> strides = ArenaStrides(layout);
  if (!strides.ok()) return strides.status();
  std::vector<Bytes> arena_bytes;
  Bytes total;
  for (const Bytes stride : *strides) {
    arena_bytes.push_back(stride * layout.num_blocks.value());
    total += arena_bytes.back();
  }
  const Mapping mapping = MapBest(arena_bytes, options.huge_pages);
  if (mapping.address == nullptr) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no memory for %d bytes (%d blocks in %d arenas): %s", total.value(),
        layout.num_blocks.value(), strides->size(), std::strerror(errno)));
  }
  if (options.huge_pages && mapping.page_kind != PageKind::kReservedHuge) {
    internal::Log(internal::LogLevel::kWarning,
                  mapping.page_kind == PageKind::kTransparentHuge
                      ? "block storage: too few huge pages are reserved; the "
                        "kernel may provide transparent ones"
                      : "block storage: no huge pages to be had, small ones "
                        "are used");
  }
  const auto start = reinterpret_cast<std::intptr_t>(mapping.address);
  std::int64_t offset = RoundUp(start, mapping.page_size) - start;
  std::vector<BlockArena> arenas;
  for (std::size_t k = 0; k < strides->size(); ++k) {
    arenas.push_back(
        {static_cast<std::byte*>(mapping.address) + offset, (*strides)[k]});
    offset += RoundUp(arena_bytes[k].value(), mapping.page_size);
  }
  return absl::WrapUnique(
      new HostBlockStorage(layout, std::move(arenas), mapping));
}

HostBlockStorage::HostBlockStorage(const BlockStorageLayout& layout,
                                   std::vector<BlockArena> arenas,
                                   const Mapping& mapping)
    : BlockStorage(layout, std::move(arenas)), mapping_(mapping) {}

HostBlockStorage::~HostBlockStorage() {
  PAGEDKV_CHECK(munmap(mapping_.address, mapping_.bytes) == 0);
}

HostBlockStorage::Mapping HostBlockStorage::Map(
    std::span<const Bytes> arena_bytes, PageKind kind, std::int64_t page_size) {
  std::int64_t bytes = 0;
  for (const Bytes arena : arena_bytes) {
    bytes += RoundUp(arena.value(), page_size);
  }
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  if (kind == PageKind::kReservedHuge) {
    const int log2 = std::countr_zero(static_cast<std::uint64_t>(page_size));
    flags |= MAP_HUGETLB | (log2 << MAP_HUGE_SHIFT);
  } else if (kind == PageKind::kTransparentHuge) {
    bytes += page_size;  // mmap aligns to small pages only
  }
  const auto size = static_cast<std::size_t>(bytes);
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (address == MAP_FAILED) return {};
  if (kind == PageKind::kTransparentHuge &&
      madvise(address, size, MADV_HUGEPAGE) != 0) {
    munmap(address, size);
    return {};
  }
  return {address, size, kind, page_size};
}

HostBlockStorage::Mapping HostBlockStorage::MapBest(
    std::span<const Bytes> arena_bytes, bool huge_pages) {
  Mapping mapping;
  if (const std::int64_t size = huge_pages ? HugePageSize() : 0; size > 0) {
    mapping = Map(arena_bytes, PageKind::kReservedHuge, size);
    if (mapping.address == nullptr && TransparentHugePagesAllowed()) {
      mapping = Map(arena_bytes, PageKind::kTransparentHuge, size);
    }
  }
  if (mapping.address == nullptr) {
    mapping = Map(arena_bytes, PageKind::kSmall, sysconf(_SC_PAGESIZE));
  }
  return mapping;
}

absl::Status HostBlockStorage::DoCopyBlocks(std::span<const BlockCopy> copies) {
  for (const BlockCopy& copy : copies) {
    const GroupLayout& group =
        layout().groups[static_cast<std::size_t>(copy.group)];
    for (std::size_t k = 0; k < group.layers.size(); ++k) {
      const BlockArena& arena = arenas()[k];
      std::memcpy(Address(arena, copy.destination), Address(arena, copy.source),
                  static_cast<std::size_t>(
                      group.CopyBytes(k, copy.num_tokens).value()));
    }
  }
  return absl::OkStatus();
}

absl::Status HostBlockStorage::DoFillBlocks(std::span<const BlockId> blocks,
                                            std::byte value) {
  for (const BlockArena& arena : arenas()) {
    for (const BlockId block : blocks) {
      std::memset(Address(arena, block), std::to_integer<int>(value),
                  static_cast<std::size_t>(arena.block_stride.value()));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
