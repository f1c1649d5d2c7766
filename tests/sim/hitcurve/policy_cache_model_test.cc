// SPDX-License-Identifier: Apache-2.0
// The simulated cache against stack distances, and its invariants under each
// policy of the library.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/eviction_policy.h"
#include "sim/hitcurve/lru_curve.h"
#include "sim/hitcurve/policy_cache.h"
#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

LruCurve CurveOf(const BlockTrace& trace) {
  LruCurve curve(trace.block_size());
  for (std::size_t i = 0; i < trace.num_requests(); ++i) {
    curve.Add(trace.contents(i), trace.prompt(i));
  }
  return curve;
}

HitCounts ServeAll(const BlockTrace& trace, BlockCount capacity,
                   std::unique_ptr<EvictionPolicy> policy) {
  PolicyCache cache(trace, capacity, std::move(policy));
  HitCounts counts;
  for (std::size_t i = 0; i < trace.num_requests(); ++i) {
    const auto hits = cache.Serve(i);
    EXPECT_TRUE(hits.ok()) << hits.status().ToString();
    EXPECT_TRUE(cache.CheckInvariants().ok())
        << "request " << i << ": " << cache.CheckInvariants().ToString();
    if (testing::Test::HasFailure()) break;
    counts.AddRequest(static_cast<std::int64_t>(trace.contents(i).size()),
                      trace.prompt(i));
    counts.AddHits(*hits, trace.block_size(), trace.prompt(i));
  }
  return counts;
}

std::vector<BlockCount> SizesFor(const BlockTrace& trace) {
  std::vector<BlockCount> sizes;
  for (std::int64_t size = 1; size <= trace.num_contents().value();
       size += 1 + size / 3) {
    sizes.emplace_back(size);
  }
  return sizes;
}

TEST(PolicyCacheModelTest, SimulatedLruIsExactLru) {
  for (const IdKind kind : {IdKind::kPrefixes, IdKind::kAny}) {
    for (std::uint32_t seed = 1; seed <= 6; ++seed) {
      const BlockTrace trace =
          MakeTrace(RandomRequests(seed, kind, 200, 1 + seed, 1 + 2 * seed));
      const LruCurve curve = CurveOf(trace);
      for (const BlockCount size : SizesFor(trace)) {
        SCOPED_TRACE(testing::Message()
                     << "seed " << seed << ", kind " << static_cast<int>(kind)
                     << ", " << size);
        ASSERT_EQ(
            ServeAll(trace, size,
                     std::make_unique<ListPolicy>(ListPolicy::Order::kIdle)),
            curve.At(size));
        ASSERT_EQ(ServeAll(trace, size,
                           *CreateEvictionPolicy("lru",
                                                 PolicyCache::NumBlocks(size))),
                  curve.At(size));
      }
    }
  }
}

TEST(PolicyCacheModelTest, EachPolicyKeepsTheInvariants) {
  for (const std::string& name : EvictionPolicyNames()) {
    for (const IdKind kind : {IdKind::kPrefixes, IdKind::kAny}) {
      for (std::uint32_t seed = 1; seed <= 3; ++seed) {
        const BlockTrace trace =
            MakeTrace(RandomRequests(seed, kind, 200, 6, 5));
        const LruCurve curve = CurveOf(trace);
        for (const BlockCount size : SizesFor(trace)) {
          SCOPED_TRACE(testing::Message()
                       << name << ", seed " << seed << ", kind "
                       << static_cast<int>(kind) << ", " << size);
          const HitCounts counts = ServeAll(
              trace, size,
              *CreateEvictionPolicy(name, PolicyCache::NumBlocks(size)));
          ASSERT_LE(counts.hit_blocks, curve.Unbounded().hit_blocks);
          if (size == trace.num_contents()) {
            ASSERT_EQ(counts, curve.Unbounded());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace pagedkv::sim
