// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/policy.h"
#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/recording_observer.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int32_t kBlock = 16;

FleetOptions Fleet(std::int32_t replicas, RouterKind router) {
  FleetOptions fleet;
  fleet.num_replicas = replicas;
  fleet.router = router;
  return fleet;
}

std::vector<std::size_t> Routes(Router& router,
                                const std::vector<ReplicaLoad>& loads,
                                int count) {
  std::vector<std::size_t> routes;
  TraceRequest request;
  request.prompt_tokens = 4;
  for (int i = 0; i < count; ++i) {
    const auto route = router.Route(request, loads, 0);
    EXPECT_TRUE(route.ok());
    routes.push_back(*route);
  }
  return routes;
}

TEST(RouterTest, RoundRobinGoesAroundThoseThatAreUp) {
  Router router(Fleet(4, RouterKind::kRoundRobin), BlockSize(kBlock),
                BlockSize(kBlock));
  EXPECT_THAT(Routes(router, {{0}, {1}, {2}, {3}}, 6),
              ElementsAre(0, 1, 2, 3, 0, 1));
  EXPECT_THAT(Routes(router, {{0}, {3}}, 3), ElementsAre(3, 0, 3));
}

TEST(RouterTest, LeastLoadedTakesTheFewestRequestsAndOfEqualsTheOneNotUsed) {
  Router router(Fleet(3, RouterKind::kLeastLoaded), BlockSize(kBlock),
                BlockSize(kBlock));
  EXPECT_THAT(Routes(router, {{0, 5}, {1, 2}, {2, 2}}, 4),
              ElementsAre(1, 2, 1, 2));
}

TEST(RouterTest, RandomRoutersUseAllReplicasAndRepeatWithTheirSeed) {
  for (const RouterKind kind : {RouterKind::kRandom, RouterKind::kPowerOfTwo}) {
    Router router(Fleet(3, kind), BlockSize(kBlock), BlockSize(kBlock));
    Router again(Fleet(3, kind), BlockSize(kBlock), BlockSize(kBlock));
    const std::vector<ReplicaLoad> loads = {{0, 1}, {1, 1}, {2, 1}};
    const std::vector<std::size_t> routes = Routes(router, loads, 300);
    EXPECT_EQ(Routes(again, loads, 300), routes);
    std::map<std::size_t, int> counts;
    for (const std::size_t route : routes) ++counts[route];
    for (std::size_t i = 0; i < 3; ++i) EXPECT_GT(counts[i], 50) << i;
  }
}

TEST(RouterTest, PowerOfTwoNeverTakesTheMostLoaded) {
  Router router(Fleet(3, RouterKind::kPowerOfTwo), BlockSize(kBlock),
                BlockSize(kBlock));
  for (const std::size_t route :
       Routes(router, {{0, 1}, {1, 9}, {2, 3}}, 200)) {
    EXPECT_NE(route, 1u);
  }
}

TEST(RouterTest, NamesAreReadBack) {
  for (const char* name : {"round-robin", "random", "least-loaded",
                           "power-of-two", "prefix-aware"}) {
    const auto kind = ParseRouter(name);
    ASSERT_TRUE(kind.ok());
    EXPECT_EQ(RouterName(*kind), name);
  }
  EXPECT_THAT(std::string(ParseRouter("best").status().message()),
              HasSubstr("unknown router 'best': use round-robin, random"));
}

class FleetTest : public testing::Test {
 protected:
  FleetTest() {
    options_.capacity = TokenCount(64 * kBlock);
    options_.max_sequence_tokens = TokenCount(2048);
    options_.clock = ClockKind::kFixed;
    options_.step_ns = 10;
    options_.trace_block = BlockSize(kBlock);
  }

  SimulationTotals Replay(const std::vector<TraceRequest>& requests,
                          const char* policy = "paged-16") {
    observer_ = RecordingObserver();
    const auto totals =
        Simulate(*Policy::Parse(policy), options_, requests, observer_);
    EXPECT_TRUE(totals.ok()) << totals.status();
    return totals.ok() ? *totals : SimulationTotals();
  }

  SimulationOptions options_;
  RecordingObserver observer_;
};

// A session's prompts: each turn adds two blocks to the one before.
std::vector<TraceRequest> Sessions(int sessions, int turns,
                                   std::int64_t gap_ns) {
  std::vector<TraceRequest> requests;
  for (int turn = 0; turn < turns; ++turn) {
    for (int session = 0; session < sessions; ++session) {
      TraceRequest& request = requests.emplace_back();
      request.id = static_cast<std::int64_t>(requests.size()) - 1;
      request.arrival_ns = request.id * gap_ns;
      const int blocks = 2 * (turn + 1);
      for (int i = 0; i < blocks; ++i) {
        request.block_ids.push_back(
            static_cast<std::uint64_t>(session * 1000 + i + 1));
      }
      request.prompt_tokens = blocks * kBlock;
      request.output_tokens = 2;
    }
  }
  return requests;
}

TEST_F(FleetTest, EveryRequestFinishesWhateverTheRouterAndThePolicy) {
  const std::vector<TraceRequest> requests = RandomRequests(3, 400, 40);
  for (const RouterKind router :
       {RouterKind::kRoundRobin, RouterKind::kRandom, RouterKind::kLeastLoaded,
        RouterKind::kPowerOfTwo}) {
    for (const char* policy : {"paged-16", "contiguous-oracle"}) {
      options_.fleet = Fleet(3, router);
      options_.capacity = TokenCount(8 * kBlock);
      const SimulationTotals totals = Replay(requests, policy);
      EXPECT_EQ(totals.finished, 400);
      ASSERT_EQ(totals.replicas.size(), 3u);
      std::int64_t routed = 0;
      for (const ReplicaTotals& replica : totals.replicas) {
        EXPECT_EQ(replica.routed, replica.finished);
        EXPECT_GT(replica.routed, 0);
        routed += replica.routed;
      }
      EXPECT_EQ(routed, 400);
    }
  }
}

TEST_F(FleetTest, OneReplicaOfManyRunsAsIfAlone) {
  // All requests of replica 0 by round robin are what one engine is given.
  const std::vector<TraceRequest> requests = RandomRequests(5, 200, 40);
  std::vector<TraceRequest> half;
  for (std::size_t i = 0; i < requests.size(); i += 2) {
    half.push_back(requests[i]);
  }
  options_.capacity = TokenCount(8 * kBlock);
  Replay(half);
  std::map<std::int64_t, std::int64_t> alone;
  for (const RequestRecord& record : observer_.records) {
    alone[record.id] = record.finish_ns;
  }
  options_.fleet = Fleet(2, RouterKind::kRoundRobin);
  Replay(requests);
  for (const RequestRecord& record : observer_.records) {
    if (record.id % 2 == 0) {
      EXPECT_EQ(record.finish_ns, alone[record.id]) << record.id;
    }
  }
}

TEST_F(FleetTest, APrefixAwareRouterKeepsSessionsTogether) {
  options_.prefix_cache = true;
  // Seven sessions on two replicas: round robin scatters them.
  const std::vector<TraceRequest> requests = Sessions(7, 6, 200);
  options_.fleet = Fleet(2, RouterKind::kRoundRobin);
  const std::int64_t scattered = Replay(requests).hits.hit_blocks;
  options_.fleet.router = RouterKind::kPrefixAware;
  const SimulationTotals aware = Replay(requests);
  // Turns go where the turn before went, and the cache holds its sessions: all
  // blocks that were there before are found.
  EXPECT_EQ(aware.hits.hit_blocks, 7 * (2 + 4 + 6 + 8 + 10));
  EXPECT_GT(aware.hits.hit_blocks, scattered);
  for (const ReplicaTotals& replica : aware.replicas) {
    EXPECT_GT(replica.routed, 0);
  }
}

TEST_F(FleetTest, KnowledgeOlderThanTheRunIsNone) {
  options_.prefix_cache = true;
  const std::vector<TraceRequest> requests = Sessions(7, 6, 200);
  options_.fleet = Fleet(2, RouterKind::kLeastLoaded);
  const SimulationTotals blind = Replay(requests);
  options_.fleet = Fleet(2, RouterKind::kPrefixAware);
  options_.fleet.knowledge_delay_ns = 1'000'000'000;
  const SimulationTotals stale = Replay(requests);
  EXPECT_EQ(stale.hits, blind.hits);
  options_.fleet.knowledge_delay_ns = 0;
  EXPECT_GT(Replay(requests).hits.hit_blocks, blind.hits.hit_blocks);
}

TEST_F(FleetTest, AnOutageLosesNoRequestAndTheCache) {
  options_.prefix_cache = true;
  const std::vector<TraceRequest> requests = Sessions(7, 6, 200);
  options_.fleet = Fleet(2, RouterKind::kPrefixAware);
  const SimulationTotals before = Replay(requests);
  // Down while half of the requests arrive, and a request is under way.
  options_.fleet.outages = {
      {.replica = 0, .begin_ns = 14 * 200 + 5, .end_ns = 30 * 200}};
  const SimulationTotals totals = Replay(requests);
  EXPECT_EQ(totals.finished, 42);
  EXPECT_GE(totals.replicas[0].lost, 1);
  EXPECT_EQ(totals.replicas[0].finished + totals.replicas[0].lost,
            totals.replicas[0].routed);
  EXPECT_LT(totals.hits.hit_blocks, before.hits.hit_blocks);
  for (const RequestRecord& record : observer_.records) {
    EXPECT_EQ(record.arrival_ns, record.id * 200) << "it keeps its arrival";
  }
}

TEST_F(FleetTest, WhileAllAreDownRequestsWait) {
  options_.fleet.outages = {{.replica = 0, .begin_ns = 0, .end_ns = 5'000}};
  const SimulationTotals totals = Replay(Requests({{4, 3, 100}, {4, 3, 200}}));
  EXPECT_EQ(totals.finished, 2);
  EXPECT_EQ(observer_.records[0].admit_ns, 5'000);
}

TEST_F(FleetTest, RefusesWhatCannotBe) {
  const auto message = [this] {
    const auto totals = Simulate(*Policy::Parse("paged-16"), options_,
                                 Requests({{4, 3}}), observer_);
    EXPECT_TRUE(absl::IsInvalidArgument(totals.status()));
    return std::string(totals.status().message());
  };
  options_.fleet.num_replicas = 0;
  EXPECT_THAT(message(), HasSubstr("num_replicas is 0"));
  options_.fleet = Fleet(2, RouterKind::kRandom);
  options_.saturate = true;
  EXPECT_THAT(message(), HasSubstr("a fleet needs arrival times"));
  options_.saturate = false;
  options_.fleet.outages = {{.replica = 2, .begin_ns = 0, .end_ns = 5}};
  EXPECT_THAT(message(), HasSubstr("an outage of replica 2; there are 2"));
  options_.fleet.outages = {{.replica = 1, .begin_ns = 5, .end_ns = 5}};
  EXPECT_THAT(message(), HasSubstr("it must end after it begins"));
}

}  // namespace
}  // namespace pagedkv::sim
