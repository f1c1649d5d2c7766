// SPDX-License-Identifier: Apache-2.0
// Random allocations against a buddy system that looks at every slot.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "sim/replay/buddy_allocator.h"

namespace pagedkv::sim {
namespace {

// Which slots are taken, and nothing else: free chunks are found anew each time
// as the largest aligned runs of free slots.
class NaiveBuddy {
 public:
  explicit NaiveBuddy(std::int64_t capacity)
      : taken_(static_cast<std::size_t>(capacity)) {}

  std::optional<std::int64_t> TryAllocate(std::int64_t slots) {
    const auto wanted = static_cast<std::int64_t>(
        std::bit_ceil(static_cast<std::uint64_t>(slots)));
    std::optional<std::int64_t> best;
    std::int64_t best_size = 0;
    for (const auto& [offset, size] : FreeChunks()) {
      if (size < wanted || (best.has_value() && size >= best_size)) continue;
      best = offset;
      best_size = size;
    }
    if (best.has_value()) Mark(*best, wanted, true);
    return best;
  }

  void Mark(std::int64_t offset, std::int64_t size, bool taken) {
    for (std::int64_t slot = offset; slot < offset + size; ++slot) {
      taken_[static_cast<std::size_t>(slot)] = taken;
    }
  }

  std::int64_t largest_free() const {
    std::int64_t largest = 0;
    for (const auto& [offset, size] : FreeChunks()) {
      largest = std::max(largest, size);
    }
    return largest;
  }

 private:
  std::map<std::int64_t, std::int64_t> FreeChunks() const {
    const auto capacity = static_cast<std::int64_t>(taken_.size());
    std::map<std::int64_t, std::int64_t> chunks;
    for (std::int64_t offset = 0; offset < capacity;) {
      std::int64_t size = 0;
      for (std::int64_t grown = 1; IsFree(offset, grown); grown *= 2) {
        size = grown;
      }
      if (size > 0) chunks[offset] = size;
      offset += std::max<std::int64_t>(size, 1);
    }
    return chunks;
  }

  bool IsFree(std::int64_t offset, std::int64_t size) const {
    if (offset % size != 0) return false;
    if (offset + size > static_cast<std::int64_t>(taken_.size())) return false;
    for (std::int64_t slot = offset; slot < offset + size; ++slot) {
      if (taken_[static_cast<std::size_t>(slot)]) return false;
    }
    return true;
  }

  std::vector<bool> taken_;
};

class BuddyAllocatorModelTest : public testing::TestWithParam<std::int64_t> {};

TEST_P(BuddyAllocatorModelTest, AgreesWithANaiveOne) {
  constexpr std::uint64_t kSeed = 1965;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  BuddyAllocator buddy(GetParam());
  NaiveBuddy naive(GetParam());
  std::map<std::int64_t, std::int64_t> live;  // offset -> chunk size
  std::int64_t used = 0;
  for (int i = 0; i < 3000; ++i) {
    if (random() % 5 < 3) {
      const auto slots =
          std::int64_t{1} + static_cast<std::int64_t>(random() % 40);
      const auto found = buddy.TryAllocate(slots);
      ASSERT_EQ(found, naive.TryAllocate(slots)) << "operation " << i;
      if (found.has_value()) {
        live[*found] = static_cast<std::int64_t>(
            std::bit_ceil(static_cast<std::uint64_t>(slots)));
        used += live[*found];
      }
    } else if (!live.empty()) {
      const auto victim = std::next(
          live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      ASSERT_TRUE(buddy.Release(victim->first).ok());
      naive.Mark(victim->first, victim->second, false);
      used -= victim->second;
      live.erase(victim);
    }
    ASSERT_EQ(buddy.free_slots(), GetParam() - used);
    ASSERT_EQ(buddy.largest_free(), naive.largest_free());
    ASSERT_TRUE(buddy.CheckInvariants().ok()) << buddy.CheckInvariants();
  }
}

INSTANTIATE_TEST_SUITE_P(Capacities, BuddyAllocatorModelTest,
                         testing::Values(1, 64, 100, 255, 301));

}  // namespace
}  // namespace pagedkv::sim
