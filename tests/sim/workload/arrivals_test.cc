// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/arrivals.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <vector>

namespace pagedkv::sim {
namespace {

std::vector<TraceRequest> At(const std::vector<std::int64_t>& arrivals) {
  std::vector<TraceRequest> requests(arrivals.size());
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    requests[i].arrival_ns = arrivals[i];
  }
  return requests;
}

TEST(ArrivalsTest, ScalesGapsToTheRateAndKeepsTheirPattern) {
  auto requests = At({0, 0, 3'000'000'000, 4'000'000'000, 6'000'000'000});
  ASSERT_TRUE(ApplyRate(2.0, 1, requests).ok());  // was 4 gaps in 6 s
  EXPECT_EQ(requests[1].arrival_ns, 0);
  EXPECT_EQ(requests[2].arrival_ns, 1'000'000'000);
  EXPECT_EQ(requests[3].arrival_ns, 1'333'333'333);
  EXPECT_EQ(requests[4].arrival_ns, 2'000'000'000);
}

TEST(ArrivalsTest, DrawsPoissonArrivalsWhereThereAreNone) {
  std::vector<TraceRequest> requests(20'001);
  ASSERT_TRUE(ApplyRate(50.0, 1, requests).ok());
  EXPECT_EQ(requests.front().arrival_ns, 0);
  EXPECT_NEAR(static_cast<double>(requests.back().arrival_ns) / 1e9, 400, 12);
  for (std::size_t i = 1; i < requests.size(); ++i) {
    ASSERT_GE(requests[i].arrival_ns, requests[i - 1].arrival_ns);
  }
  std::vector<TraceRequest> other(20'001);
  ASSERT_TRUE(ApplyRate(50.0, 2, other).ok());
  EXPECT_NE(other[1].arrival_ns, requests[1].arrival_ns);
}

TEST(ArrivalsTest, TakesNoneAndOne) {
  std::vector<TraceRequest> none;
  EXPECT_TRUE(ApplyRate(1.0, 1, none).ok());
  auto one = At({5});
  EXPECT_TRUE(ApplyRate(1.0, 1, one).ok());
  EXPECT_EQ(one[0].arrival_ns, 0);
}

TEST(ArrivalsTest, RefusesRatesThatAreNoneOrTooLow) {
  for (const double rate :
       {0.0, -1.0, 1e-300, 1e-10, std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    auto pattern = At({0, 1'000'000'000});
    EXPECT_EQ(ApplyRate(rate, 1, pattern).code(),
              absl::StatusCode::kInvalidArgument)
        << rate;
    std::vector<TraceRequest> burst(10);
    EXPECT_FALSE(SetPoissonArrivals(rate, 1, burst).ok()) << rate;
  }
}

}  // namespace
}  // namespace pagedkv::sim
