// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_event_log.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/check.h"

namespace pagedkv {

void KvEventLog::Append(KvEvent event) {
  ++next_sequence_;
  if (capacity_ == kUnbounded || events_.size() < capacity_) {
    events_.push_back(std::move(event));
    return;
  }
  events_[oldest_] = std::move(event);
  oldest_ = (oldest_ + 1) % capacity_;
  ++num_dropped_;
}

KvEventBatch KvEventLog::Take() {
  KvEventBatch batch{.first_sequence = next_sequence_ - events_.size()};
  std::rotate(events_.begin(),
              events_.begin() + static_cast<std::ptrdiff_t>(oldest_),
              events_.end());
  oldest_ = 0;
  num_taken_ += events_.size();
  batch.events.swap(events_);
  return batch;
}

void KvEventLog::CheckInvariants() const {
  PAGEDKV_CHECK(next_sequence_ == num_taken_ + num_dropped_ + events_.size());
  PAGEDKV_CHECK(capacity_ == kUnbounded || events_.size() <= capacity_);
  PAGEDKV_CHECK(oldest_ == 0 || events_.size() == capacity_);
}

}  // namespace pagedkv
