// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "sim/workload/workload_spec_json.h"
#include "tests/sim/trace/trace_test_support.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Message(const WorkloadOptions& options) {
  return std::string(LoadWorkload(options).status().message());
}

std::vector<std::int64_t> Arrivals(const LoadedWorkload& loaded) {
  std::vector<std::int64_t> arrivals;
  for (const TraceRequest& request : loaded.requests) {
    arrivals.push_back(request.arrival_ns);
  }
  return arrivals;
}

constexpr std::string_view kTrace =
    "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    "2,100,10\n"
    "4,200,20\n"
    "1,300,30\n"
    "6,400,40\n";

TEST(WorkloadSourceTest, LoadsATraceWithItsSummary) {
  const TestFile file(kTrace);
  const auto loaded = LoadWorkload({.trace = file.path()});
  ASSERT_TRUE(loaded.ok());
  EXPECT_THAT(Arrivals(*loaded), ElementsAre(0, 2'000'000'000, 4'000'000'000));
  const TraceSummary& summary = loaded->summary;
  EXPECT_EQ(summary.format, "vidur");
  EXPECT_EQ(summary.rows, 4);
  EXPECT_EQ(summary.kept, 3);
  EXPECT_EQ(summary.dropped, DroppedRows{.out_of_order = 1});
  EXPECT_EQ(summary.span_ns, 4'000'000'000);
  EXPECT_EQ(summary.prompt_tokens, 700);
  EXPECT_EQ(summary.output_tokens, 70);
}

TEST(WorkloadSourceTest, SortsOnRequestAndStartsAtTheFirstArrival) {
  const TestFile file(kTrace);
  const auto loaded = LoadWorkload({.trace = file.path(), .sort = true});
  ASSERT_TRUE(loaded.ok());
  EXPECT_THAT(Arrivals(*loaded),
              ElementsAre(0, 1'000'000'000, 3'000'000'000, 5'000'000'000));
  EXPECT_EQ(loaded->requests[0].id, 2);
  EXPECT_EQ(loaded->summary.kept, 4);
  EXPECT_EQ(loaded->summary.span_ns, 5'000'000'000);
}

TEST(WorkloadSourceTest, ScalesATraceToARate) {
  const TestFile file(kTrace);
  const auto loaded = LoadWorkload({.trace = file.path(), .rate = 4.0});
  ASSERT_TRUE(loaded.ok());
  EXPECT_THAT(Arrivals(*loaded), ElementsAre(0, 250'000'000, 500'000'000));
  EXPECT_EQ(loaded->summary.span_ns, 500'000'000);
  EXPECT_DOUBLE_EQ(loaded->summary.rate(), 4.0);
}

TEST(WorkloadSourceTest, GivesALengthsOnlyTraceArrivalsByRateAndSeed) {
  const TestFile file("num_prefill_tokens,num_decode_tokens\n1,1\n2,2\n3,3\n");
  const auto at_once = LoadWorkload({.trace = file.path()});
  ASSERT_TRUE(at_once.ok());
  EXPECT_THAT(Arrivals(*at_once), ElementsAre(0, 0, 0));
  const auto spread =
      LoadWorkload({.trace = file.path(), .rate = 1.0, .seed = 3});
  ASSERT_TRUE(spread.ok());
  EXPECT_EQ(spread->requests[0].arrival_ns, 0);
  EXPECT_LT(0, spread->requests[1].arrival_ns);
  EXPECT_LT(spread->requests[1].arrival_ns, spread->requests[2].arrival_ns);
}

TEST(WorkloadSourceTest, GeneratesABuiltinWorkload) {
  const auto loaded = LoadWorkload(
      {.workload = "mooncake-conversation", .requests = 50, .seed = 1});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->requests.size(), 50U);
  EXPECT_EQ(loaded->summary.name, "mooncake-conversation");
  EXPECT_EQ(loaded->summary.format, "builtin");
  EXPECT_EQ(loaded->summary.rows, 50);
  EXPECT_EQ(loaded->summary.kept, 50);
  EXPECT_EQ(loaded->summary.trace_block_tokens, 512);
  EXPECT_GT(loaded->summary.span_ns, 0);

  const auto all = LoadWorkload({.workload = "azure-code-2023"});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->summary.kept, 8819);
  EXPECT_EQ(all->summary.trace_block_tokens, 0);
}

// A change of these changes every workload that was published by its seed.
TEST(WorkloadSourceTest, GeneratesTheSameBytesOnEveryMachine) {
  const auto hash = [](const char* name) {
    return LoadWorkload({.workload = name, .requests = 1000, .seed = 42})
        ->summary.sha256.substr(0, 16);
  };
  EXPECT_EQ(hash("sharegpt"), "8cdc2dcea73411c9");
  EXPECT_EQ(hash("alpaca"), "f42be64b06201647");
  EXPECT_EQ(hash("azure-conv-2023"), "fc25f13e819fc734");
  EXPECT_EQ(hash("azure-code-2023"), "75042cf2d00e2d88");
  EXPECT_EQ(hash("azure-conv-2024"), "b09af978b880976b");
  EXPECT_EQ(hash("azure-code-2024"), "b1644e38b9c04ad7");
  EXPECT_EQ(hash("azure-week-2024"), "b6b533f78766e4c7");
  EXPECT_EQ(hash("mooncake-conversation"), "0b39bd54664212cb");
}

TEST(WorkloadSourceTest, DropsWhatIsLongerThanTheMaximumFromEither) {
  const TestFile file(kTrace);
  const auto trace =
      LoadWorkload({.trace = file.path(), .max_sequence_tokens = 219});
  ASSERT_TRUE(trace.ok());
  EXPECT_EQ(trace->summary.kept, 1);
  EXPECT_EQ(trace->summary.dropped,
            (DroppedRows{.out_of_order = 1, .over_max_seq = 2}));
  const auto builtin = LoadWorkload({.workload = "azure-conv-2023",
                                     .requests = 1000,
                                     .max_sequence_tokens = 1000});
  ASSERT_TRUE(builtin.ok());
  EXPECT_GT(builtin->summary.dropped.over_max_seq, 100);
  EXPECT_EQ(builtin->summary.kept + builtin->summary.dropped.over_max_seq,
            1000);
  for (const TraceRequest& request : builtin->requests) {
    EXPECT_LE(request.prompt_tokens + request.output_tokens, 1000);
  }
}

TEST(WorkloadSourceTest, RefusesOptionsThatMakeNoSense) {
  EXPECT_THAT(Message({}), HasSubstr("--trace FILE or --workload NAME"));
  EXPECT_THAT(Message({.trace = "a", .workload = "b"}), HasSubstr("either"));
  EXPECT_THAT(Message({.workload = "alpaca", .requests = -1}),
              HasSubstr("negative"));
  EXPECT_THAT(Message({.workload = "alpaca", .rate = -1}), HasSubstr("rate"));
  EXPECT_THAT(Message({.workload = "nothing"}), HasSubstr("unknown workload"));
  EXPECT_THAT(Message({.trace = "/nonexistent"}), HasSubstr("/nonexistent"));
}

TEST(WorkloadSourceTest, SaysWhyNoRequestIsLeft) {
  const TestFile file(kTrace);
  EXPECT_THAT(
      Message({.trace = file.path(), .max_sequence_tokens = 100}),
      HasSubstr("no request is left of 4 rows: 0 malformed, 0 without output, "
                "1 out of order, 3 longer than 100 tokens"));
}

TEST(WorkloadSourceTest, GeneratesPresetsAndDescriptions) {
  const auto preset =
      LoadWorkload({.workload = "chat-multi-turn", .requests = 300, .seed = 2});
  ASSERT_TRUE(preset.ok()) << preset.status().ToString();
  EXPECT_EQ(preset->summary.name, "chat-multi-turn");
  EXPECT_EQ(preset->summary.format, "generated");
  EXPECT_EQ(preset->summary.rows, 300);
  EXPECT_EQ(preset->summary.trace_block_tokens, 16);
  EXPECT_GT(preset->summary.closed_loop_turns, 100);
  const auto presets = WorkloadPresets();
  ASSERT_TRUE(presets.ok());
  for (const WorkloadSpec& spec : *presets) {
    if (spec.name != "chat-multi-turn") continue;
    const TestFile file(WorkloadSpecToJson(spec), "chat.json");
    const auto described =
        LoadWorkload({.workload = file.path(), .requests = 300, .seed = 2});
    ASSERT_TRUE(described.ok()) << described.status().ToString();
    EXPECT_EQ(described->summary.sha256, preset->summary.sha256);
  }
  const auto open = LoadWorkload({.workload = "chat-multi-turn",
                                  .requests = 300,
                                  .seed = 2,
                                  .sessions = SessionLoop::kOpen});
  ASSERT_TRUE(open.ok());
  EXPECT_EQ(open->summary.closed_loop_turns, 0);
  EXPECT_NE(open->summary.sha256, preset->summary.sha256);
}

TEST(WorkloadSourceTest, NamesTheWorkloadsThatThereAre) {
  EXPECT_THAT(Message({.workload = "chat"}),
              HasSubstr("unknown workload \"chat\"; known are sharegpt, "));
  EXPECT_THAT(Message({.workload = "chat"}),
              HasSubstr("mixed, and the path of a description"));
  EXPECT_THAT(Message({.workload = "/none/x.json"}),
              HasSubstr("/none/x.json: the file cannot be read"));
}

// Turns that are too long go, and whoever is left follows one that is left.
TEST(WorkloadSourceTest, FollowsOnlyRequestsThatAreKept) {
  const auto loaded = LoadWorkload({.workload = "agent-tools",
                                    .requests = 2000,
                                    .max_sequence_tokens = 20'000});
  ASSERT_TRUE(loaded.ok());
  EXPECT_GT(loaded->summary.dropped.over_max_seq, 100);
  std::set<std::int64_t> kept;
  for (const TraceRequest& request : loaded->requests) {
    if (request.follows >= 0) {
      EXPECT_TRUE(kept.contains(request.follows));
    }
    kept.insert(request.id);
  }
}

TEST(WorkloadSourceTest, TellsAnswersFromTheTurnsThatShowThem) {
  const TestFile file(
      R"({"session_id":"a","timestamp":0,"input_length":5,"output_length":4,)"
      R"("hash_ids":[1,2]})"
      "\n"
      R"({"session_id":"a","delay":100,"input_length":10,"output_length":1,)"
      R"("hash_ids":[1,3,4]})");
  for (const SessionLoop loop : {SessionLoop::kClosed, SessionLoop::kOpen}) {
    const auto loaded = LoadWorkload(
        {.trace = file.path(), .trace_block_tokens = 4, .sessions = loop});
    ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
    EXPECT_THAT(loaded->requests[0].block_ids, ElementsAre(1, 3));
    EXPECT_THAT(loaded->requests[0].output_block_ids, ElementsAre(3, 4));
    EXPECT_EQ(loaded->requests[1].follows,
              loop == SessionLoop::kClosed ? 0 : -1);
  }
}

TEST(WorkloadSourceTest, AnotherRateScalesDelaysAsWell) {
  const TestFile file(
      R"({"session_id":"a","timestamp":0,"input_length":5,"output_length":4})"
      "\n"
      R"({"session_id":"a","delay":1000,"input_length":10,"output_length":1})");
  const auto loaded = LoadWorkload({.trace = file.path(), .rate = 2.0});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->requests[1].arrival_ns, 500'000'000);
  EXPECT_EQ(loaded->requests[1].delay_ns, 500'000'000);
}

/// All that a pass over the workload gives, as loading it would.
LoadedWorkload Stream(const WorkloadOptions& options, bool identify = true) {
  const auto source = OpenWorkload(options, identify);
  EXPECT_TRUE(source.ok()) << source.status();
  LoadedWorkload streamed;
  TraceRequest request;
  for (;;) {
    const auto more = (*source)->Next(request);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) break;
    streamed.requests.push_back(request);
  }
  streamed.summary = (*source)->summary();
  return streamed;
}

void ExpectStreamsWhatItLoads(const WorkloadOptions& options) {
  const auto loaded = LoadWorkload(options);
  ASSERT_TRUE(loaded.ok());
  const LoadedWorkload streamed = Stream(options);
  ASSERT_EQ(streamed.requests.size(), loaded->requests.size());
  for (std::size_t i = 0; i < streamed.requests.size(); ++i) {
    const TraceRequest& a = streamed.requests[i];
    const TraceRequest& b = loaded->requests[i];
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.arrival_ns, b.arrival_ns);
    EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
    EXPECT_EQ(a.output_tokens, b.output_tokens);
    EXPECT_EQ(a.block_ids, b.block_ids);
  }
  const TraceSummary& a = streamed.summary;
  const TraceSummary& b = loaded->summary;
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.format, b.format);
  EXPECT_EQ(a.sha256, b.sha256);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.kept, b.kept);
  EXPECT_EQ(a.dropped, b.dropped);
  EXPECT_EQ(a.span_ns, b.span_ns);
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.output_tokens, b.output_tokens);
  EXPECT_EQ(a.trace_block_tokens, b.trace_block_tokens);
}

TEST(WorkloadSourceTest, StreamsTheRequestsThatItLoads) {
  const TestFile file(kTrace);
  ExpectStreamsWhatItLoads({.trace = file.path()});
  ExpectStreamsWhatItLoads({.trace = file.path(), .requests = 2});
  ExpectStreamsWhatItLoads({.trace = file.path(), .max_sequence_tokens = 219});
  for (const char* name : {"azure-week-2024", "mooncake-conversation"}) {
    ExpectStreamsWhatItLoads(
        {.workload = name, .requests = 300, .max_sequence_tokens = 3000});
    ExpectStreamsWhatItLoads(
        {.workload = name, .requests = 300, .rate = 5, .seed = 9});
  }
}

TEST(WorkloadSourceTest, SparesTheHashOnRequest) {
  const TestFile file(kTrace);
  for (const WorkloadOptions& options :
       {WorkloadOptions{.trace = file.path()},
        WorkloadOptions{.workload = "alpaca", .requests = 10}}) {
    const LoadedWorkload spared = Stream(options, /*identify=*/false);
    EXPECT_EQ(spared.summary.sha256, "");
    EXPECT_EQ(spared.summary.kept, Stream(options).summary.kept);
  }
}

TEST(WorkloadSourceTest, DoesNotStreamWhatTakesTheWholeTrace) {
  const auto status = [](const WorkloadOptions& options) {
    return OpenWorkload(options, true).status();
  };
  const TestFile csv(kTrace);
  EXPECT_TRUE(
      absl::IsFailedPrecondition(status({.trace = csv.path(), .sort = true})));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(status({.trace = csv.path(), .rate = 2.0})));
  // The turns of a session may come in any order.
  const TestFile jsonl(
      "{\"timestamp\": 0, \"input_length\": 3, \"output_length\": 1}\n",
      "jsonl");
  EXPECT_TRUE(absl::IsFailedPrecondition(status({.trace = jsonl.path()})));
  // A pipe gives its rows once only.
  EXPECT_TRUE(absl::IsFailedPrecondition(status({.trace = "/dev/null"})));
  EXPECT_TRUE(absl::IsInvalidArgument(status({})));
  // Sessions are generated as a whole.
  EXPECT_TRUE(
      absl::IsFailedPrecondition(status({.workload = "chat-multi-turn"})));
}

TEST(WorkloadSourceTest, SaysInTheEndWhyNoRequestWasLeft) {
  const TestFile file(kTrace);
  for (const WorkloadOptions& options :
       {WorkloadOptions{.trace = file.path(), .max_sequence_tokens = 100},
        WorkloadOptions{
            .workload = "alpaca", .requests = 10, .max_sequence_tokens = 1}}) {
    const auto source = OpenWorkload(options, true);
    ASSERT_TRUE(source.ok());
    TraceRequest request;
    const auto more = (*source)->Next(request);
    EXPECT_FALSE(more.ok());
    EXPECT_EQ(more.status().message(), Message(options));
  }
}

}  // namespace
}  // namespace pagedkv::sim
