// SPDX-License-Identifier: Apache-2.0
// One pass over a trace against a plain cache of each size.
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

#include "sim/hitcurve/lru_curve.h"
#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

TEST(LruCurveModelTest, EachSizeHitsWhatACacheOfThatSizeHits) {
  for (const IdKind kind : {IdKind::kPrefixes, IdKind::kAny}) {
    for (std::uint32_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message()
                   << "seed " << seed << ", kind " << static_cast<int>(kind));
      const std::vector<TraceRequest> requests =
          RandomRequests(seed, kind, 300, 1 + seed, 1 + 2 * seed);
      const BlockTrace trace = MakeTrace(requests);
      LruCurve curve(trace.block_size());
      for (std::size_t i = 0; i < trace.num_requests(); ++i) {
        curve.Add(trace.contents(i), trace.prompt(i));
        if (i % 20 == 0) {
          ASSERT_TRUE(curve.stack().CheckInvariants().ok());
        }
      }
      const std::int64_t contents = trace.num_contents().value();
      for (std::int64_t size = 1; size <= contents + 2;
           size += size < 20 ? 1 : 1 + contents / 20) {
        ASSERT_EQ(curve.At(BlockCount(size)),
                  NaiveLru(requests, static_cast<std::size_t>(size)))
            << "size " << size;
      }
      EXPECT_EQ(curve.Unbounded(),
                NaiveLru(requests, static_cast<std::size_t>(contents)));
      if (curve.need() > BlockCount(0)) {
        EXPECT_NE(curve.At(curve.need() - BlockCount(1)), curve.Unbounded());
      }
    }
  }
}

}  // namespace
}  // namespace pagedkv::sim
