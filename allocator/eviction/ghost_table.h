// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_GHOST_TABLE_H_
#define ALLOCATOR_EVICTION_GHOST_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "allocator/eviction/content_hash.h"
#include "allocator/eviction/id_list.h"
#include "pagedkv/types.h"

namespace pagedkv {

struct GhostIdTag {
  static constexpr char kName[] = "ghost";
};
using GhostId = Id<GhostIdTag, std::int32_t>;
inline constexpr GhostId kNoGhost{0};

/// The contents of evicted blocks, remembered in lists from the oldest to the
/// newest: at most `capacity` in all, each content once. All memory is taken at
/// construction, 32 to 40 bytes per ghost; each call costs O(1) expected, as
/// the table of contents (linear probing) is half empty. Thread-compatible.
class GhostTable {
 public:
  GhostTable(std::int64_t capacity, std::size_t num_lists);

  /// kNoGhost if the content is not remembered.
  [[nodiscard]] GhostId Find(std::uint64_t content) const;
  [[nodiscard]] std::size_t list(GhostId ghost) const { return At(ghost).list; }
  [[nodiscard]] std::int64_t size(std::size_t list) const {
    return lists_[list].size;
  }
  /// A note of the policy's own, false at first.
  [[nodiscard]] bool marked(GhostId ghost) const { return At(ghost).marked; }
  void Mark(GhostId ghost) { At(ghost).marked = true; }

  /// The content becomes the newest of the list. Where the table is full the
  /// oldest ghost of the longest list is forgotten.
  void Push(std::size_t list, std::uint64_t content);
  void Erase(GhostId ghost);
  /// REQUIRES: size(list) > 0.
  void EraseOldest(std::size_t list) { Erase(lists_[list].front); }

  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct Ghost {
    std::uint64_t content;
    std::uint8_t list;
    bool marked;
  };

  [[nodiscard]] const Ghost& At(GhostId ghost) const {
    return ghosts_[static_cast<std::size_t>(ghost.value())];
  }
  Ghost& At(GhostId ghost) {
    return ghosts_[static_cast<std::size_t>(ghost.value())];
  }
  // Where a content belongs in the table.
  [[nodiscard]] std::size_t Home(std::uint64_t content) const {
    return static_cast<std::size_t>(ContentHash(content)) & mask_;
  }
  // Where it is, or where it would be put.
  [[nodiscard]] std::size_t Probe(std::uint64_t content) const;

  IdLinks<GhostId> links_;
  std::vector<Ghost> ghosts_;           // by id; 0 is not used
  std::vector<IdList<GhostId>> lists_;  // the last one has the unused ids
  std::vector<GhostId> table_;          // by content; kNoGhost is empty
  std::size_t mask_;
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_GHOST_TABLE_H_
