// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/contiguous_memory.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

std::unique_ptr<ContiguousMemory> Create(const char* policy,
                                         std::int64_t capacity,
                                         std::int64_t max_sequence_tokens) {
  const GrantRule rule(*Policy::Parse(policy), TokenCount(max_sequence_tokens));
  return ContiguousMemory::Create(rule, TokenCount(capacity),
                                  /*unbounded=*/false);
}

// Admits `request` with its whole prompt, as the only one.
bool Admit(ContiguousMemory& memory, const TraceRequest& request,
           ContiguousMemory::Place& place) {
  return memory.TryAdmit({.request = request,
                          .known_tokens = request.prompt_tokens,
                          .first_tokens = request.prompt_tokens},
                         place);
}

TEST(ContiguousMemoryTest, TailIsWhatNoChunkOfTheMaximumCovers) {
  EXPECT_EQ(Create("contiguous-max", 15728, 2048)->tail_slots(), 1392);
  EXPECT_EQ(Create("contiguous-max", 15728, 2000)->tail_slots(), 1392);
  EXPECT_EQ(Create("contiguous-max-exact", 15728, 2000)->tail_slots(), 1728);
  EXPECT_EQ(Create("contiguous-oracle", 15728, 2048)->tail_slots(), 0);
  EXPECT_EQ(Create("concat", 15728, 2048)->tail_slots(), 0);
}

TEST(ContiguousMemoryTest, ArenasAreTheLowestThatAreFree) {
  const auto requests = Requests({{6, 3}});
  const auto memory = Create("contiguous-max", 64, 16);
  std::vector<ContiguousMemory::Place> places(4);
  for (auto& place : places) ASSERT_TRUE(Admit(*memory, requests[0], place));
  EXPECT_EQ(places, (std::vector<ContiguousMemory::Place>{0, 16, 32, 48}));
  memory->Release(requests[0], 6, 32);
  memory->Release(requests[0], 6, 16);
  ASSERT_TRUE(Admit(*memory, requests[0], places[0]));
  ASSERT_TRUE(Admit(*memory, requests[0], places[1]));
  EXPECT_EQ(places[0], 16);
  EXPECT_EQ(places[1], 32);
}

TEST(ContiguousMemoryTest, BuddyTellsFragmentationFromLackOfCapacity) {
  const auto requests = Requests({{6, 3}, {6, 3}, {6, 3}, {12, 2}, {16, 2}});
  const auto memory = Create("contiguous-oracle", 32, 32);
  std::vector<ContiguousMemory::Place> places(5);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Admit(*memory, requests[i], places[i]));
  }
  EXPECT_EQ(memory->free_slots(), 8);
  EXPECT_FALSE(Admit(*memory, requests[3], places[3]));
  EXPECT_EQ(memory->admission_block(), Cause::kBlockedCapacity);
  memory->Release(requests[0], 8, places[0]);
  EXPECT_EQ(memory->free_slots(), 16);
  EXPECT_EQ(memory->largest_free_slots(), 8);
  EXPECT_FALSE(Admit(*memory, requests[3], places[3]));  // wants 13, has 2 * 8
  EXPECT_EQ(memory->admission_block(), Cause::kBlockedFragmented);
  EXPECT_FALSE(Admit(*memory, requests[4], places[4]));  // wants 17
  EXPECT_EQ(memory->admission_block(), Cause::kBlockedCapacity);
}

TEST(ContiguousMemoryTest, ConcatHoldsBothCopiesWhileItGrows) {
  const auto requests = Requests({{10, 5}});
  const auto memory = Create("concat", 27, 32);
  ContiguousMemory::Place place = 0;
  ASSERT_TRUE(Admit(*memory, requests[0], place));
  EXPECT_EQ(memory->free_slots(), 17);
  for (std::int64_t n = 10; n < 13; ++n) {
    ASSERT_TRUE(memory->TryGrow(requests[0], n, n + 1)) << n;
  }
  EXPECT_EQ(memory->free_slots(), 14);
  EXPECT_EQ(memory->copied_slots(), 10 + 11 + 12);
  EXPECT_EQ(memory->extent_slots(), 12 + 13);
  ASSERT_TRUE(memory->TryGrow(requests[0], 13, 14));  // 13 + 14 is all
  EXPECT_EQ(memory->extent_slots(), 27);
  EXPECT_FALSE(memory->TryGrow(requests[0], 14, 15));
  EXPECT_EQ(memory->free_slots(), 13);
}

TEST(ContiguousMemoryTest, ConcatCouldHoldWhatFitsTwiceInItsLastStep) {
  const auto memory = Create("concat", 27, 32);
  const auto requests = Requests({{10, 5}, {10, 6}});  // 13 + 14, 14 + 15
  EXPECT_TRUE(memory->CouldHold(requests[0]));
  EXPECT_FALSE(memory->CouldHold(requests[1]));
  // That does not depend on what is in use.
  ContiguousMemory::Place place = 0;
  ASSERT_TRUE(Admit(*memory, requests[0], place));
  EXPECT_TRUE(memory->CouldHold(requests[0]));
}

TEST(ContiguousMemoryTest, ConcatAdmitsWithRoomForTheNextCopyOfTheLongest) {
  const auto requests = Requests({{5, 2}});
  const auto admit = [&requests](ContiguousMemory& memory,
                                 std::int64_t longest_running) {
    ContiguousMemory::Place place = 0;
    return memory.TryAdmit({.request = requests[0],
                            .known_tokens = 5,
                            .first_tokens = 5,
                            .longest_running = longest_running},
                           place);
  };
  EXPECT_FALSE(admit(*Create("concat", 13, 32), 8));  // 5 and 8 + 1
  EXPECT_TRUE(admit(*Create("concat", 14, 32), 8));
  EXPECT_FALSE(admit(*Create("concat", 10, 32), 2));  // 5 and 5 + 1
  EXPECT_TRUE(admit(*Create("concat", 11, 32), 2));
  EXPECT_TRUE(admit(*Create("concat", 5, 32), 0));  // alone
}

TEST(ContiguousMemoryTest, NothingFitsInLessThanOneChunk) {
  const auto requests = Requests({{5, 2}});
  EXPECT_FALSE(Create("contiguous-max", 2047, 2048)->CouldHold(requests[0]));
  EXPECT_TRUE(Create("contiguous-max", 2048, 2048)->CouldHold(requests[0]));
  EXPECT_FALSE(
      Create("contiguous-max-exact", 1999, 2000)->CouldHold(requests[0]));
  EXPECT_FALSE(Create("contiguous-oracle", 7, 2048)->CouldHold(requests[0]));
  EXPECT_TRUE(Create("contiguous-oracle", 8, 2048)->CouldHold(requests[0]));
}

}  // namespace
}  // namespace pagedkv::sim
