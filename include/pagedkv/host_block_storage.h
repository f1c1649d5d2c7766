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
};

enum class PageKind {
  kSmall,
  /// The kernel puts huge pages where it finds them (MADV_HUGEPAGE).
  kTransparentHuge,
  /// Huge pages that the administrator had reserved (MAP_HUGETLB).
  kReservedHuge,
};

/// Blocks in the memory of the host: the reference for every other backend.
/// Reserved at once as one mapping, committed by the kernel page by page when
/// first written. Each arena starts on a page. Thread-compatible.
class HostBlockStorage final : public BlockStorage {
 public:
  /// InvalidArgument for what is no layout; ResourceExhausted, with the size,
  /// if the system refuses the memory. With huge pages wanted and not had, it
  /// logs one line.
  static absl::StatusOr<std::unique_ptr<HostBlockStorage>> Create(
      const HostBlockStorageOptions& options);
  ~HostBlockStorage() override;

  /// The best kind that could be had: reserved, then transparent, then small.
  [[nodiscard]] PageKind page_kind() const { return mapping_.page_kind; }
  /// Of the pages of `page_kind()`; every arena starts at a multiple of it.
  [[nodiscard]] Bytes page_size() const { return Bytes(mapping_.page_size); }

 private:
  struct Mapping {
    void* address = nullptr;  // null: none
    std::size_t bytes = 0;
    PageKind page_kind = PageKind::kSmall;
    std::int64_t page_size = 0;
  };

  HostBlockStorage(const BlockStorageLayout& layout,
                   std::vector<BlockArena> arenas, const Mapping& mapping);

  // Room for all arenas, each from the start of a page; none if the system does
  // not give it in pages of this kind.
  static Mapping Map(std::span<const Bytes> arena_bytes, PageKind kind,
                     std::int64_t page_size);
  static Mapping MapBest(std::span<const Bytes> arena_bytes, bool huge_pages);

  absl::Status DoCopyBlocks(std::span<const BlockCopy> copies) override;
  absl::Status DoFillBlocks(std::span<const BlockId> blocks,
                            std::byte value) override;

  Mapping mapping_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_HOST_BLOCK_STORAGE_H_
