// SPDX-License-Identifier: Apache-2.0
#include "sim/report/admission_log.h"

#include <cstdint>

#include "gtest/gtest.h"

#include "sim/accounting/causes.h"
#include "sim/replay/simulation.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// A second in which request `head` waits; 60 of 100 slots are taken.
Sample Wait(std::int64_t begin_s, std::int64_t head, Cause cause) {
  Sample sample;
  sample.begin_ns = begin_s * kSecond;
  sample.duration_ns = kSecond;
  sample.slots[Cause::kToken] = 60;
  sample.slots[Cause::kTail] = 4;
  sample.slots[cause] = 36;
  sample.largest_free_slots = 16;
  sample.waiting = 3;
  sample.blocked = cause;
  sample.head = head;
  return sample;
}

TEST(AdmissionLogTest, ALineForEachHeadAndCause) {
  AdmissionLog log("paged-16");
  log.OnSample(Wait(0, 7, Cause::kBlockedCapacity));
  log.OnSample(Wait(1, 7, Cause::kBlockedCapacity));
  log.OnSample(Wait(2, 7, Cause::kBlockedPolicy));
  log.OnSample(Wait(3, 8, Cause::kBlockedPolicy));
  Sample idle = Wait(4, -1, Cause::kIdle);
  idle.waiting = 0;
  log.OnSample(idle);
  log.OnSample(Wait(5, 9, Cause::kBlockedPolicy));
  EXPECT_EQ(log.TakeLines(),
            "paged-16,0,0,2,7,blocked_capacity,36,16,3\n"
            "paged-16,0,2,1,7,blocked_policy,36,16,3\n"
            "paged-16,0,3,1,8,blocked_policy,36,16,3\n");
  log.Finish();
  EXPECT_EQ(log.TakeLines(), "paged-16,0,5,1,9,blocked_policy,36,16,3\n");
  log.Finish();
  EXPECT_EQ(log.TakeLines(), "");
}

TEST(AdmissionLogTest, ReplicasHaveQueuesOfTheirOwn) {
  AdmissionLog log("p");
  Sample other = Wait(0, 2, Cause::kBlockedCapacity);
  other.replica = 1;
  log.OnSample(Wait(0, 1, Cause::kBlockedCapacity));
  log.OnSample(other);
  log.OnSample(Wait(1, 1, Cause::kBlockedCapacity));
  EXPECT_EQ(log.TakeLines(), "");
  log.Finish();
  EXPECT_EQ(log.TakeLines(),
            "p,0,0,2,1,blocked_capacity,36,16,3\n"
            "p,1,0,1,2,blocked_capacity,36,16,3\n");
}

}  // namespace
}  // namespace pagedkv::sim
