// SPDX-License-Identifier: Apache-2.0
#ifndef SCHEDULER_WAITING_QUEUE_H_
#define SCHEDULER_WAITING_QUEUE_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// One request in a `WaitingQueue`. The ticket tells it from an earlier stay of
/// the same slot.
struct WaitingEntry {
  std::int32_t priority = 0;
  std::int64_t arrival = 0;
  RequestId id;
  std::int32_t slot = 0;
  std::uint32_t ticket = 0;

  /// In order of importance: smaller is admitted first.
  friend std::strong_ordering operator<=>(const WaitingEntry& a,
                                          const WaitingEntry& b) {
    if (auto order = a.priority <=> b.priority; order != 0) return order;
    if (auto order = a.arrival <=> b.arrival; order != 0) return order;
    return a.id <=> b.id;
  }
  friend bool operator==(const WaitingEntry& a, const WaitingEntry& b) {
    return (a <=> b) == 0;
  }
};

/// The requests that wait for admission, by `SchedulingPolicy`: a ring (FCFS)
/// or a heap (priority). Both push and pop without allocating memory once they
/// have grown to the longest queue. Thread-compatible.
class WaitingQueue {
 public:
  explicit WaitingQueue(SchedulingPolicy policy) : policy_(policy) {}

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const WaitingEntry& front() const { return entries_[head_]; }
  void PushBack(const WaitingEntry& entry);
  /// Before all others (FCFS), or where its priority puts it.
  void PushFront(const WaitingEntry& entry);
  void PopFront();
  /// Takes out every entry for which `is_stale(entry)`. O(size).
  template <typename Predicate>
  void EraseIf(Predicate is_stale) {
    std::vector<WaitingEntry> kept = InOrder();
    std::erase_if(kept, is_stale);
    entries_.clear();
    head_ = size_ = 0;
    for (const WaitingEntry& entry : kept) PushBack(entry);
  }
  /// In order of admission. O(n log n) by priority.
  [[nodiscard]] std::vector<WaitingEntry> InOrder() const;

 private:
  void PushHeap(const WaitingEntry& entry);
  void Grow();

  SchedulingPolicy policy_;
  // FCFS: a ring of a power of two, from head_. Priority: a heap, head_ == 0.
  std::vector<WaitingEntry> entries_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace pagedkv

#endif  // SCHEDULER_WAITING_QUEUE_H_
