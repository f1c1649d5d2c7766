// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/lru_stack.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

constexpr std::size_t kMinSlots = 1024;

std::size_t LowestBit(std::size_t index) { return index & (~index + 1); }

}  // namespace

std::int64_t LruStack::Depth(std::uint32_t content) const {
  if (content >= slot_of_.size() || slot_of_[content] == kNone) return 0;
  return size_ - CountTo(slot_of_[content]) + 1;
}

void LruStack::Touch(std::uint32_t content) {
  if (next_slot_ == content_of_.size()) Compact();
  if (content >= slot_of_.size()) {
    slot_of_.resize(std::size_t{content} + 1, kNone);
  }
  if (const std::uint32_t old = slot_of_[content]; old != kNone) {
    content_of_[old] = kNone;
    Add(old, -1);
  } else {
    ++size_;
  }
  slot_of_[content] = static_cast<std::uint32_t>(next_slot_);
  content_of_[next_slot_] = content;
  Add(next_slot_, 1);
  ++next_slot_;
}

void LruStack::Compact() {
  std::erase(content_of_, kNone);
  next_slot_ = content_of_.size();
  // As many slots free as in use: a move is paid for by as many touches.
  content_of_.resize(std::max(kMinSlots, 2 * next_slot_), kNone);
  tree_.assign(content_of_.size() + 1, 0);
  for (std::size_t slot = 0; slot < next_slot_; ++slot) {
    slot_of_[content_of_[slot]] = static_cast<std::uint32_t>(slot);
    tree_[slot + 1] = 1;
  }
  for (std::size_t index = 1; index < tree_.size(); ++index) {
    const std::size_t above = index + LowestBit(index);
    if (above < tree_.size()) tree_[above] += tree_[index];
  }
}

void LruStack::Add(std::size_t slot, std::int32_t amount) {
  for (std::size_t index = slot + 1; index < tree_.size();
       index += LowestBit(index)) {
    tree_[index] += amount;
  }
}

std::int64_t LruStack::CountTo(std::size_t slot) const {
  std::int64_t count = 0;
  for (std::size_t index = slot + 1; index > 0; index -= LowestBit(index)) {
    count += tree_[index];
  }
  return count;
}

absl::Status LruStack::CheckInvariants() const {
  std::int64_t in_use = 0;
  for (std::size_t slot = 0; slot < content_of_.size(); ++slot) {
    const std::uint32_t content = content_of_[slot];
    if (content != kNone) {
      ++in_use;
      if (content >= slot_of_.size() || slot_of_[content] != slot) {
        return absl::InternalError(absl::StrFormat(
            "slot %d names content %d, which has another", slot, content));
      }
    }
    if (CountTo(slot) != in_use) {
      return absl::InternalError(absl::StrFormat(
          "the tree counts %d slots up to %d, but %d are in use", CountTo(slot),
          slot, in_use));
    }
  }
  const auto touched =
      std::count_if(slot_of_.begin(), slot_of_.end(),
                    [](std::uint32_t slot) { return slot != kNone; });
  if (touched != size_ || in_use != size_) {
    return absl::InternalError(
        absl::StrFormat("%d contents, %d of them with a slot, %d slots in use",
                        size_, touched, in_use));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv::sim
