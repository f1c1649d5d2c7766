// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/arrival_queue.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;

// Takes what has arrived by `now_ns`: ids.
std::vector<std::int64_t> Take(ArrivalQueue& queue, std::int64_t now_ns) {
  std::vector<std::int64_t> ids;
  EXPECT_TRUE(queue.Advance().ok());
  while (queue.has_next() && queue.arrival_ns() <= now_ns) {
    const std::int64_t arrival_ns = queue.arrival_ns();
    const TraceRequest request = queue.Pop();
    EXPECT_EQ(request.arrival_ns, arrival_ns);
    ids.push_back(request.id);
    EXPECT_TRUE(queue.Advance().ok());
  }
  return ids;
}

// Request 1 follows request 0 by 100 ns, request 2 follows 1 by 5 ns.
std::vector<TraceRequest> Session() {
  std::vector<TraceRequest> requests =
      Requests({{4, 4, 0}, {8, 4, 100}, {12, 4, 105}, {4, 4, 150}});
  requests[1].follows = 0;
  requests[1].delay_ns = 100;
  requests[2].follows = 1;
  requests[2].delay_ns = 5;
  return requests;
}

TEST(ArrivalQueueTest, OpenLoopTurnsArriveAsRecorded) {
  const std::vector<TraceRequest> requests = Session();
  SpanSource source(requests);
  ArrivalQueue queue(source, /*closed_loop=*/false);
  EXPECT_THAT(Take(queue, 99), ElementsAre(0));
  EXPECT_THAT(Take(queue, 150), ElementsAre(1, 2, 3));
  EXPECT_FALSE(queue.has_next());
}

TEST(ArrivalQueueTest, ATurnArrivesItsDelayAfterTheTurnBeforeHasEnded) {
  const std::vector<TraceRequest> requests = Session();
  SpanSource source(requests);
  ArrivalQueue queue(source, /*closed_loop=*/true);
  EXPECT_THAT(Take(queue, 149), ElementsAre(0));
  EXPECT_THAT(Take(queue, 160), ElementsAre(3));
  EXPECT_FALSE(queue.has_next()) << "turns wait for a request under way";
  queue.OnEnded(0, 170);
  EXPECT_THAT(Take(queue, 269), ElementsAre());
  EXPECT_TRUE(queue.has_next());
  EXPECT_THAT(Take(queue, 270), ElementsAre(1));
  queue.OnEnded(1, 300);
  EXPECT_THAT(Take(queue, 305), ElementsAre(2));
  EXPECT_FALSE(queue.has_next());
}

TEST(ArrivalQueueTest, ATurnThatIsReadLateStillCountsFromTheEnd) {
  std::vector<TraceRequest> requests = Requests({{4, 4, 0}, {4, 4, 500}});
  requests[1].follows = 0;
  requests[1].delay_ns = 3;
  SpanSource source(requests);
  ArrivalQueue queue(source, /*closed_loop=*/true);
  ASSERT_TRUE(queue.Advance().ok());
  EXPECT_EQ(queue.Pop().id, 0);
  queue.OnEnded(0, 10);  // before the queue has seen who follows
  EXPECT_THAT(Take(queue, 12), ElementsAre());
  EXPECT_THAT(Take(queue, 13), ElementsAre(1));
}

TEST(ArrivalQueueTest, AmongEqualArrivalsTheSourcesOrderCounts) {
  std::vector<TraceRequest> requests =
      Requests({{4, 4, 0}, {4, 4, 0}, {4, 4, 20}, {4, 4, 20}});
  requests[1].follows = 0;
  requests[1].delay_ns = 10;
  SpanSource source(requests);
  ArrivalQueue queue(source, /*closed_loop=*/true);
  EXPECT_THAT(Take(queue, 0), ElementsAre(0));
  queue.OnEnded(0, 10);
  EXPECT_THAT(Take(queue, 20), ElementsAre(1, 2, 3));
}

TEST(ArrivalQueueTest, RefusesWhatGoesBackInTime) {
  const std::vector<TraceRequest> requests = Requests({{4, 4, 9}, {4, 4, 8}});
  SpanSource source(requests);
  ArrivalQueue queue(source, /*closed_loop=*/true);
  ASSERT_TRUE(queue.Advance().ok());
  (void)queue.Pop();
  EXPECT_TRUE(absl::IsInvalidArgument(queue.Advance()));
}

}  // namespace
}  // namespace pagedkv::sim
