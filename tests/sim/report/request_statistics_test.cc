// SPDX-License-Identifier: Apache-2.0
#include "sim/report/request_statistics.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "sim/report/worst_requests.h"

namespace pagedkv::sim {
namespace {

/// A finished request of 10 + 7 tokens (16 slots) that wasted `waste` slots.
RequestRecord Finished(std::int64_t id, std::int64_t waste) {
  RequestRecord record;
  record.id = id;
  record.prompt_tokens = 10;
  record.output_tokens = 7;
  record.slots_granted = 16 + waste;
  return record;
}

TEST(RequestStatisticsTest, CountsSlotsBeyondTheFinalLengthAsWaste) {
  RequestStatistics statistics;
  statistics.Add(Finished(0, 0));
  EXPECT_EQ(statistics.WasteQuantile(1.0), 0);
  statistics.Add(Finished(1, 2032));
  EXPECT_EQ(statistics.WasteQuantile(1.0), 2032);
}

TEST(RequestStatisticsTest, GivesTheQuantilesOfOneToAHundred) {
  RequestStatistics statistics;
  for (std::int64_t i = 100; i >= 1; --i) statistics.Add(Finished(i, i));
  EXPECT_EQ(statistics.WasteQuantile(0.5), 50);
  EXPECT_EQ(statistics.WasteQuantile(0.9), 90);
  EXPECT_EQ(statistics.WasteQuantile(0.99), 99);
  EXPECT_EQ(statistics.WasteQuantile(1.0), 100);
}

TEST(RequestStatisticsTest, CountsRequestsInRangesThatDouble) {
  RequestStatistics statistics;
  std::int64_t id = 0;
  for (const std::int64_t waste : {0, 0, 1, 4, 7, 8, 2032}) {
    statistics.Add(Finished(id++, waste));
  }
  EXPECT_EQ(statistics.WasteRanges(),
            (std::vector<WasteRange>{
                {0, 0, 2}, {1, 1, 1}, {4, 7, 2}, {8, 15, 1}, {1024, 2047, 1}}));
}

TEST(RequestStatisticsTest, KeepsTheTenWorstByWasteAndThenById) {
  RequestStatistics statistics;
  for (std::int64_t id = 0; id < 30; ++id) {
    statistics.Add(Finished(id, id % 3));
  }
  ASSERT_EQ(statistics.worst().size(), kNumWorst);
  for (std::size_t i = 0; i < kNumWorst; ++i) {
    EXPECT_EQ(statistics.worst()[i].waste_slots, 2);
    EXPECT_EQ(statistics.worst()[i].id, static_cast<std::int64_t>(3 * i + 2));
  }
}

TEST(RequestStatisticsTest, LeavesRejectedRequestsOut) {
  RequestStatistics statistics;
  RequestRecord rejected = Finished(0, 5);
  rejected.rejected = true;
  statistics.Add(rejected);
  EXPECT_EQ(statistics.num_finished(), 0);
  EXPECT_TRUE(statistics.worst().empty());
}

}  // namespace
}  // namespace pagedkv::sim
