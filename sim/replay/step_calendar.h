// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_STEP_CALENDAR_H_
#define SIM_REPLAY_STEP_CALENDAR_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"

namespace pagedkv::sim {

/// What is due at the steps to come, from the current one on: a `Due` each,
/// value-initialised at first. The near future is a ring, the rest a map, so
/// that memory follows from what is due. O(1) for the near future.
/// Thread-compatible.
template <typename Due>
class StepCalendar {
 public:
  /// Steps that the ring holds.
  static constexpr std::int64_t kNear = std::int64_t{1} << 13;

  [[nodiscard]] std::int64_t now() const { return now_; }
  /// REQUIRES: step >= now().
  Due& At(std::int64_t step) {
    return step - now_ < kNear ? near_[Index(step)] : far_[step];
  }
  /// Takes out what is due at `now`, and goes on to the next step.
  Due Advance() {
    Due due = std::exchange(near_[Index(now_)], Due{});
    // Its place in the ring is that of the first step beyond.
    if (const auto next = far_.begin();
        next != far_.end() && next->first == now_ + kNear) {
      near_[Index(now_)] = std::move(next->second);
      far_.erase(next);
    }
    ++now_;
    return due;
  }

 private:
  static std::size_t Index(std::int64_t step) {
    return static_cast<std::size_t>(step) & (kNear - 1);
  }

  std::int64_t now_ = 0;
  std::vector<Due> near_ = std::vector<Due>(kNear);  // by step modulo its size
  absl::btree_map<std::int64_t, Due> far_;           // from now_ + kNear on
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_STEP_CALENDAR_H_
