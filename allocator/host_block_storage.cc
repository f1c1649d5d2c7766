// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/host_block_storage.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"

#include "allocator/swap_runs.h"
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

constexpr int kMaxNumaNodes = 1024;

// Asks for the node's memory as long as it has any. By the system call: libnuma
// is one more library for one call.
bool TryPreferNode(void* address, std::size_t bytes, int node) {
  constexpr std::size_t kBits = 8 * sizeof(unsigned long);
  std::array<unsigned long, kMaxNumaNodes / kBits> nodes{};
  const auto bit = static_cast<std::size_t>(node);
  nodes[bit / kBits] |= 1UL << (bit % kBits);
  return syscall(SYS_mbind, address, bytes, MPOL_PREFERRED, nodes.data(),
                 static_cast<unsigned long>(kMaxNumaNodes + 1), 0U) == 0;
}

absl::Status CheckOptions(const HostBlockStorageOptions& options) {
  const std::int64_t alignment = options.alignment.value();
  if (alignment < 0 ||
      (alignment > 0 &&
       !std::has_single_bit(static_cast<std::uint64_t>(alignment))) ||
      alignment > std::int64_t{1} << 40) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "alignment is %d bytes; give a power of two up to 2^40, or 0",
        alignment));
  }
  if (options.numa_node < -1 || options.numa_node >= kMaxNumaNodes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("numa_node is %d; give 0 to %d, or -1 for any",
                        options.numa_node, kMaxNumaNodes - 1));
  }
  return absl::OkStatus();
}

std::byte* Address(const BlockArena& arena, BlockId block) {
  return arena.base + arena.block_stride.value() * block.value();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBlockStorage>> HostBlockStorage::Create(
    const HostBlockStorageOptions& options) {
  const BlockStorageLayout& layout = options.layout;
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const absl::StatusOr<std::vector<Bytes>> strides = ArenaStrides(layout);
  if (!strides.ok()) return strides.status();
  const BlockCount most = MaxNumBlocks(layout);
  std::vector<Bytes> arena_bytes;
  Bytes total;
  for (const Bytes stride : *strides) {
    arena_bytes.push_back(stride * most.value());
    total += arena_bytes.back();
  }
  const auto no_memory = [&] {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no memory for %d bytes (%d blocks in %d arenas): %s", total.value(),
        most.value(), strides->size(), std::strerror(errno)));
  };
  const Mapping mapping = MapBest(arena_bytes, options);
  if (mapping.address == nullptr) return no_memory();
  if (options.huge_pages && mapping.page_kind != PageKind::kReservedHuge) {
    internal::Log(internal::LogLevel::kWarning,
                  mapping.page_kind == PageKind::kTransparentHuge
                      ? "block storage: too few huge pages are reserved; the "
                        "kernel may provide transparent ones"
                      : "block storage: no huge pages to be had, small ones "
                        "are used");
  }
  if (options.numa_node != mapping.numa_node) {
    internal::Log(internal::LogLevel::kWarning,
                  absl::StrFormat("block storage: memory of NUMA node %d is "
                                  "not to be had, that of any is used",
                                  options.numa_node));
  }
  const auto start = reinterpret_cast<std::intptr_t>(mapping.address);
  std::int64_t offset = RoundUp(start, mapping.alignment) - start;
  std::vector<BlockArena> arenas;
  for (std::size_t k = 0; k < strides->size(); ++k) {
    arenas.push_back(
        {static_cast<std::byte*>(mapping.address) + offset, (*strides)[k]});
    offset += RoundUp(arena_bytes[k].value(), mapping.alignment);
  }
  auto storage = absl::WrapUnique(
      new HostBlockStorage(layout, std::move(arenas), mapping));
  if (layout.max_num_blocks > BlockCount(0)) {
    for (std::size_t k = 0; k < strides->size(); ++k) {
      const std::size_t bytes =
          storage->CommittedBytes(storage->arenas()[k], layout.num_blocks);
      if (!storage->TryCommit(k, 0, bytes)) return no_memory();
    }
  }
  return storage;
}

HostBlockStorage::HostBlockStorage(const BlockStorageLayout& layout,
                                   std::vector<BlockArena> arenas,
                                   const Mapping& mapping)
    : BlockStorage(layout, std::move(arenas)), mapping_(mapping) {}

HostBlockStorage::~HostBlockStorage() {
  PAGEDKV_CHECK(munmap(mapping_.address, mapping_.bytes) == 0);
}

HostBlockStorage::Mapping HostBlockStorage::Map(
    std::span<const Bytes> arena_bytes, PageKind kind, std::int64_t page_size,
    Bytes alignment, bool resized) {
  Mapping mapping{.page_kind = kind,
                  .page_size = page_size,
                  .alignment = std::max(page_size, alignment.value())};
  std::int64_t bytes = 0;
  for (const Bytes arena : arena_bytes) {
    bytes += RoundUp(arena.value(), mapping.alignment);
  }
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | (resized ? MAP_NORESERVE : 0);
  // mmap aligns to huge pages only where they are reserved ones.
  std::int64_t had = sysconf(_SC_PAGESIZE);
  if (kind == PageKind::kReservedHuge) {
    const int log2 = std::countr_zero(static_cast<std::uint64_t>(page_size));
    flags |= MAP_HUGETLB | (log2 << MAP_HUGE_SHIFT);
    had = page_size;
  }
  if (mapping.alignment > had) bytes += mapping.alignment;
  mapping.bytes = static_cast<std::size_t>(bytes);
  const int access = resized ? PROT_NONE : PROT_READ | PROT_WRITE;
  void* address = mmap(nullptr, mapping.bytes, access, flags, -1, 0);
  if (address == MAP_FAILED) return {};
  if (kind == PageKind::kTransparentHuge &&
      madvise(address, mapping.bytes, MADV_HUGEPAGE) != 0) {
    munmap(address, mapping.bytes);
    return {};
  }
  mapping.address = address;
  return mapping;
}

HostBlockStorage::Mapping HostBlockStorage::MapBest(
    std::span<const Bytes> arena_bytes,
    const HostBlockStorageOptions& options) {
  const bool resized = options.layout.max_num_blocks > BlockCount(0);
  const auto map = [&](PageKind kind, std::int64_t page_size) {
    return Map(arena_bytes, kind, page_size, options.alignment, resized);
  };
  Mapping mapping;
  if (const std::int64_t size = options.huge_pages ? HugePageSize() : 0;
      size > 0) {
    if (!resized) mapping = map(PageKind::kReservedHuge, size);
    if (mapping.address == nullptr && TransparentHugePagesAllowed()) {
      mapping = map(PageKind::kTransparentHuge, size);
    }
  }
  if (mapping.address == nullptr) {
    mapping = map(PageKind::kSmall, sysconf(_SC_PAGESIZE));
  }
  if (mapping.address != nullptr && options.numa_node >= 0 &&
      TryPreferNode(mapping.address, mapping.bytes, options.numa_node)) {
    mapping.numa_node = options.numa_node;
  }
  return mapping;
}

std::vector<std::span<std::byte>> HostBlockStorage::memory() const {
  std::vector<std::span<std::byte>> ranges;
  for (const BlockArena& arena : arenas()) {
    ranges.emplace_back(arena.base, CommittedBytes(arena, layout().num_blocks));
  }
  return ranges;
}

std::size_t HostBlockStorage::CommittedBytes(const BlockArena& arena,
                                             BlockCount num_blocks) const {
  return static_cast<std::size_t>(RoundUp(
      (arena.block_stride * num_blocks.value()).value(), mapping_.page_size));
}

// Makes the bytes [from, to) of an arena memory. What is known of their pages
// was lost if they had been given back.
bool HostBlockStorage::TryCommit(std::size_t arena, std::size_t from,
                                 std::size_t to) const {
  if (from >= to) return true;
  std::byte* const address = arenas()[arena].base + from;
  if (mprotect(address, to - from, PROT_READ | PROT_WRITE) != 0) return false;
  if (mapping_.page_kind == PageKind::kTransparentHuge) {
    static_cast<void>(madvise(address, to - from, MADV_HUGEPAGE));
  }
  if (mapping_.numa_node >= 0) {
    static_cast<void>(TryPreferNode(address, to - from, mapping_.numa_node));
  }
  return true;
}

// A new mapping in the place of the old one gives back what the kernel had
// promised as well as what it had given. Where there are too many mappings for
// one more, the memory goes, and only the promise stays.
void HostBlockStorage::GiveBack(std::size_t arena, std::size_t from,
                                std::size_t to) const {
  if (from >= to) return;
  std::byte* const address = arenas()[arena].base + from;
  if (mmap(address, to - from, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
           0) == MAP_FAILED) {
    PAGEDKV_CHECK(madvise(address, to - from, MADV_DONTNEED) == 0);
  }
}

absl::Status HostBlockStorage::DoResize(BlockCount num_blocks) {
  for (std::size_t k = 0; k < arenas().size(); ++k) {
    const std::size_t old = CommittedBytes(arenas()[k], layout().num_blocks);
    const std::size_t wanted = CommittedBytes(arenas()[k], num_blocks);
    GiveBack(k, wanted, old);
    if (TryCommit(k, old, wanted)) continue;
    const int error = errno;
    for (std::size_t done = 0; done < k; ++done) {
      const BlockArena& arena = arenas()[done];
      GiveBack(done, CommittedBytes(arena, layout().num_blocks),
               CommittedBytes(arena, num_blocks));
    }
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no memory to grow from %d to %d blocks: %s",
        layout().num_blocks.value(), num_blocks.value(), std::strerror(error)));
  }
  return absl::OkStatus();
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

absl::Status HostBlockStorage::DoSwap(BlockStorage& swap_space,
                                      std::span<const BlockSwap> swaps,
                                      SwapDirection direction) {
  while (!swaps.empty()) {
    const SwapRun run = TakeRun(swaps, layout().groups);
    const GroupLayout& group =
        layout().groups[static_cast<std::size_t>(run.group)];
    for (std::size_t k = 0; k < group.layers.size(); ++k) {
      const BlockArena& here = arenas()[k];
      const BlockArena there = swap_space.arena(run.group, static_cast<int>(k));
      const Bytes bytes = group.CopyBytes(k, run.num_tokens);
      // Where the blocks of another group are larger, there is a gap behind
      // each of this one's.
      const bool is_dense = bytes == here.block_stride;
      const std::int32_t count = is_dense ? 1 : run.num_blocks;
      for (std::int32_t i = 0; i < count; ++i) {
        std::byte* const block = Address(here, BlockId(run.block.value() + i));
        std::byte* const swap_block =
            Address(there, BlockId(run.swap_block.value() + i));
        const bool is_out = direction == SwapDirection::kOut;
        std::memcpy(is_out ? swap_block : block, is_out ? block : swap_block,
                    static_cast<std::size_t>(bytes.value() *
                                             (is_dense ? run.num_blocks : 1)));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
