// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/ghost_table.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_format.h"

namespace pagedkv {

GhostTable::GhostTable(std::int64_t capacity, std::size_t num_lists)
    : links_(capacity + 1),
      ghosts_(static_cast<std::size_t>(capacity) + 1),
      lists_(num_lists + 1),
      table_(std::bit_ceil(2 * static_cast<std::size_t>(capacity) + 2),
             kNoGhost),
      mask_(table_.size() - 1) {
  for (std::int64_t id = 1; id <= capacity; ++id) {
    links_.PushBack(lists_.back(), GhostId(static_cast<std::int32_t>(id)));
  }
}

std::size_t GhostTable::Probe(std::uint64_t content) const {
  std::size_t place = Home(content);
  while (table_[place] != kNoGhost && At(table_[place]).content != content) {
    place = (place + 1) & mask_;
  }
  return place;
}

GhostId GhostTable::Find(std::uint64_t content) const {
  return table_[Probe(content)];
}

void GhostTable::Push(std::size_t list, std::uint64_t content) {
  if (const GhostId old = Find(content); old != kNoGhost) Erase(old);
  if (lists_.back().size == 0) {
    const auto longest = std::max_element(
        lists_.begin(), lists_.end(),
        [](const auto& a, const auto& b) { return a.size < b.size; });
    if (longest->size == 0) return;  // a table without room
    Erase(longest->front);
  }
  const GhostId ghost = lists_.back().front;
  links_.Remove(lists_.back(), ghost);
  links_.PushBack(lists_[list], ghost);
  At(ghost) = {content, static_cast<std::uint8_t>(list), false};
  table_[Probe(content)] = ghost;
}

void GhostTable::Erase(GhostId ghost) {
  // Who was displaced by the erased one moves up: there are no tombstones, so
  // that probes stay short for ever.
  std::size_t hole = Probe(At(ghost).content);
  for (std::size_t place = (hole + 1) & mask_; table_[place] != kNoGhost;
       place = (place + 1) & mask_) {
    const std::size_t home = Home(At(table_[place]).content);
    if (((place - home) & mask_) >= ((place - hole) & mask_)) {
      table_[hole] = table_[place];
      hole = place;
    }
  }
  table_[hole] = kNoGhost;
  links_.Remove(lists_[At(ghost).list], ghost);
  links_.PushBack(lists_.back(), ghost);
}

absl::Status GhostTable::CheckInvariants() const {
  std::int64_t remembered = 0;
  for (std::size_t list = 0; list + 1 < lists_.size(); ++list) {
    const std::vector<GhostId> ghosts = links_.ToVector(lists_[list]);
    for (GhostId ghost : ghosts) {
      if (At(ghost).list != list || Find(At(ghost).content) != ghost) {
        return absl::InternalError(absl::StrFormat(
            "ghosts: ghost %d is not where it belongs", ghost.value()));
      }
    }
    if (std::ssize(ghosts) != lists_[list].size) {
      return absl::InternalError(
          absl::StrFormat("ghosts: list %d is not whole", list));
    }
    remembered += lists_[list].size;
  }
  const auto found =
      std::count_if(table_.begin(), table_.end(),
                    [](GhostId ghost) { return ghost != kNoGhost; });
  if (found != remembered ||
      remembered + lists_.back().size != std::ssize(ghosts_) - 1) {
    return absl::InternalError(absl::StrFormat(
        "ghosts: lists %d, finds %d, and has %d of %d unused", remembered,
        found, lists_.back().size, std::ssize(ghosts_) - 1));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
