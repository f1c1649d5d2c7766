// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/session_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/trace/content.h"
#include "sim/trace/trace_writer.h"
#include "sim/workload/workload_match.h"
#include "sim/workload/workload_spec_json.h"
#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Points = std::vector<Distribution::Point>;

std::vector<TraceRequest> Generate(const WorkloadSpec& spec, std::int64_t count,
                                   double rate = 0.0, std::uint64_t seed = 5) {
  auto source = SessionSource::Create(spec, count, rate, seed);
  EXPECT_TRUE(source.ok()) << source.status().ToString();
  std::vector<TraceRequest> requests;
  TraceRequest request;
  for (;;) {
    const auto more = (*source)->Next(request);
    EXPECT_TRUE(more.ok());
    if (!more.ok() || !*more) return requests;
    requests.push_back(request);
  }
}

WorkloadSpec Preset(const std::string& name) {
  const auto presets = WorkloadPresets();
  EXPECT_TRUE(presets.ok()) << presets.status().ToString();
  for (const WorkloadSpec& preset : *presets) {
    if (preset.name == name) return preset;
  }
  ADD_FAILURE() << "no preset " << name;
  return presets->front();
}

ByPrompt Always(Distribution distribution) {
  return {.ranges = {{.values = std::move(distribution)}}};
}

WorkloadSpec Chat() {
  WorkloadClass chat;
  chat.name = "chat";
  chat.arrivals.sessions_per_s = 2.0;
  chat.shared = {{.name = "system",
                  .count = 5,
                  .zipf_thousandths = 1000,
                  .tokens = Distribution(Points{{0, 20}, {1'000'000, 90}})}};
  chat.turns = Always(Distribution(4));
  chat.first_message = Distribution(Points{{0, 5}, {1'000'000, 60}});
  chat.message = Distribution(Points{{0, 0}, {1'000'000, 40}});
  chat.answer = Always(Distribution(Points{{0, 1}, {1'000'000, 70}}));
  chat.think_time_ms = Distribution(Points{{0, 100}, {1'000'000, 5000}});
  WorkloadSpec spec;
  spec.name = "chat";
  spec.classes = {chat};
  return spec;
}

std::vector<TokenId> Prompt(const TraceRequest& request, BlockSize block) {
  std::vector<TokenId> tokens;
  PromptTokens(request, block, tokens);
  return tokens;
}

TEST(SessionSourceTest, TurnsWaitForTheTurnBeforeAndShowItsAnswer) {
  const WorkloadSpec spec = Chat();
  const auto requests = Generate(spec, 2000);
  std::int64_t turns = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const TraceRequest& next = requests[i];
    ASSERT_EQ(next.id, static_cast<std::int64_t>(i));
    if (i > 0) {
      ASSERT_GE(next.arrival_ns, requests[i - 1].arrival_ns);
    }
    if (next.follows < 0) continue;
    ++turns;
    const TraceRequest& turn =
        requests.at(static_cast<std::size_t>(next.follows));
    ASSERT_EQ(next.arrival_ns, turn.arrival_ns + next.delay_ns);
    ASSERT_GE(next.delay_ns, 100'000'000);
    ASSERT_LE(next.delay_ns, 5'000'000'000);
    std::vector<TokenId> context = Prompt(turn, spec.block);
    std::vector<TokenId> output;
    OutputTokens(turn, spec.block, output);
    context.insert(context.end(), output.begin(), output.end());
    const auto prompt = Prompt(next, spec.block);
    ASSERT_GE(prompt.size(), context.size());
    ASSERT_TRUE(std::equal(context.begin(), context.end(), prompt.begin()));
  }
  EXPECT_GT(turns, 1300);  // three of four, but for those that came too late
}

TEST(SessionSourceTest, NextTurnsHitAllFullBlocksOfTheirContext) {
  const WorkloadSpec spec = Chat();
  const auto requests = Generate(spec, 1000);
  for (const TraceRequest& next : requests) {
    if (next.follows < 0) continue;
    const TraceRequest& turn = requests[static_cast<std::size_t>(next.follows)];
    std::set<std::uint64_t> cached(turn.block_ids.begin(),
                                   turn.block_ids.end());
    cached.insert(turn.output_block_ids.begin(), turn.output_block_ids.end());
    const auto full = static_cast<std::size_t>(
        (turn.prompt_tokens + turn.output_tokens) / 16);
    for (std::size_t block = 0; block < full; ++block) {
      ASSERT_TRUE(cached.contains(next.block_ids[block]));
    }
  }
}

TEST(SessionSourceTest, SharedTextsAreDrawnByTheirPopularity) {
  WorkloadSpec spec = Chat();
  spec.classes[0].turns = Always(Distribution(1));
  spec.classes[0].shared[0].count = 50;
  spec.classes[0].shared[0].tokens = Distribution(64);
  const auto requests = Generate(spec, 20'000);
  std::map<std::uint64_t, int> users;
  for (const TraceRequest& request : requests) ++users[request.block_ids[3]];
  EXPECT_EQ(users.size(), 50U);
  int most = 0;
  for (const auto& [id, count] : users) most = std::max(most, count);
  // 1 / (1 + 1/2 + ... + 1/50) = 0.2222.
  EXPECT_NEAR(most / 20'000.0, 0.2222, 0.01);
  // The message after them is of the session only.
  std::set<std::uint64_t> own;
  for (const TraceRequest& request : requests) own.insert(request.block_ids[4]);
  EXPECT_EQ(own.size(), requests.size());
}

TEST(SessionSourceTest, RetrievesDifferentDocuments) {
  WorkloadSpec spec = Chat();
  WorkloadClass& rag = spec.classes[0];
  rag.turns = Always(Distribution(1));
  rag.shared = {{.name = "documents",
                 .count = 3,
                 .zipf_thousandths = 3000,
                 .tokens = Distribution(16),
                 .draws = Distribution(3)}};
  rag.first_message = Distribution(1);
  std::set<std::vector<std::uint64_t>> orders;
  for (TraceRequest& request : Generate(spec, 2000)) {
    ASSERT_EQ(request.prompt_tokens, 49);
    request.block_ids.pop_back();
    orders.insert(request.block_ids);
  }
  EXPECT_EQ(orders.size(), 6U);  // all orders of three, none twice
}

TEST(SessionSourceTest, BranchesGoOnFromTheSameAnswer) {
  WorkloadSpec spec = Chat();
  spec.classes[0].turns = Always(Distribution(3));
  spec.classes[0].branches = Distribution(2);
  const auto requests = Generate(spec, 3000);
  std::map<std::int64_t, std::vector<std::int64_t>> next;
  for (const TraceRequest& request : requests) {
    if (request.follows >= 0) next[request.follows].push_back(request.id);
  }
  int complete = 0;
  for (const auto& [turn, all] : next) {
    ASSERT_LE(all.size(), 3U);
    if (all.size() < 3) continue;  // cut off by the number of requests
    ++complete;
    std::set<std::uint64_t> last;
    for (const std::int64_t id : all) {
      last.insert(requests[static_cast<std::size_t>(id)].block_ids.back());
    }
    ASSERT_GE(last.size(), 2U);  // each says something of its own
  }
  EXPECT_GT(complete, 500);
  EXPECT_NEAR(spec.requests_per_s(), 2.0 * (3 + 2 * 2), 1e-9);
}

TEST(SessionSourceTest, OpenLoopTurnsArriveAtTheirTimes) {
  WorkloadSpec spec = Chat();
  spec.classes[0].closed_loop = false;
  spec.classes[0].arrivals.tick_ns = 1'000'000'000;
  const auto open = Generate(spec, 500);
  for (const TraceRequest& request : open) {
    EXPECT_EQ(request.follows, -1);
    EXPECT_EQ(request.arrival_ns % 1'000'000'000, 0);
  }
  EXPECT_GT(MeasureReuse(open).hit_rate(), 0.3);
}

TEST(SessionSourceTest, SessionsEndBeforeTheContextIsTooLong) {
  WorkloadSpec spec = Chat();
  spec.classes[0].turns = Always(Distribution(1000));
  spec.classes[0].max_context_tokens = 400;
  std::int32_t longest = 0;
  for (const TraceRequest& request : Generate(spec, 3000)) {
    longest = std::max(longest, request.prompt_tokens + request.output_tokens);
  }
  EXPECT_LE(longest, 400);
  EXPECT_GT(longest, 350);
}

TEST(SessionSourceTest, TurnsMayDependOnTheFirstPrompt) {
  WorkloadSpec spec = Chat();
  WorkloadClass& chat = spec.classes[0];
  chat.shared.clear();
  chat.turns = {.ranges = {{.up_to = 30, .values = Distribution(1)},
                           {.values = Distribution(3)}}};
  const auto requests = Generate(spec, 2000);
  for (const TraceRequest& request : requests) {
    if (request.follows < 0 && request.prompt_tokens <= 30) {
      EXPECT_THAT(request.output_block_ids, IsEmpty());
    }
    if (request.follows >= 0) {
      EXPECT_GT(request.prompt_tokens, 30);
    }
  }
  EXPECT_NEAR(chat.MeanTurns(), (26 * 1 + 30 * 3) / 56.0, 0.03);
}

TEST(SessionSourceTest, TheRateIsThatOfRequests) {
  const WorkloadSpec spec = Chat();
  const auto as_told = Generate(spec, 4000);
  const auto faster = Generate(spec, 4000, 80.0);
  EXPECT_DOUBLE_EQ(spec.requests_per_s(), 8.0);
  EXPECT_NEAR(4000e9 / static_cast<double>(as_told.back().arrival_ns), 8.0,
              0.6);
  // Sessions are the same, however fast they start.
  const auto lengths = [](const std::vector<TraceRequest>& requests) {
    std::multiset<std::int32_t> all;
    for (const TraceRequest& each : requests) {
      if (each.follows < 0 && all.size() < 500) all.insert(each.prompt_tokens);
    }
    return all;
  };
  EXPECT_EQ(lengths(as_told), lengths(faster));
  EXPECT_GT(4000e9 / static_cast<double>(faster.back().arrival_ns), 55.0);
}

TEST(SessionSourceTest, MoreRequestsBeginWithTheFewerOnes) {
  const auto presets = WorkloadPresets();
  ASSERT_TRUE(presets.ok());
  for (const WorkloadSpec& preset : *presets) {
    const auto few = Generate(preset, 200);
    const auto more = Generate(preset, 400);
    const auto other = Generate(preset, 200, 0.0, 6);
    int different = 0;
    for (std::size_t i = 0; i < few.size(); ++i) {
      ASSERT_EQ(few[i].arrival_ns, more[i].arrival_ns);
      ASSERT_EQ(few[i].block_ids, more[i].block_ids);
      ASSERT_EQ(few[i].output_tokens, more[i].output_tokens);
      ASSERT_EQ(few[i].follows, more[i].follows);
      different += few[i].block_ids != other[i].block_ids ? 1 : 0;
    }
    EXPECT_EQ(few.front().arrival_ns, 0);
    EXPECT_EQ(different, 200) << preset.name;
  }
}

TEST(SessionSourceTest, ATraceReadsBackTheSame) {
  for (const std::string name : {"mixed", "agent-tools"}) {
    const WorkloadSpec spec = Preset(name);
    const auto requests = Generate(spec, 600);
    auto writer = TraceWriter::ForPath(
        "t.jsonl",
        {.block = spec.block, .out_block = spec.block, .sessions = true});
    ASSERT_TRUE(writer.ok());
    std::string text(writer->header());
    for (const TraceRequest& each : requests) writer->Append(each, text);
    const ReadResult read = ReadText(text, {.strict = true});
    ASSERT_TRUE(read.status.ok()) << read.message();
    EXPECT_EQ(read.summary.trace_block_tokens, 16);
    ASSERT_EQ(read.requests.size(), requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      ASSERT_EQ(read.requests[i].id, requests[i].id);
      ASSERT_EQ(read.requests[i].arrival_ns, requests[i].arrival_ns);
      ASSERT_EQ(read.requests[i].prompt_tokens, requests[i].prompt_tokens);
      ASSERT_EQ(read.requests[i].output_tokens, requests[i].output_tokens);
      ASSERT_EQ(read.requests[i].block_ids, requests[i].block_ids);
      ASSERT_EQ(read.requests[i].follows, requests[i].follows);
      ASSERT_EQ(read.requests[i].delay_ns, requests[i].delay_ns);
      ASSERT_EQ(read.requests[i].output_block_ids,
                requests[i].output_block_ids);
    }
    EXPECT_GT(read.summary.closed_loop_turns, 100);
    EXPECT_EQ(read.summary.open_loop_turns, 0);
  }
}

TEST(SessionSourceTest, RefusesNumbersOutOfRange) {
  const auto message = [](std::int64_t count, double rate) {
    return std::string(
        SessionSource::Create(Chat(), count, rate, 1).status().message());
  };
  EXPECT_THAT(message(0, 1.0), HasSubstr("requests: expected 1 to"));
  EXPECT_THAT(message(1, -1.0), HasSubstr("rate: expected a number"));
}

// The same on every machine and for ever: figures of a first run.
TEST(SessionSourceTest, GeneratesTheSameOnEveryMachine) {
  const auto requests = Generate(Preset("mixed"), 1000);
  std::uint64_t sum = 0;
  for (const TraceRequest& each : requests) {
    sum = sum * 31 + static_cast<std::uint64_t>(each.arrival_ns);
    sum = sum * 31 + static_cast<std::uint64_t>(each.delay_ns);
    sum = sum * 31 + static_cast<std::uint64_t>(each.output_tokens);
    for (const std::uint64_t id : each.block_ids) sum = sum * 31 + id;
  }
  EXPECT_EQ(sum, 16'328'170'213'610'935'310U);
}

}  // namespace
}  // namespace pagedkv::sim
