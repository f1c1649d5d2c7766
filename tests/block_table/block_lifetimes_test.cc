// SPDX-License-Identifier: Apache-2.0
#include "block_table/block_lifetimes.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// The bucket of a duration.
std::int64_t InBucketOf(const DurationHistogram& histogram,
                        std::int64_t duration) {
  DurationHistogram one;
  one.Add(duration);
  for (std::size_t b = 0; b < DurationHistogram::kNumBuckets; ++b) {
    if (one.bucket(b) == 1) return histogram.bucket(b);
  }
  return 0;
}

TEST(BlockLifetimesTest, ABlockHasALifetimeAnIdleTimeAndGapsBetweenHits) {
  BlockLifetimes lifetimes(BlockCount(4), /*rate=*/1, /*seed=*/7);
  const BlockId block(2);
  lifetimes.OnStored(block, 100);
  lifetimes.OnHit(block, 110);   // the first has no gap
  lifetimes.OnHit(block, 1000);  // 890
  lifetimes.OnHit(block, 1003);  // 3
  lifetimes.OnRemoved(block, RemovalReason::kCapacity, 5000);
  const CacheHistograms& histograms = lifetimes.histograms();
  EXPECT_EQ(histograms.num_sampled, 1);
  EXPECT_EQ(histograms.lifetime.count(), 1);
  EXPECT_EQ(InBucketOf(histograms.lifetime, 4900), 1);
  EXPECT_EQ(histograms.idle_before_evict.count(), 1);
  EXPECT_EQ(InBucketOf(histograms.idle_before_evict, 3997), 1);
  EXPECT_EQ(histograms.reuse_gap.count(), 2);
  EXPECT_EQ(InBucketOf(histograms.reuse_gap, 890), 1);
  EXPECT_EQ(InBucketOf(histograms.reuse_gap, 3), 1);
  EXPECT_TRUE(lifetimes.CheckInvariants().ok());
}

TEST(BlockLifetimesTest, ABlockThatWasNeverHitIsIdleFromItsCaching) {
  BlockLifetimes lifetimes(BlockCount(4), 1, 7);
  lifetimes.OnStored(BlockId(1), 50);
  lifetimes.OnRemoved(BlockId(1), RemovalReason::kEvicted, 80);
  EXPECT_EQ(InBucketOf(lifetimes.histograms().idle_before_evict, 30), 1);
  EXPECT_EQ(lifetimes.histograms().reuse_gap.count(), 0);
}

TEST(BlockLifetimesTest, WhatBecomesInvalidHadNoLifetime) {
  BlockLifetimes lifetimes(BlockCount(4), 1, 7);
  lifetimes.OnStored(BlockId(1), 0);
  lifetimes.OnRemoved(BlockId(1), RemovalReason::kInvalid, 10);
  lifetimes.OnStored(BlockId(2), 0);
  lifetimes.OnCleared();
  EXPECT_EQ(lifetimes.histograms().num_sampled, 2);
  EXPECT_EQ(lifetimes.histograms().lifetime.count(), 0);
  EXPECT_TRUE(lifetimes.CheckInvariants().ok());
  // Nor does it go on afterwards.
  lifetimes.OnHit(BlockId(2), 20);
  lifetimes.OnRemoved(BlockId(2), RemovalReason::kCapacity, 30);
  EXPECT_EQ(lifetimes.histograms().lifetime.count(), 0);
  EXPECT_TRUE(lifetimes.CheckInvariants().ok());
}

TEST(BlockLifetimesTest, StoringWhatIsStoredChangesNothing) {
  BlockLifetimes lifetimes(BlockCount(4), 1, 7);
  lifetimes.OnStored(BlockId(1), 0);
  lifetimes.OnStored(BlockId(1), 100);
  lifetimes.OnRemoved(BlockId(1), RemovalReason::kCapacity, 101);
  EXPECT_EQ(lifetimes.histograms().num_sampled, 1);
  EXPECT_EQ(InBucketOf(lifetimes.histograms().lifetime, 101), 1);
}

TEST(BlockLifetimesTest, TheSampleHasItsRateAndComesAgainWithItsSeed) {
  constexpr std::int64_t kBlocks = 1000;
  constexpr int kRounds = 100;
  const auto sample = [](std::uint64_t seed) {
    BlockLifetimes lifetimes(BlockCount(kBlocks), 0.01, seed);
    std::vector<std::int64_t> sampled;
    for (int round = 0; round < kRounds; ++round) {
      for (std::int32_t i = 1; i < kBlocks; ++i) {
        lifetimes.OnStored(BlockId(i), 0);
        lifetimes.OnRemoved(BlockId(i), RemovalReason::kCapacity, 1);
      }
      sampled.push_back(lifetimes.histograms().num_sampled);
    }
    EXPECT_TRUE(lifetimes.CheckInvariants().ok());
    return sampled;
  };
  const std::vector<std::int64_t> first = sample(1);
  // 999 in 99,900, with a standard deviation of 31.
  EXPECT_NEAR(static_cast<double>(first.back()), 999, 130);
  EXPECT_EQ(sample(1), first);
  EXPECT_NE(sample(2), first);
}

TEST(BlockLifetimesTest, AManagerFollowsItsBlocksOnItsClock) {
  KvCacheManagerOptions options;
  options.pool = {.num_blocks = BlockCount(4), .prefix_caching = true};
  options.groups = {{.block_size = BlockSize(4)}};
  options.max_sequence_tokens = TokenCount(16);
  options.prefix_cache = {.lifetime_sample_rate = 1};
  auto manager = KvCacheManager::Create(options);
  ASSERT_TRUE(manager.ok()) << manager.status();
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
  const std::vector<TokenId> others = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
  const auto run = [&](std::span<const TokenId> content) {
    const SequenceId id = *manager->AddSequence();
    PrefixMatch match;
    ASSERT_TRUE(manager->Match(id, content, match).ok());
    ASSERT_TRUE(*manager->TryAppend(
        id, TokenCount(std::ssize(content)) - match.num_tokens,
        {.tokens = content, .match = &match}));
    ASSERT_TRUE(manager->Release(id).ok());
  };
  manager->SetTime(10 * kSecond);
  run(tokens);
  manager->SetTime(11 * kSecond);
  run(tokens);
  manager->SetTime(15 * kSecond);
  run(tokens);  // four seconds after the last hit
  manager->SetTime(100 * kSecond);
  run(others);  // takes all blocks

  const CacheHistograms histograms = manager->cache_histograms();
  EXPECT_EQ(histograms.num_sampled, 4);
  EXPECT_EQ(histograms.lifetime.count(), 1);
  EXPECT_EQ(InBucketOf(histograms.lifetime, 90 * kSecond), 1);
  EXPECT_EQ(InBucketOf(histograms.idle_before_evict, 85 * kSecond), 1);
  EXPECT_EQ(histograms.reuse_gap.count(), 1);
  EXPECT_EQ(InBucketOf(histograms.reuse_gap, 4 * kSecond), 1);
  EXPECT_TRUE(manager->CheckInvariants().ok());
}

TEST(BlockLifetimesTest, ARateThatIsNoShareIsRefusedByName) {
  for (const double rate : {-0.1, 1.1, std::nan("")}) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(4), .prefix_caching = true};
    options.max_sequence_tokens = TokenCount(16);
    options.prefix_cache = {.lifetime_sample_rate = rate};
    const auto manager = KvCacheManager::Create(options);
    EXPECT_EQ(manager.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace pagedkv
