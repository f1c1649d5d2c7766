// SPDX-License-Identifier: Apache-2.0
// The loop of the baselines must follow the library's scheduler, or a
// difference between policies would not be one of memory.
#include "sim/replay/contiguous_batcher.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/paged_batcher.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"
#include "tests/sim/replay/requests.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kBlockSize = 4;
constexpr std::int64_t kBlocks = 24;
constexpr std::int64_t kMaxSequenceTokens = 80;

struct Limits {
  std::int32_t max_num_seqs;
  std::int64_t max_num_batched_tokens;
};

class ContiguousBatcherTest : public testing::TestWithParam<Limits> {};

TEST_P(ContiguousBatcherTest, SchedulesLikeTheLibraryInMemoryOfBlocks) {
  constexpr std::uint64_t kSeed = 1;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const std::vector<TraceRequest> requests = RandomRequests(kSeed, 400, 40);
  const auto [max_num_seqs, max_num_batched_tokens] = GetParam();
  const Policy policy = *Policy::Parse("paged-4");

  SimulationOptions options;
  options.capacity = TokenCount(kBlocks * kBlockSize);
  options.max_sequence_tokens = TokenCount(kMaxSequenceTokens);
  options.max_num_seqs = max_num_seqs;
  options.max_num_batched_tokens = TokenCount(max_num_batched_tokens);
  LiveRequests live;
  for (const TraceRequest& request : requests) live.Add(request);
  const auto library = PagedBatcher::Create(policy.block_size, options, live);
  ASSERT_TRUE(library.ok()) << library.status();
  const GrantRule rule(policy, TokenCount(kMaxSequenceTokens));
  const auto memory = ContiguousMemory::Create(
      rule, TokenCount((kBlocks - 1) * kBlockSize), /*unbounded=*/false);
  ContiguousBatcher baseline(max_num_seqs, TokenCount(max_num_batched_tokens),
                             live, *memory);

  std::size_t offered = 0;
  std::size_t ended = 0;
  std::int64_t preempted = 0;
  while (ended < requests.size()) {
    for (; offered < requests.size() && baseline.num_waiting() < 5; ++offered) {
      const auto in_library = (*library)->Submit(RequestId(offered));
      const auto in_baseline = baseline.Submit(RequestId(offered));
      ASSERT_TRUE(in_library.ok()) << in_library.status();
      ASSERT_EQ(*in_library, *in_baseline) << "request " << offered;
      if (!*in_library) ++ended;
    }
    const auto expected = (*library)->Schedule(/*max_steps=*/1);
    const auto found = baseline.Schedule(/*max_steps=*/1);
    ASSERT_TRUE(expected.ok()) << expected.status();
    ASSERT_EQ(found->scheduled.size(), expected->scheduled.size());
    for (std::size_t i = 0; i < found->scheduled.size(); ++i) {
      const ScheduledSequence& a = expected->scheduled[i];
      const ScheduledSequence& b = found->scheduled[i];
      ASSERT_EQ(b.request, a.request);
      ASSERT_EQ(b.num_computed, a.num_computed);
      ASSERT_EQ(b.num_tokens, a.num_tokens);
      ASSERT_EQ(b.kind, a.kind);
      ASSERT_EQ(b.samples, a.samples);
    }
    ASSERT_EQ(found->preempted.size(), expected->preempted.size());
    for (std::size_t i = 0; i < found->preempted.size(); ++i) {
      ASSERT_EQ(found->preempted[i].request, expected->preempted[i].request);
      ASSERT_EQ(found->preempted[i].tokens_lost,
                expected->preempted[i].tokens_lost);
      ++preempted;
    }
    ASSERT_EQ(found->blocked, expected->blocked);
    ASSERT_EQ(baseline.free_slots(), (*library)->free_slots());
    ASSERT_EQ(baseline.num_running(), (*library)->num_running());
    ASSERT_EQ(baseline.num_waiting(), (*library)->num_waiting());

    const auto expected_finished = (*library)->Update();
    const auto found_finished = baseline.Update();
    ASSERT_EQ(found_finished->size(), expected_finished->size());
    for (std::size_t i = 0; i < found_finished->size(); ++i) {
      ASSERT_EQ((*found_finished)[i].id, (*expected_finished)[i].id);
      ++ended;
    }
  }
  EXPECT_GT(preempted, 0);
}

INSTANTIATE_TEST_SUITE_P(Limits, ContiguousBatcherTest,
                         testing::Values(Limits{64, 8192}, Limits{64, 7},
                                         Limits{3, 8192}, Limits{5, 16}));

}  // namespace
}  // namespace pagedkv::sim
