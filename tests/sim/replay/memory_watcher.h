// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_REPLAY_MEMORY_WATCHER_H_
#define TESTS_SIM_REPLAY_MEMORY_WATCHER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

#include "sim/accounting/causes.h"
#include "sim/replay/memory_visitor.h"
#include "sim/replay/simulation.h"
#include "tests/sim/replay/recording_observer.h"

namespace pagedkv::sim {

/// Looks at the memory behind every sample, and compares what it sees there
/// with the sample's causes.
class MemoryWatcher : public RecordingObserver, public MemoryVisitor {
 public:
  bool WatchesMemory() const override { return true; }
  MemoryVisitor* WatchMemory(const Sample& sample) override {
    Check();
    sample_ = sample;
    uses_.assign(static_cast<std::size_t>(sample.slots.total()),
                 SlotUse::kFree);
    visited_ = false;
    return this;
  }
  void OnRun(const SlotRun& run) override {
    visited_ = true;
    ASSERT_GE(run.begin, 0);
    ASSERT_GT(run.slots, 0);
    ASSERT_LE(run.begin + run.slots, sample_.slots.total());
    const bool owned = run.use != SlotUse::kTail &&
                       run.use != SlotUse::kShared &&
                       run.use != SlotUse::kCachedIdle;
    ASSERT_EQ(run.owner >= 0, owned);
    for (std::int64_t i = 0; i < run.slots; ++i) {
      SlotUse& use = uses_[static_cast<std::size_t>(run.begin + i)];
      ASSERT_EQ(use, SlotUse::kFree) << "runs overlap";
      use = run.use;
    }
  }
  /// Compares the memory seen last.
  void Check() {
    if (!visited_) return;
    ++num_checked;
    const auto seen = [&](SlotUse use) {
      return std::count(uses_.begin(), uses_.end(), use);
    };
    saw_shared = saw_shared || seen(SlotUse::kShared) > 0;
    saw_cached_idle = saw_cached_idle || seen(SlotUse::kCachedIdle) > 0;
    const CauseSlots& slots = sample_.slots;
    ASSERT_EQ(seen(SlotUse::kToken) + seen(SlotUse::kShared),
              slots[Cause::kToken]);
    ASSERT_EQ(seen(SlotUse::kReserved), slots[Cause::kReserved]);
    ASSERT_EQ(seen(SlotUse::kInternal), slots[Cause::kInternal]);
    ASSERT_EQ(seen(SlotUse::kRoundUp), slots[Cause::kRoundUp]);
    ASSERT_EQ(seen(SlotUse::kCachedIdle), slots[Cause::kCachedIdle]);
    ASSERT_EQ(seen(SlotUse::kTail), slots[Cause::kTail]);
  }

  std::int64_t num_checked = 0;
  bool saw_shared = false;
  bool saw_cached_idle = false;

 private:
  Sample sample_;
  std::vector<SlotUse> uses_;
  bool visited_ = false;
};

}  // namespace pagedkv::sim

#endif  // TESTS_SIM_REPLAY_MEMORY_WATCHER_H_
