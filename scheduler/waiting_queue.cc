// SPDX-License-Identifier: Apache-2.0
#include "scheduler/waiting_queue.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"

namespace pagedkv {

void WaitingQueue::PushBack(const WaitingEntry& entry) {
  if (policy_ == SchedulingPolicy::kPriority) return PushHeap(entry);
  if (size_ == entries_.size()) Grow();
  entries_[(head_ + size_++) & (entries_.size() - 1)] = entry;
}

void WaitingQueue::PushFront(const WaitingEntry& entry) {
  if (policy_ == SchedulingPolicy::kPriority) return PushHeap(entry);
  if (size_ == entries_.size()) Grow();
  head_ = (head_ - 1) & (entries_.size() - 1);
  entries_[head_] = entry;
  ++size_;
}

void WaitingQueue::PopFront() {
  PAGEDKV_CHECK(size_ > 0);
  --size_;
  if (policy_ == SchedulingPolicy::kPriority) {
    std::pop_heap(entries_.begin(), entries_.end(), std::greater<>());
    entries_.pop_back();
  } else {
    head_ = (head_ + 1) & (entries_.size() - 1);
  }
}

std::vector<WaitingEntry> WaitingQueue::InOrder() const {
  if (policy_ == SchedulingPolicy::kPriority) {
    std::vector<WaitingEntry> entries = entries_;
    std::sort(entries.begin(), entries.end());
    return entries;
  }
  std::vector<WaitingEntry> entries;
  entries.reserve(size_);
  for (std::size_t i = 0; i < size_; ++i) {
    entries.push_back(entries_[(head_ + i) & (entries_.size() - 1)]);
  }
  return entries;
}

void WaitingQueue::PushHeap(const WaitingEntry& entry) {
  entries_.push_back(entry);
  std::push_heap(entries_.begin(), entries_.end(), std::greater<>());
  ++size_;
}

void WaitingQueue::Grow() {
  std::vector<WaitingEntry> grown(std::max<std::size_t>(2 * size_, 64));
  for (std::size_t i = 0; i < size_; ++i) {
    grown[i] = entries_[(head_ + i) & (entries_.size() - 1)];
  }
  entries_ = std::move(grown);
  head_ = 0;
}

}  // namespace pagedkv
