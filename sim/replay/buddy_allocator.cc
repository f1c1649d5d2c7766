// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/buddy_allocator.h"

#include <bit>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t SlotsOf(int order) { return std::int64_t{1} << order; }

// The smallest order whose chunks have at least `slots`.
int OrderFor(std::int64_t slots) {
  return static_cast<int>(
      std::bit_width(static_cast<std::uint64_t>(slots - 1)));
}

}  // namespace

BuddyAllocator::BuddyAllocator(std::int64_t capacity)
    : capacity_(capacity), free_slots_(capacity) {
  std::int64_t offset = 0;
  for (int order = kNumOrders - 1; order >= 0; --order) {
    if ((capacity & SlotsOf(order)) == 0) continue;
    AddFree(order, offset);
    offset += SlotsOf(order);
  }
}

std::optional<std::int64_t> BuddyAllocator::TryAllocate(std::int64_t slots) {
  const int order = OrderFor(slots);
  const std::uint64_t candidates = free_orders_ >> order << order;
  if (candidates == 0) return std::nullopt;
  const int found = std::countr_zero(candidates);
  const std::int64_t offset = *free_[static_cast<std::size_t>(found)].begin();
  RemoveFree(found, offset);
  for (int half = found - 1; half >= order; --half) {
    AddFree(half, offset + SlotsOf(half));
  }
  live_.emplace(offset, order);
  free_slots_ -= SlotsOf(order);
  return offset;
}

absl::Status BuddyAllocator::Release(std::int64_t offset) {
  const auto chunk = live_.find(offset);
  if (chunk == live_.end()) {
    return absl::NotFoundError(
        absl::StrFormat("no chunk is allocated at slot %d", offset));
  }
  int order = chunk->second;
  live_.erase(chunk);
  free_slots_ += SlotsOf(order);
  // An arena never merges with another: they differ in size, so what lies at
  // the place of its buddy is smaller, or beyond the capacity.
  for (;; ++order) {
    const std::int64_t buddy = offset ^ SlotsOf(order);
    if (!free_[static_cast<std::size_t>(order)].contains(buddy)) break;
    RemoveFree(order, buddy);
    offset &= ~SlotsOf(order);
  }
  AddFree(order, offset);
  return absl::OkStatus();
}

std::int64_t BuddyAllocator::largest_free() const {
  return static_cast<std::int64_t>(std::bit_floor(free_orders_));
}

void BuddyAllocator::AddFree(int order, std::int64_t offset) {
  free_[static_cast<std::size_t>(order)].insert(offset);
  free_orders_ |= std::uint64_t{1} << order;
}

void BuddyAllocator::RemoveFree(int order, std::int64_t offset) {
  auto& offsets = free_[static_cast<std::size_t>(order)];
  offsets.erase(offset);
  if (offsets.empty()) free_orders_ &= ~(std::uint64_t{1} << order);
}

absl::Status BuddyAllocator::CheckInvariants() const {
  absl::btree_map<std::int64_t, int> chunks = live_;
  std::int64_t free_slots = 0;
  for (int order = 0; order < kNumOrders; ++order) {
    const auto& offsets = free_[static_cast<std::size_t>(order)];
    if (offsets.empty() == ((free_orders_ >> order & 1) != 0)) {
      return absl::InternalError(
          absl::StrFormat("order %d has %d free chunks, its bit says otherwise",
                          order, offsets.size()));
    }
    for (const std::int64_t offset : offsets) {
      free_slots += SlotsOf(order);
      if (!chunks.emplace(offset, order).second) {
        return absl::InternalError(
            absl::StrFormat("the chunk at slot %d is free and live", offset));
      }
      if (offsets.contains(offset ^ SlotsOf(order))) {
        return absl::InternalError(absl::StrFormat(
            "the chunk of %d at slot %d and its buddy are both free",
            SlotsOf(order), offset));
      }
    }
  }
  std::int64_t end = 0;
  for (const auto& [offset, order] : chunks) {
    if (offset != end || offset % SlotsOf(order) != 0) {
      return absl::InternalError(
          absl::StrFormat("a chunk of %d at slot %d, expected one at slot %d",
                          SlotsOf(order), offset, end));
    }
    end += SlotsOf(order);
  }
  if (end != capacity_ || free_slots != free_slots_) {
    return absl::InternalError(absl::StrFormat(
        "chunks end at slot %d of %d; %d slots free, %d counted", end,
        capacity_, free_slots, free_slots_));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
