// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_HOST_BLOCK_STORAGE_H_
#define PAGEDKV_HOST_BLOCK_STORAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/types.h"

namespace pagedkv {

struct HostBlockStorageOptions {
  BlockStorageLayout layout;
  /// Ask for huge pages: fewer TLB misses where blocks are spread over many
  /// gigabytes, against up to one huge page lost per arena. What the system
  /// does not give is not an error: see `HostBlockStorage::page_kind`.
  bool huge_pages = false;
  /// Arenas start at multiples of it: a power of two. In any case they start on
  /// a page, whose size serves where this is less.
  Bytes alignment{0};
  /// The NUMA node that the memory is to be of, as long as it has any; -1:
  /// whichever the kernel chooses. That it cannot be had is not an error: see
  /// `HostBlockStorage::numa_node`.
  int numa_node = -1;
};

enum class PageKind {
  kSmall,
  /// The kernel puts huge pages where it finds them (MADV_HUGEPAGE).
  kTransparentHuge,
  /// Huge pages that the administrator had reserved (MAP_HUGETLB). Not for a
  /// storage that is resized: they are taken at once.
  kReservedHuge,
};

/// Blocks in the memory of the host: the reference for every other backend.
/// Addresses are reserved at once as one mapping, with room for
/// `max_num_blocks` in each arena; what lies behind `num_blocks` may not be
/// touched. The rest is committed by the kernel page by page when first
/// written. Each arena starts on a page. Thread-compatible.
class HostBlockStorage final : public BlockStorage {
 public:
  /// InvalidArgument for what is no layout, and for another option that is out
  /// of its range; ResourceExhausted, with the size, if the system refuses the
  /// memory. With huge pages or a NUMA node wanted and not had, it logs one
  /// line for each.
  static absl::StatusOr<std::unique_ptr<HostBlockStorage>> Create(
      const HostBlockStorageOptions& options);
  ~HostBlockStorage() override;

  [[nodiscard]] bool is_in_host_memory() const override { return true; }
  /// The best kind that could be had: reserved, then transparent, then small.
  [[nodiscard]] PageKind page_kind() const { return mapping_.page_kind; }
  /// Of the pages of `page_kind()`; every arena starts at a multiple of it, and
  /// memory is committed and given back in such pages.
  [[nodiscard]] Bytes page_size() const { return Bytes(mapping_.page_size); }
  /// The node that was asked for, if the kernel took the wish; else -1.
  [[nodiscard]] int numa_node() const { return mapping_.numa_node; }
  /// The memory that may be touched, in whole pages: one range for each arena.
  /// It is what a device driver pins (`cudaHostRegister`), and changes with
  /// `Resize` only.
  [[nodiscard]] std::vector<std::span<std::byte>> memory() const;

 private:
  struct Mapping {
    void* address = nullptr;  // null: none
    std::size_t bytes = 0;
    PageKind page_kind = PageKind::kSmall;
    std::int64_t page_size = 0;
    std::int64_t alignment = 0;  // of arenas: a multiple of the page size
    int numa_node = -1;
  };

  HostBlockStorage(const BlockStorageLayout& layout,
                   std::vector<BlockArena> arenas, const Mapping& mapping);

  // Addresses for all arenas, each from a multiple of the alignment, and memory
  // too, unless it is to be resized; none if the system does not give it in
  // pages of this kind.
  static Mapping Map(std::span<const Bytes> arena_bytes, PageKind kind,
                     std::int64_t page_size, Bytes alignment, bool resized);
  static Mapping MapBest(std::span<const Bytes> arena_bytes,
                         const HostBlockStorageOptions& options);

  // Of an arena with so many blocks, in whole pages.
  [[nodiscard]] std::size_t CommittedBytes(const BlockArena& arena,
                                           BlockCount num_blocks) const;
  [[nodiscard]] bool TryCommit(std::size_t arena, std::size_t from,
                               std::size_t to) const;
  void GiveBack(std::size_t arena, std::size_t from, std::size_t to) const;

  absl::Status DoCopyBlocks(std::span<const BlockCopy> copies) override;
  absl::Status DoFillBlocks(std::span<const BlockId> blocks,
                            std::byte value) override;
  absl::Status DoSwap(BlockStorage& swap_space,
                      std::span<const BlockSwap> swaps,
                      SwapDirection direction) override;
  absl::Status DoResize(BlockCount num_blocks) override;

  Mapping mapping_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_HOST_BLOCK_STORAGE_H_
