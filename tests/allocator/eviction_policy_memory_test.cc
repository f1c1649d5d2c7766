// SPDX-License-Identifier: Apache-2.0
//
// What each policy takes, which its header states, and that it takes it at
// construction. Counts the calls of operator new, so it is a program of its
// own.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "gtest/gtest.h"

#include "pagedkv/eviction_policy.h"
#include "tests/support/count_allocations.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kBlocks = 1 << 16;

class EvictionPolicyMemoryTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(AllPolicies, EvictionPolicyMemoryTest,
                         testing::ValuesIn(EvictionPolicyNames()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(EvictionPolicyMemoryTest, TakesWhatItsHeaderSays) {
  // Bytes per block, ghosts and sketch included, and 64 KiB of levels at most.
  const std::map<std::string, std::size_t> stated = {
      {"lru", 9},           {"lfu", 11},      {"slru", 10},
      {"s3-fifo", 19 + 36}, {"sieve", 10},    {"arc", 18 + 40},
      {"tinylfu", 18 + 16}, {"priority", 40}, {"gdsf", 37},
      {"queue-lru", 14}};
  const std::size_t before = CountedAllocations().bytes;
  const auto policy = *CreateEvictionPolicy(GetParam(), BlockCount(kBlocks));
  const std::size_t taken = CountedAllocations().bytes - before;
  EXPECT_LE(taken, kBlocks * stated.at(GetParam()) + (70 << 10));
  EXPECT_GE(taken, kBlocks * stated.at(GetParam()) / 2);
}

TEST_P(EvictionPolicyMemoryTest, AllocatesNothingAfterItsConstruction) {
  const auto policy = *CreateEvictionPolicy(GetParam(), BlockCount(kBlocks));
  std::mt19937_64 random(1);
  const std::size_t before = CountedAllocations().calls;
  for (std::int32_t i = 0; i < 4 * kBlocks; ++i) {
    BlockId block(i + 1);
    if (i + 1 >= kBlocks) {
      block = policy->Victim();
      policy->OnRemove(block);
    }
    const CachedBlockInfo info = {
        .content = random() % (std::uint64_t{3} * kBlocks),
        .position = static_cast<std::int32_t>(random() % 1000),
        .priority = static_cast<std::int32_t>(random() % 101),
        .expires_ns = i + 1000};
    policy->OnMiss(info);
    policy->OnInsert(block, info);
    policy->OnIdle(block);
    policy->OnExpect(block, true);
    policy->OnHit(block);
    policy->OnUse(block);
    policy->OnExpect(block, false);
    policy->OnIdle(block);
    policy->SetTime(i);
  }
  EXPECT_EQ(CountedAllocations().calls, before);
}

}  // namespace
}  // namespace pagedkv
