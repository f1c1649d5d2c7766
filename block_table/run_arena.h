// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_RUN_ARENA_H_
#define BLOCK_TABLE_RUN_ARENA_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv {

/// Memory for the runs of the prefix index: chunks of any size up to
/// `max_bytes`, taken, resized and given back in O(1), free neighbours joined
/// at once. Two-level segregated fit (Masmano et al., ECRTS 2004) over slabs
/// that are taken from the system as needed and given back when empty, but for
/// one.
///
/// Not size classes: a run grows block by block, and what it leaves behind
/// must serve runs of every other length. Not malloc: an insertion would cost
/// several times as much.
///
/// Invariants: the chunks of a slab cover it without gaps, no two free ones are
/// neighbours, and each free one is in the list of its size class.
/// Thread-compatible.
class RunArena {
 public:
  /// Slabs are of `slab_bytes`, or more if `max_bytes` asks for it.
  RunArena(std::size_t max_bytes, std::size_t slab_bytes);

  /// At least `bytes` (<= max_bytes), aligned to 8.
  [[nodiscard]] std::byte* Allocate(std::size_t bytes);
  void Free(std::byte* memory);
  /// Makes the chunk at `memory` at least `bytes` long where it lies, or gives
  /// back what it has beyond that. False if what follows is taken.
  [[nodiscard]] bool TryResize(std::byte* memory, std::size_t bytes);

  /// Bytes in use, headers and rounding included; and all that is held.
  [[nodiscard]] std::size_t bytes_used() const { return used_ * kGranule; }
  [[nodiscard]] std::size_t bytes_held() const {
    return slabs_.size() * slab_granules_ * kGranule;
  }

  /// Internal if an invariant is broken. O(chunks).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static constexpr std::size_t kGranule = 16;
  static constexpr std::size_t kMinGranules = 2;
  static constexpr std::size_t kNumClasses = 192;

  // Precedes each chunk's bytes. Sizes are in granules, the header included.
  struct Header {
    std::uint32_t size = 0;
    std::uint32_t previous_and_free = 0;

    // Size of the chunk before it; 0: it is the first of its slab.
    [[nodiscard]] std::size_t previous() const { return previous_and_free / 2; }
    [[nodiscard]] bool free() const { return previous_and_free % 2 != 0; }
    void SetPrevious(std::uint32_t size) {
      previous_and_free = 2 * size + previous_and_free % 2;
    }
    void SetFree(bool free) {
      previous_and_free = (previous_and_free & ~1u) | (free ? 1u : 0u);
    }
  };
  // In a free chunk's bytes.
  struct Links {
    Header* next;
    Header* previous;
  };

  struct FreeSlab {
    void operator()(std::byte* slab) const;
  };

  static Header* HeaderOf(std::byte* memory) {
    return reinterpret_cast<Header*>(memory - sizeof(Header));
  }
  static std::byte* MemoryOf(Header* chunk) {
    return reinterpret_cast<std::byte*>(chunk) + sizeof(Header);
  }
  static Links& LinksOf(Header* chunk) {
    return *reinterpret_cast<Links*>(MemoryOf(chunk));
  }
  static Header* After(Header* chunk, std::size_t granules) {
    return reinterpret_cast<Header*>(reinterpret_cast<std::byte*>(chunk) +
                                     granules * kGranule);
  }
  static std::size_t Granules(std::size_t bytes) {
    const std::size_t granules =
        (bytes + sizeof(Header) + kGranule - 1) / kGranule;
    return granules < kMinGranules ? kMinGranules : granules;
  }
  static std::size_t ClassOf(std::size_t granules);
  static std::size_t RoundedUpToClass(std::size_t granules);

  void AddSlab();
  void ReleaseSlab(Header* first);
  void Link(Header* chunk);
  void Unlink(Header* chunk);
  // Cuts `chunk` to `granules`; what is left over becomes free.
  void Cut(Header* chunk, std::size_t granules);
  // Makes `chunk` free, joined with free neighbours.
  void MakeFree(Header* chunk);
  [[nodiscard]] Header* Find(std::size_t granules) const;

  std::size_t slab_granules_;
  std::vector<std::unique_ptr<std::byte[], FreeSlab>> slabs_;
  std::size_t used_ = 0;
  std::size_t num_empty_slabs_ = 0;
  std::array<Header*, kNumClasses> lists_{};
  std::array<std::uint64_t, kNumClasses / 64> occupied_{};
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_RUN_ARENA_H_
