// SPDX-License-Identifier: Apache-2.0
#include "block_table/run_arena.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Eight classes for each power of two: at most an eighth is lost to rounding
// when a chunk is looked for, and none when it is cut.
constexpr std::size_t kClassBits = 3;
constexpr std::size_t kClassesPerLevel = std::size_t{1} << kClassBits;

}  // namespace

RunArena::RunArena(std::size_t max_bytes, std::size_t slab_bytes)
    : slab_granules_(std::max(slab_bytes / kGranule, 4 * Granules(max_bytes))) {
}

void RunArena::FreeSlab::operator()(std::byte* slab) const { std::free(slab); }

std::size_t RunArena::ClassOf(std::size_t granules) {
  if (granules < kClassesPerLevel) return granules;
  const auto shift =
      static_cast<std::size_t>(std::bit_width(granules)) - 1 - kClassBits;
  return shift * kClassesPerLevel + (granules >> shift);
}

std::size_t RunArena::RoundedUpToClass(std::size_t granules) {
  if (granules < kClassesPerLevel) return granules;
  const auto shift =
      static_cast<std::size_t>(std::bit_width(granules)) - 1 - kClassBits;
  return granules + (std::size_t{1} << shift) - 1;
}

std::byte* RunArena::Allocate(std::size_t bytes) {
  const std::size_t granules = Granules(bytes);
  Header* chunk = Find(granules);
  if (chunk == nullptr) {
    AddSlab();
    chunk = Find(granules);
    PAGEDKV_CHECK(chunk != nullptr);
  }
  if (chunk->previous() == 0 && After(chunk, chunk->size)->size == 0) {
    --num_empty_slabs_;
  }
  Unlink(chunk);
  chunk->SetFree(false);
  Cut(chunk, granules);
  used_ += chunk->size;
  return MemoryOf(chunk);
}

void RunArena::Free(std::byte* memory) {
  Header* const chunk = HeaderOf(memory);
  used_ -= chunk->size;
  MakeFree(chunk);
}

bool RunArena::TryResize(std::byte* memory, std::size_t bytes) {
  Header* const chunk = HeaderOf(memory);
  const std::size_t granules = Granules(bytes);
  if (granules > chunk->size) {
    Header* const next = After(chunk, chunk->size);
    if (!next->free() || std::size_t{chunk->size} + next->size < granules)
      return false;
    Unlink(next);
    used_ -= chunk->size;
    chunk->size += next->size;
    After(chunk, chunk->size)->SetPrevious(chunk->size);
    used_ += chunk->size;
  }
  used_ -= chunk->size;
  Cut(chunk, granules);
  used_ += chunk->size;
  return true;
}

void RunArena::AddSlab() {
  // Huge pages where a slab fills some: runs are read at random, and each page
  // costs a look-up of its own.
  const std::size_t bytes = slab_granules_ * kGranule;
  const std::size_t alignment = bytes % kHugePage == 0 ? kHugePage : kGranule;
  slabs_.emplace_back(
      static_cast<std::byte*>(std::aligned_alloc(alignment, bytes)));
  PAGEDKV_CHECK(slabs_.back() != nullptr);
#ifdef __linux__
  if (alignment == kHugePage) {
    madvise(slabs_.back().get(), bytes, MADV_HUGEPAGE);
  }
#endif
  // One chunk, then a header that is taken and has no size: the end.
  auto* const first = reinterpret_cast<Header*>(slabs_.back().get());
  const auto size = static_cast<std::uint32_t>(slab_granules_ - 1);
  *first = {.size = size};
  *After(first, size) = {};
  After(first, size)->SetPrevious(size);
  ++num_empty_slabs_;
  first->SetFree(true);
  Link(first);
}

void RunArena::ReleaseSlab(Header* first) {
  Unlink(first);
  const auto* const begin = reinterpret_cast<std::byte*>(first);
  std::erase_if(slabs_,
                [begin](const auto& slab) { return slab.get() == begin; });
  --num_empty_slabs_;
}

void RunArena::Link(Header* chunk) {
  const std::size_t index = ClassOf(chunk->size);
  Links& links = LinksOf(chunk);
  links = {.next = lists_[index], .previous = nullptr};
  if (links.next != nullptr) LinksOf(links.next).previous = chunk;
  lists_[index] = chunk;
  occupied_[index / 64] |= std::uint64_t{1} << (index % 64);
}

void RunArena::Unlink(Header* chunk) {
  const std::size_t index = ClassOf(chunk->size);
  const Links links = LinksOf(chunk);
  if (links.next != nullptr) LinksOf(links.next).previous = links.previous;
  if (links.previous != nullptr) {
    LinksOf(links.previous).next = links.next;
    return;
  }
  lists_[index] = links.next;
  if (links.next == nullptr) {
    occupied_[index / 64] &= ~(std::uint64_t{1} << (index % 64));
  }
}

void RunArena::Cut(Header* chunk, std::size_t granules) {
  const std::size_t rest = chunk->size - granules;
  if (rest < kMinGranules) return;
  chunk->size = static_cast<std::uint32_t>(granules);
  Header* const tail = After(chunk, granules);
  *tail = {.size = static_cast<std::uint32_t>(rest)};
  tail->SetPrevious(chunk->size);
  After(tail, rest)->SetPrevious(tail->size);
  MakeFree(tail);
}

void RunArena::MakeFree(Header* chunk) {
  Header* const next = After(chunk, chunk->size);
  if (next->free()) {
    Unlink(next);
    chunk->size += next->size;
  }
  if (chunk->previous() != 0) {
    auto* const before = reinterpret_cast<Header*>(
        reinterpret_cast<std::byte*>(chunk) - chunk->previous() * kGranule);
    if (before->free()) {
      Unlink(before);
      before->size += chunk->size;
      chunk = before;
    }
  }
  chunk->SetFree(true);
  Header* const after = After(chunk, chunk->size);
  after->SetPrevious(chunk->size);
  Link(chunk);
  if (chunk->previous() == 0 && after->size == 0 && ++num_empty_slabs_ > 1) {
    ReleaseSlab(chunk);
  }
}

RunArena::Header* RunArena::Find(std::size_t granules) const {
  const std::size_t index = ClassOf(RoundedUpToClass(granules));
  std::uint64_t classes =
      occupied_[index / 64] & (~std::uint64_t{0} << (index % 64));
  for (std::size_t word = index / 64;; classes = occupied_[word]) {
    if (classes != 0) {
      return lists_[word * 64 +
                    static_cast<std::size_t>(std::countr_zero(classes))];
    }
    if (++word == occupied_.size()) return nullptr;
  }
}

absl::Status RunArena::CheckInvariants() const {
  std::size_t used = 0;
  std::size_t num_free = 0;
  for (const auto& slab : slabs_) {
    auto* chunk = reinterpret_cast<Header*>(slab.get());
    std::size_t covered = 0;
    std::size_t previous = 0;
    bool was_free = false;
    for (; chunk->size != 0; chunk = After(chunk, chunk->size)) {
      if (chunk->previous() != previous || (was_free && chunk->free())) {
        return absl::InternalError(absl::StrFormat(
            "arena: the chunk at granule %d follows one of %d granules, noted "
            "as %d; two free ones in a row: %d",
            covered, previous, chunk->previous(), was_free && chunk->free()));
      }
      was_free = chunk->free();
      (was_free ? num_free : used) += was_free ? 1 : chunk->size;
      previous = chunk->size;
      covered += chunk->size;
    }
    if (covered + 1 != slab_granules_) {
      return absl::InternalError(
          absl::StrFormat("arena: chunks cover %d of %d granules", covered,
                          slab_granules_ - 1));
    }
  }
  std::size_t listed = 0;
  for (std::size_t index = 0; index < lists_.size(); ++index) {
    for (Header* chunk = lists_[index]; chunk != nullptr;
         chunk = LinksOf(chunk).next) {
      ++listed;
      if (!chunk->free() || ClassOf(chunk->size) != index) {
        return absl::InternalError(absl::StrFormat(
            "arena: a chunk of %d granules is in the list of class %d",
            chunk->size, index));
      }
    }
  }
  if (listed != num_free || used != used_) {
    return absl::InternalError(absl::StrFormat(
        "arena: %d chunks are free and %d listed; %d granules are in use and "
        "%d counted",
        num_free, listed, used, used_));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
