// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/eviction_policy.h"

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/support/cache_simulator.h"

namespace pagedkv {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr BlockId kA{1};
constexpr BlockId kB{2};
constexpr BlockId kC{3};
constexpr BlockId kD{4};

std::unique_ptr<EvictionPolicy> Make(std::string_view name,
                                     std::int64_t capacity) {
  return *CreateEvictionPolicy(name, BlockCount(capacity + 1));
}

void Cache(EvictionPolicy& policy, BlockId block, CachedBlockInfo info = {}) {
  if (info.content == 0) {
    info.content = static_cast<std::uint64_t>(block.value());
  }
  policy.OnInsert(block, info);
  policy.OnIdle(block);
}

void Cache(EvictionPolicy& policy, std::initializer_list<BlockId> blocks) {
  for (BlockId block : blocks) Cache(policy, block);
}

// A hit of an idle block by a request that ends at once.
void Use(EvictionPolicy& policy, BlockId block) {
  policy.OnHit(block);
  policy.OnUse(block);
  policy.OnIdle(block);
}

// All candidates, in the order in which they are given up.
std::vector<BlockId> Drain(EvictionPolicy& policy) {
  std::vector<BlockId> order;
  for (BlockId block = policy.Victim(); block != kNullBlock;
       block = policy.Victim()) {
    policy.OnRemove(block);
    order.push_back(block);
  }
  EXPECT_TRUE(policy.CheckInvariants().ok()) << policy.CheckInvariants();
  return order;
}

class EvictionPolicyTest : public testing::TestWithParam<std::string> {
 protected:
  EvictionPolicyTest() : policy_(Make(GetParam(), 20)) {}
  std::unique_ptr<EvictionPolicy> policy_;
};

INSTANTIATE_TEST_SUITE_P(AllPolicies, EvictionPolicyTest,
                         testing::ValuesIn(EvictionPolicyNames()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(EvictionPolicyTest, HasItsName) {
  EXPECT_EQ(policy_->name(), GetParam());
}

TEST_P(EvictionPolicyTest, WithoutCandidatesThereIsNoVictim) {
  EXPECT_EQ(policy_->Victim(), kNullBlock);
  policy_->OnInsert(kA, {.content = 7});
  EXPECT_EQ(policy_->Victim(), kNullBlock);
  EXPECT_EQ(policy_->num_candidates(), 0);
}

TEST_P(EvictionPolicyTest, ABlockIsACandidateWhileNobodyUsesIt) {
  policy_->OnInsert(kA, {.content = 7});
  policy_->OnIdle(kA);
  EXPECT_EQ(policy_->Victim(), kA);
  EXPECT_EQ(policy_->num_candidates(), 1);
  policy_->OnUse(kA);
  EXPECT_EQ(policy_->Victim(), kNullBlock);
  policy_->OnHit(kA);
  EXPECT_EQ(policy_->Victim(), kNullBlock);
  policy_->OnIdle(kA);
  EXPECT_EQ(policy_->Victim(), kA);
  policy_->OnRemove(kA);
  EXPECT_EQ(policy_->Victim(), kNullBlock);
  EXPECT_EQ(policy_->num_candidates(), 0);
}

TEST_P(EvictionPolicyTest, VictimRemovesNothingAndAnswersTheSameAgain) {
  for (std::int32_t id = 1; id <= 20; ++id) Cache(*policy_, BlockId(id));
  for (std::int32_t id = 1; id <= 20; id += 3) {
    Use(*policy_, BlockId(id));
    Use(*policy_, BlockId(id));
  }
  while (policy_->num_candidates() > 0) {
    const std::int64_t candidates = policy_->num_candidates();
    const BlockId victim = policy_->Victim();
    EXPECT_EQ(policy_->Victim(), victim);
    EXPECT_EQ(policy_->num_candidates(), candidates);
    policy_->OnRemove(victim);
  }
}

TEST_P(EvictionPolicyTest, AnotherBlockMayGoInTheVictimsPlace) {
  Cache(*policy_, {kA, kB, kC});
  policy_->OnInsert(kD, {.content = 4});
  const BlockId victim = policy_->Victim();
  const BlockId other = victim == kB ? kC : kB;
  policy_->OnRemove(other);
  policy_->OnRemove(kD);  // in use: its content became invalid
  EXPECT_EQ(policy_->num_candidates(), 2);
  EXPECT_THAT(Drain(*policy_), testing::Not(testing::Contains(other)));
}

TEST_P(EvictionPolicyTest, HintsForWhatIsNotCachedAreIgnored) {
  policy_->OnExpect(kA, true);
  policy_->OnExpect(kA, false);
  policy_->OnExpect(BlockId(1000), true);
  policy_->OnMiss({.content = 7});
  Cache(*policy_, kA);
  policy_->OnExpect(kA, false);
  EXPECT_EQ(policy_->Victim(), kA);
}

// Drives a policy as a cache does that holds as much as the capacity allows.
std::vector<BlockId> VictimsOfARun(EvictionPolicy& policy,
                                   std::int64_t capacity) {
  std::vector<BlockId> victims;
  std::mt19937_64 random(11);
  std::map<std::uint64_t, BlockId> cached;
  std::int32_t unused = 1;
  for (int i = 0; i < 2000; ++i) {
    // Some contents are asked for more often than others.
    const std::uint64_t content = 1 + (random() % 40) * (random() % 3);
    if (const auto found = cached.find(content); found != cached.end()) {
      policy.OnHit(found->second);
      continue;
    }
    const CachedBlockInfo info{.content = content};
    policy.OnMiss(info);
    BlockId block(unused);
    if (unused <= capacity) {
      ++unused;
    } else {
      block = policy.Victim();
      victims.push_back(block);
      policy.OnRemove(block);
      std::erase_if(cached, [&](const auto& e) { return e.second == block; });
    }
    cached[content] = block;
    policy.OnInsert(block, info);
    policy.OnIdle(block);
  }
  return victims;
}

TEST_P(EvictionPolicyTest, ASmallerCapacityIsThatOfASmallerPolicy) {
  const auto small = Make(GetParam(), 17);
  const auto shrunk = Make(GetParam(), 23);
  shrunk->SetCapacity(BlockCount(18));
  const auto grown = Make(GetParam(), 23);
  grown->SetCapacity(BlockCount(6));
  grown->SetCapacity(BlockCount(18));
  const std::vector<BlockId> expected = VictimsOfARun(*small, 17);
  EXPECT_GT(expected.size(), 100u);
  EXPECT_EQ(VictimsOfARun(*shrunk, 17), expected);
  EXPECT_EQ(VictimsOfARun(*grown, 17), expected);
  EXPECT_TRUE(shrunk->CheckInvariants().ok());
}

TEST_P(EvictionPolicyTest, ServesTheSmallestPool) {
  const std::unique_ptr<EvictionPolicy> policy = Make(GetParam(), 1);
  CacheSimulator cache(*policy, 1);
  for (std::uint64_t content : {1u, 2u, 2u, 3u, 1u, 1u, 2u}) {
    cache.Access(content);
    EXPECT_TRUE(cache.Contains(content));
    EXPECT_TRUE(policy->CheckInvariants().ok()) << policy->CheckInvariants();
  }
}

using EvictionPolicyDeathTest = EvictionPolicyTest;
INSTANTIATE_TEST_SUITE_P(AllPolicies, EvictionPolicyDeathTest,
                         testing::ValuesIn(EvictionPolicyNames()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(EvictionPolicyDeathTest, CallsThatBreakTheContractAbort) {
  EXPECT_DEATH(policy_->OnInsert(kNullBlock, {}), "kNullBlock");
  EXPECT_DEATH(policy_->OnInsert(BlockId(21), {}), "size");
  EXPECT_DEATH(policy_->OnHit(kA), "IsCached");
  EXPECT_DEATH(policy_->OnIdle(BlockId(-1)), "IsCached");
  EXPECT_DEATH(policy_->OnRemove(kA), "IsCached");
  policy_->OnInsert(kA, {.content = 7});
  EXPECT_DEATH(policy_->OnInsert(kA, {.content = 7}), "kNone");
  EXPECT_DEATH(policy_->OnUse(kA), "kCandidate");
  policy_->OnIdle(kA);
  EXPECT_DEATH(policy_->OnIdle(kA), "kUsed");
}

TEST(CreateEvictionPolicyTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto policy = CreateEvictionPolicy("mru", BlockCount(8));
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(policy.status().message()),
              AllOf(HasSubstr("\"mru\""), HasSubstr("lru, lfu, slru, s3-fifo"),
                    HasSubstr("gdsf, queue-lru")));
}

TEST(CreateEvictionPolicyTest, ANumberOfBlocksOutOfRangeIsRefused) {
  EXPECT_FALSE(CreateEvictionPolicy("lru", BlockCount(1)).ok());
  EXPECT_FALSE(CreateEvictionPolicy("lru", BlockCount(-5)).ok());
  EXPECT_FALSE(
      CreateEvictionPolicy("lru", BlockCount((std::int64_t{1} << 30) + 1))
          .ok());
}

TEST(LruPolicyTest, TheLeastRecentlyUsedGoesFirst) {
  const auto policy = Make("lru", 8);
  Cache(*policy, {kA, kB, kC, kD});
  policy->OnHit(kB);
  Use(*policy, kA);
  EXPECT_THAT(Drain(*policy), ElementsAre(kC, kD, kB, kA));
}

TEST(LruPolicyTest, TimeInUseCounts) {
  const auto policy = Make("lru", 8);
  Cache(*policy, {kA, kB});
  policy->OnUse(kA);
  Cache(*policy, kC);
  policy->OnIdle(kA);
  EXPECT_THAT(Drain(*policy), ElementsAre(kB, kC, kA));
}

TEST(LfuPolicyTest, TheLeastOftenUsedGoesFirstAndOfThoseTheOldest) {
  const auto policy = Make("lfu", 8);
  Cache(*policy, {kA, kB, kC, kD});
  for (int i = 0; i < 3; ++i) Use(*policy, kA);
  Use(*policy, kD);
  Use(*policy, kC);
  EXPECT_THAT(Drain(*policy), ElementsAre(kB, kD, kC, kA));
}

TEST(LfuPolicyTest, HitsInUseCount) {
  const auto policy = Make("lfu", 8);
  Cache(*policy, {kA, kB});
  policy->OnUse(kA);
  policy->OnHit(kA);
  policy->OnIdle(kA);
  EXPECT_THAT(Drain(*policy), ElementsAre(kB, kA));
}

TEST(LfuPolicyTest, BeyondTheHighestFrequencyRecencyDecides) {
  const auto policy = Make("lfu", 8);
  Cache(*policy, {kA, kB, kC});
  for (int i = 0; i < 5000; ++i) policy->OnHit(kA);
  for (int i = 0; i < 4094; ++i) policy->OnHit(kB);
  for (int i = 0; i < 4000; ++i) policy->OnHit(kC);
  EXPECT_THAT(Drain(*policy), ElementsAre(kC, kA, kB));
}

TEST(LfuPolicyTest, WhatIsCachedAgainBeginsAnew) {
  const auto policy = Make("lfu", 8);
  Cache(*policy, {kA, kB});
  for (int i = 0; i < 9; ++i) Use(*policy, kA);
  policy->OnRemove(kA);
  Use(*policy, kB);
  Cache(*policy, kA);
  EXPECT_EQ(policy->Victim(), kA);
}

TEST(SlruPolicyTest, WhatWasHitIsProtected) {
  const auto policy = Make("slru", 10);
  Cache(*policy, {kA, kB, kC, kD});
  Use(*policy, kA);
  policy->OnHit(kB);
  EXPECT_THAT(Drain(*policy), ElementsAre(kC, kD, kA, kB));
}

TEST(SlruPolicyTest, BeyondItsShareTheOldestOfWhatIsProtectedGoesBack) {
  const auto policy = Make("slru", 5);  // of which 4 protected
  Cache(*policy, {kA, kB, kC, kD, BlockId(5)});
  for (std::int32_t id = 1; id <= 5; ++id) policy->OnHit(BlockId(id));
  // All five were hit; the first is on probation again, and goes.
  EXPECT_EQ(policy->Victim(), kA);
  policy->OnHit(kA);
  EXPECT_EQ(policy->Victim(), kB);
}

TEST(SlruPolicyTest, WhereTheCapacityShrinksTheOldestThatIsProtectedGoesBack) {
  const auto policy = Make("slru", 10);  // of which 8 protected
  Cache(*policy, {kA, kB, kC, kD, BlockId(5)});
  for (std::int32_t id = 1; id <= 4; ++id) Use(*policy, BlockId(id));
  EXPECT_EQ(policy->Victim(), BlockId(5));
  policy->SetCapacity(BlockCount(6));  // 5, of which 4 protected
  policy->OnRemove(BlockId(5));
  EXPECT_EQ(policy->Victim(), kA);
  policy->SetCapacity(BlockCount(3));  // 2, of which 1 protected
  Cache(*policy, BlockId(6));
  EXPECT_THAT(Drain(*policy), ElementsAre(kA, kB, kC, BlockId(6), kD));
}

TEST(SlruPolicyTest, WhatIsInUseCountsForItsSegment) {
  const auto policy = Make("slru", 5);
  Cache(*policy, {kA, kB, kC, kD, BlockId(5)});
  for (std::int32_t id = 1; id <= 4; ++id) {
    policy->OnHit(BlockId(id));
    policy->OnUse(BlockId(id));
  }
  policy->OnHit(BlockId(5));
  // Only the last could be sent back.
  EXPECT_EQ(policy->Victim(), BlockId(5));
  policy->OnIdle(kA);
  EXPECT_THAT(Drain(*policy), ElementsAre(BlockId(5), kA));
}

TEST(SievePolicyTest, TheHandPassesWhatWasHitOnce) {
  const auto policy = Make("sieve", 8);
  Cache(*policy, {kA, kB, kC, kD});
  policy->OnHit(kA);
  policy->OnHit(kC);
  EXPECT_EQ(policy->Victim(), kB);
  policy->OnRemove(kB);
  // On from there: c loses its mark, and d is the next without one.
  EXPECT_EQ(policy->Victim(), kD);
  policy->OnRemove(kD);
  EXPECT_THAT(Drain(*policy), ElementsAre(kA, kC));
}

TEST(SievePolicyTest, NewContentStandsBehindTheHand) {
  const auto policy = Make("sieve", 8);
  Cache(*policy, {kA, kB});
  policy->OnHit(kA);
  EXPECT_EQ(policy->Victim(), kB);
  policy->OnRemove(kB);
  // The hand has gone around: it begins at the oldest again.
  Cache(*policy, kC);
  EXPECT_EQ(policy->Victim(), kA);
}

TEST(S3FifoPolicyTest, WhatCameBackSoonEntersTheMainQueue) {
  const auto policy = Make("s3-fifo", 20);
  CacheSimulator cache(*policy, 20);
  for (std::uint64_t content = 1; content <= 20; ++content) {
    cache.Access(content);  // 1 and 2 in the small queue, 3 to 20 in the main
  }
  cache.Access(21);
  ASSERT_FALSE(cache.Contains(1));
  cache.Access(1);
  // New content comes and goes in the small queue, and 1 stays.
  for (std::uint64_t content = 100; content < 115; ++content) {
    cache.Access(content);
  }
  EXPECT_TRUE(cache.Contains(1));
  EXPECT_FALSE(cache.Contains(21));
}

TEST(S3FifoPolicyTest, TwoHitsInTheSmallQueueAreEnoughToStayAndOneIsNot) {
  const auto policy = Make("s3-fifo", 20);
  CacheSimulator cache(*policy, 20);
  for (std::uint64_t content = 1; content <= 20; ++content) {
    cache.Access(content);
  }
  cache.Access(1);
  cache.Access(2);
  cache.Access(2);
  for (std::uint64_t content = 100; content < 104; ++content) {
    cache.Access(content);
  }
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_TRUE(cache.Contains(2));
}

TEST(ArcPolicyTest, AGhostThatIsAskedForMovesTheTarget) {
  const auto policy = Make("arc", 4);
  CacheSimulator cache(*policy, 4);
  // 1 and 2 seen twice, 3 and 4 once; 5 sends 3 to B1.
  for (std::uint64_t content : {1u, 2u, 1u, 2u, 3u, 4u, 5u})
    cache.Access(content);
  ASSERT_FALSE(cache.Contains(3));
  // The target is 1 now, and T1 = {4, 5} is above it: 4 goes, and then, with
  // the target at 2 and T1 = {5}, it is T2's turn: 1.
  cache.Access(3);
  EXPECT_FALSE(cache.Contains(4));
  cache.Access(4);
  EXPECT_FALSE(cache.Contains(1));
  EXPECT_TRUE(cache.Contains(5));
}

TEST(ArcPolicyTest, WithoutOnMissTheTargetFollowsAtTheInsertion) {
  const auto policy = Make("arc", 2);
  Cache(*policy, {kA, kB});
  Use(*policy, kA);
  policy->OnRemove(kB);
  Cache(*policy, kB);  // a ghost's content: in T2 from now on
  EXPECT_EQ(policy->Victim(), kA);
  EXPECT_TRUE(policy->CheckInvariants().ok());
}

TEST(TinyLfuPolicyTest, WhatIsSeldomSeenIsNotAdmitted) {
  const auto policy = Make("tinylfu", 100);
  CacheSimulator cache(*policy, 100);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t content = 1; content <= 100; ++content) {
      cache.Access(content);
    }
  }
  // All of the scan goes through the window of one block. It is shorter than
  // the time after which the sketch forgets half.
  for (std::uint64_t content = 1000; content < 1400; ++content) {
    cache.Access(content);
  }
  int kept = 0;
  for (std::uint64_t content = 1; content <= 100; ++content) {
    kept += cache.Contains(content) ? 1 : 0;
  }
  EXPECT_EQ(kept, 99);
}

TEST(TinyLfuPolicyTest, WhatIsSeenOftenDisplacesWhatIsNot) {
  const auto policy = Make("tinylfu", 100);
  CacheSimulator cache(*policy, 100);
  for (std::uint64_t content = 1; content <= 100; ++content) {
    cache.Access(content);
  }
  // Evicted each time, and remembered by the sketch.
  for (std::uint64_t other = 6000; other < 6008; ++other) {
    cache.Access(5000);
    cache.Access(other);
  }
  EXPECT_TRUE(cache.Contains(5000));
}

TEST(PriorityPolicyTest, TheLowestPriorityGoesFirstAndOfThoseTheOldest) {
  const auto policy = Make("priority", 8);
  Cache(*policy, kA, {.priority = 90});
  Cache(*policy, kB, {.priority = 0});
  Cache(*policy, kC);
  Cache(*policy, kD);
  policy->OnHit(kC);
  EXPECT_THAT(Drain(*policy), ElementsAre(kB, kD, kC, kA));
}

TEST(PriorityPolicyTest, APriorityOutOfRangeCountsAsTheNearest) {
  const auto policy = Make("priority", 8);
  Cache(*policy, kA, {.priority = 1000});
  Cache(*policy, kB, {.priority = 100});
  Cache(*policy, kC, {.priority = -1000});
  EXPECT_THAT(Drain(*policy), ElementsAre(kC, kA, kB));
}

TEST(PriorityPolicyTest, WhenItsTimeIsOverABlockHasTheDefaultPriority) {
  const auto policy = Make("priority", 8);
  Cache(*policy, kA, {.priority = 90, .expires_ns = 100});
  Cache(*policy, kB, {.priority = 80});
  Cache(*policy, kC, {.priority = 36, .expires_ns = 101});
  policy->SetTime(99);
  EXPECT_EQ(policy->Victim(), kC);
  EXPECT_FALSE(policy->has_expired(kA));
  policy->SetTime(100);
  EXPECT_EQ(policy->Victim(), kA);
  EXPECT_TRUE(policy->has_expired(kA));
  EXPECT_FALSE(policy->has_expired(kB));
  policy->SetTime(0);  // it does not go back
  Cache(*policy, kD, {.priority = 50, .expires_ns = 50});
  EXPECT_THAT(Drain(*policy), ElementsAre(kA, kD, kC, kB));
}

TEST(PriorityPolicyTest, TimeGoesOnInUseAsWell) {
  const auto policy = Make("priority", 8);
  policy->OnInsert(kA, {.content = 1, .priority = 90, .expires_ns = 100});
  Cache(*policy, kB, {.priority = 40});
  policy->SetTime(100);
  policy->OnIdle(kA);
  EXPECT_THAT(Drain(*policy), ElementsAre(kA, kB));
}

TEST(PriorityPolicyTest, ALowPriorityExpiresUpwards) {
  const auto policy = Make("priority", 8);
  Cache(*policy, kA, {.priority = 0, .expires_ns = 100});
  Cache(*policy, kB, {.priority = 10});
  EXPECT_EQ(policy->Victim(), kA);
  policy->SetTime(100);
  EXPECT_EQ(policy->Victim(), kB);
}

TEST(PriorityPolicyTest, RetentionCanBeChanged) {
  const auto policy = Make("priority", 8);
  Cache(*policy, {kA, kB});
  policy->OnRetain(kA, 100, 500);
  EXPECT_EQ(policy->Victim(), kB);
  policy->OnRetain(kB, 100, 600);
  policy->OnRetain(kA, 20, 700);
  EXPECT_EQ(policy->Victim(), kA);
  policy->SetTime(600);  // b's: 35, still above a's 20
  EXPECT_EQ(policy->Victim(), kA);
  policy->SetTime(700);
  EXPECT_EQ(policy->Victim(), kB);
}

TEST(GdsfPolicyTest, WhatIsCheapToComputeGoesFirst) {
  const auto policy = Make("gdsf", 8);
  Cache(*policy, kA, {.position = 30});
  Cache(*policy, kB, {.position = 0});
  Cache(*policy, kC, {.position = 9});
  for (int i = 0; i < 20; ++i) policy->OnHit(kB);
  EXPECT_THAT(Drain(*policy), ElementsAre(kC, kB, kA));
}

TEST(GdsfPolicyTest, WhatIsNotUsedAges) {
  const auto policy = Make("gdsf", 2);
  CacheSimulator cache(*policy, 2);
  cache.Access({.content = 1, .position = 9});  // worth 10
  for (std::uint64_t content = 2; content < 12; ++content) {
    cache.Access(content);  // each worth the clock and 1
    EXPECT_TRUE(cache.Contains(1));
  }
  // The clock is at 9 and the last one worth 10 as well: the older goes.
  cache.Access(12);
  EXPECT_FALSE(cache.Contains(1));
}

TEST(QueueLruPolicyTest, WhatIsExpectedStaysWhileThereIsAnother) {
  const auto policy = Make("queue-lru", 8);
  Cache(*policy, {kA, kB, kC, kD});
  policy->OnExpect(kA, true);
  policy->OnExpect(kC, true);
  EXPECT_THAT(Drain(*policy), ElementsAre(kB, kD, kA, kC));
}

TEST(QueueLruPolicyTest, ExpectationsAreCounted) {
  const auto policy = Make("queue-lru", 8);
  Cache(*policy, {kA, kB});
  policy->OnExpect(kA, true);
  policy->OnExpect(kA, true);
  policy->OnExpect(kA, false);
  EXPECT_EQ(policy->Victim(), kB);
  policy->OnExpect(kA, false);
  EXPECT_EQ(policy->Victim(), kA);
}

TEST(QueueLruPolicyTest, ExpectationsEndWithTheContent) {
  const auto policy = Make("queue-lru", 8);
  Cache(*policy, {kA, kB});
  policy->OnExpect(kA, true);
  policy->OnRemove(kA);
  Cache(*policy, kA);
  Use(*policy, kB);
  EXPECT_EQ(policy->Victim(), kA);
}

// Frequency tells the hot contents from a scan; recency alone does not.
TEST(ScanResistanceTest, AScanFlushesLruAndNotTheOthers) {
  for (const std::string& name : EvictionPolicyNames()) {
    const auto policy = Make(name, 100);
    CacheSimulator cache(*policy, 100);
    for (int round = 0; round < 5; ++round) {
      for (std::uint64_t hot = 1; hot <= 50; ++hot) cache.Access(hot);
    }
    for (std::uint64_t scan = 1000; scan < 1120; ++scan) cache.Access(scan);
    int kept = 0;
    for (std::uint64_t hot = 1; hot <= 50; ++hot) {
      kept += cache.Contains(hot) ? 1 : 0;
    }
    const bool recency_only =
        name == "lru" || name == "queue-lru" || name == "priority";
    EXPECT_EQ(kept, recency_only ? 0 : 50) << name;
  }
}

TenantQuota Quota(std::int32_t tenant, std::int64_t floor,
                  std::int64_t ceiling = 1000) {
  return {.tenant = tenant,
          .floor = BlockCount(floor),
          .ceiling = BlockCount(ceiling)};
}

class TenantPolicyTest : public testing::Test {
 protected:
  // Blocks first .. first + count - 1 of the tenant.
  void Fill(std::int32_t tenant, std::int32_t first, std::int32_t count) {
    for (std::int32_t id = first; id < first + count; ++id) {
      Cache(*policy_, BlockId(id), {.tenant = tenant});
    }
  }

  std::unique_ptr<EvictionPolicy> policy_ = *CreateTenantPolicy(
      "lru", BlockCount(101), {Quota(7, 10), Quota(8, 0, 20), Quota(9, 5, 50)});
};

TEST_F(TenantPolicyTest, WhoIsAboveTheCeilingGivesFirst) {
  Fill(7, 1, 60);
  Fill(8, 70, 22);
  EXPECT_EQ(policy_->Victim(), BlockId(70));
  policy_->OnRemove(BlockId(70));
  EXPECT_EQ(policy_->Victim(), BlockId(71));
  policy_->OnRemove(BlockId(71));
  // 8 is at its ceiling, and 7 is further above its floor.
  EXPECT_EQ(policy_->Victim(), BlockId(1));
  EXPECT_TRUE(policy_->CheckInvariants().ok());
}

TEST_F(TenantPolicyTest, NobodyIsBroughtBelowTheFloorForAnother) {
  Fill(7, 1, 10);
  Fill(8, 20, 2);
  Fill(9, 30, 6);
  std::vector<BlockId> order;
  for (int i = 0; i < 3; ++i) {
    order.push_back(policy_->Victim());
    policy_->OnRemove(order.back());
  }
  EXPECT_THAT(order, ElementsAre(BlockId(20), BlockId(21), BlockId(30)));
  // All are at their floors: the largest gives.
  EXPECT_EQ(policy_->Victim(), kA);
}

TEST_F(TenantPolicyTest, WhatIsInUseCountsAndIsNotGiven) {
  Fill(7, 1, 12);
  for (std::int32_t id = 1; id <= 12; ++id) policy_->OnUse(BlockId(id));
  Fill(9, 30, 3);
  // 7 is above its floor, but has nothing to give.
  EXPECT_EQ(policy_->Victim(), BlockId(30));
  policy_->OnIdle(BlockId(4));
  EXPECT_EQ(policy_->Victim(), BlockId(4));
  EXPECT_EQ(policy_->num_candidates(), 4);
}

TEST_F(TenantPolicyTest, TenantsWithoutAQuotaShareOneWithoutLimits) {
  Fill(9, 1, 6);
  Fill(1, 20, 1);
  Fill(2, 21, 1);
  EXPECT_EQ(policy_->Victim(), BlockId(20));
  policy_->OnRemove(BlockId(20));
  policy_->OnHit(BlockId(21));
  EXPECT_TRUE(policy_->CheckInvariants().ok());
}

TEST_F(TenantPolicyTest, PassesHintsOn) {
  const auto policy =
      *CreateTenantPolicy("queue-lru", BlockCount(9), {Quota(1, 0)});
  Cache(*policy, {kA, kB});
  policy->OnExpect(kA, true);
  policy->OnExpect(kC, true);
  EXPECT_EQ(policy->Victim(), kB);

  const auto retaining =
      *CreateTenantPolicy("priority", BlockCount(9), {Quota(1, 0)});
  Cache(*retaining, kA, {.priority = 90, .expires_ns = 10});
  Cache(*retaining, kB, {.priority = 40});
  retaining->SetTime(10);
  EXPECT_EQ(retaining->Victim(), kA);
  retaining->OnRetain(kB, 1, 20);
  EXPECT_EQ(retaining->Victim(), kB);
}

TEST(CreateTenantPolicyTest, BadQuotasAreRefused) {
  const BlockCount blocks(11);
  const auto code = [&](std::vector<TenantQuota> quotas) {
    return CreateTenantPolicy("lru", blocks, std::move(quotas)).status().code();
  };
  EXPECT_EQ(code({Quota(1, 5), Quota(2, 5)}), absl::StatusCode::kOk);
  EXPECT_EQ(code({Quota(1, 5), Quota(2, 6)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Quota(1, 0), Quota(1, 0)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Quota(1, -1)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({Quota(1, 5, 4)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateTenantPolicy("mru", blocks, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pagedkv
