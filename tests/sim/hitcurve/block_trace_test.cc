// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/block_trace.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/sim/hitcurve/hitcurve_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(BlockTraceTest, NumbersContentsInOrderOfTheirFirstUse) {
  std::vector<TraceRequest> requests = {MakeRequest({70, 50}), MakeRequest({}),
                                        MakeRequest({70, 90, 50}, 2)};
  requests[2].arrival_ns = 8;
  const BlockTrace trace = MakeTrace(requests);
  EXPECT_EQ(trace.num_requests(), 3u);
  EXPECT_EQ(trace.num_references(), 5);
  EXPECT_EQ(trace.num_contents(), BlockCount(3));
  EXPECT_THAT(trace.contents(0), ElementsAre(0, 1));
  EXPECT_THAT(trace.contents(1), IsEmpty());
  EXPECT_THAT(trace.contents(2), ElementsAre(0, 2, 1));
  EXPECT_EQ(trace.first_reference(2), 2u);
  EXPECT_EQ(trace.id(2), 90u);
  EXPECT_EQ(trace.prompt(2), TokenCount(10));
  EXPECT_EQ(trace.arrival_ns(2), 8);
  EXPECT_EQ(trace.block_size(), BlockSize(4));
}

TEST(BlockTraceTest, RefusesRequestsWithoutBlockIds) {
  const auto trace =
      BlockTrace::Create(std::vector<TraceRequest>{MakeRequest({})}, 0);
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(trace.status().message()),
              HasSubstr("have no block ids"));
}

}  // namespace
}  // namespace pagedkv::sim
