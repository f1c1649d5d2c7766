// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_EVENT_LOG_H_
#define PAGEDKV_KV_EVENT_LOG_H_

/// Where events wait until somebody takes them.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pagedkv/kv_events.h"

namespace pagedkv {

/// Numbers events as they are appended, from 0 and without gaps, and hands them
/// out in batches. With a capacity, the oldest event makes room for a new one:
/// a cache does not wait for its observers. Who takes the rest sees the loss by
/// `first_sequence`.
///
/// Invariants: next_sequence == taken + dropped + waiting; waiting <= capacity
/// where there is one. Thread-compatible.
class KvEventLog {
 public:
  static constexpr std::size_t kUnbounded = 0;

  /// Keeps at most `capacity` events; kUnbounded: all.
  explicit KvEventLog(std::size_t capacity = kUnbounded)
      : capacity_(capacity) {}

  /// Amortized O(1).
  void Append(KvEvent event);
  /// All events that wait, in their order. Empty: the batch has the number that
  /// the next event will have. O(1); O(events) if any were dropped.
  [[nodiscard]] KvEventBatch Take();

  /// The number of the next event.
  [[nodiscard]] std::uint64_t next_sequence() const { return next_sequence_; }
  /// Events that wait.
  [[nodiscard]] std::size_t size() const { return events_.size(); }
  /// Events that were never taken.
  [[nodiscard]] std::uint64_t num_dropped() const { return num_dropped_; }

  /// Aborts if an invariant of the class comment does not hold. O(1).
  void CheckInvariants() const;

 private:
  std::size_t capacity_;
  // Full, it is a ring with the oldest event at oldest_; before that, 0.
  std::vector<KvEvent> events_;
  std::size_t oldest_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t num_taken_ = 0;
  std::uint64_t num_dropped_ = 0;
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_EVENT_LOG_H_
