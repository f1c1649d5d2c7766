// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/step_time.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kFsPerNs = 1'000'000;

TEST(StepTime, AddsEachTermOfTheSerialPart) {
  const StepTime time{.serial = {.per_step = 1000 * kFsPerNs,
                                 .per_sequence = 10 * kFsPerNs,
                                 .per_computed_token = 100 * kFsPerNs,
                                 .per_prefill_attention = kFsPerNs / 2,
                                 .per_resident_token = 2 * kFsPerNs}};
  EXPECT_EQ(time.NanosecondsOf({.sequences = 3,
                                .computed_tokens = 7,
                                .prefill_attention = 8,
                                .resident_tokens = 50}),
            1000 + 30 + 700 + 4 + 100);
}

TEST(StepTime, TakesTheSlowerOfComputeAndMemory) {
  const StepTime time{.serial = {.per_step = 5 * kFsPerNs},
                      .compute = {.per_computed_token = 10 * kFsPerNs},
                      .memory = {.per_step = 1000 * kFsPerNs}};
  EXPECT_EQ(time.NanosecondsOf({.computed_tokens = 1}), 1005);
  EXPECT_EQ(time.NanosecondsOf({.computed_tokens = 200}), 2005);
}

TEST(StepTime, SwappingComesOnTop) {
  const StepTime time{.serial = {.per_step = 5 * kFsPerNs},
                      .compute = {.per_computed_token = 10 * kFsPerNs},
                      .memory = {.per_step = 1000 * kFsPerNs},
                      .per_swapped_token = 7 * kFsPerNs};
  EXPECT_EQ(time.NanosecondsOf({.computed_tokens = 200, .swapped_tokens = 30}),
            2005 + 210);
}

TEST(StepTime, RoundsToTheNearestAndIsNeverZero) {
  const StepTime time{.serial = {.per_sequence = kFsPerNs / 4}};
  EXPECT_EQ(time.NanosecondsOf({.sequences = 0}), 1);
  EXPECT_EQ(time.NanosecondsOf({.sequences = 5}), 1);
  EXPECT_EQ(time.NanosecondsOf({.sequences = 6}), 2);
}

TEST(StepTime, HugeTimesStayWithinTheClock) {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  const StepTime time{.serial = {.per_computed_token = kMax}};
  const std::int64_t ns = time.NanosecondsOf({.computed_tokens = kMax});
  EXPECT_GT(ns, kMax / 5);
  EXPECT_LT(ns, kMax / 3);
}

}  // namespace
}  // namespace pagedkv::sim
