// SPDX-License-Identifier: Apache-2.0
#include "sim/accounting/causes.h"

#include <cstddef>
#include <cstdint>

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

// A different power of ten for every cause: a sum shows what is in it.
CauseSlots Distinct() {
  CauseSlots slots;
  std::int64_t value = 1;
  for (std::size_t i = 0; i < kNumCauses; ++i, value *= 10) {
    slots[static_cast<Cause>(i)] = value;
  }
  return slots;
}

TEST(CauseSlotsTest, TotalHasEveryCause) {
  EXPECT_EQ(Distinct().total(), 11'111'111'111);
}

TEST(CauseSlotsTest, AllocatedIsWhatLiveSequencesTook) {
  EXPECT_EQ(Distinct().allocated(), 1'111);
}

TEST(CauseSlotsTest, HeldLeavesOutWhatIsMerelyFree) {
  // Not idle, cached-idle, blocked by capacity, blocked by policy.
  EXPECT_EQ(Distinct().held(), 1'001'101'111);
}

TEST(CauseSlotsTest, WasteIsHardAndSoft) {
  // Internal, round-up, blocked by fragmentation, tail; reserved, watermark.
  EXPECT_EQ(Distinct().hard_waste(), 1'001'001'100);
  EXPECT_EQ(Distinct().soft_waste(), 100'010);
  EXPECT_EQ(Distinct().waste(), 1'001'101'110);
}

}  // namespace
}  // namespace pagedkv::sim
