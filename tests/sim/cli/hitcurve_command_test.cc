// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_command.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "sim/hitcurve/hit_curve.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// 0 1 | 0 2 | 0 1: with two blocks LRU finds 0 twice, and the optimum 1 as
// well.
constexpr char kTrace[] =
    R"({"timestamp":0,"input_length":700,"output_length":5,"hash_ids":[0,1]})"
    "\n"
    R"({"timestamp":1,"input_length":800,"output_length":5,"hash_ids":[0,2]})"
    "\n"
    R"({"timestamp":2,"input_length":700,"output_length":5,"hash_ids":[0,1]})"
    "\n";

class HitcurveCommandTest : public ::testing::Test {
 protected:
  HitcurveCommandTest()
      : folder_(
            std::filesystem::path(::testing::TempDir()) /
            (std::string("pagedkv_hitcurve_command_test_") +
             ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  ~HitcurveCommandTest() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string Path(const std::string& name) const {
    return (folder_ / name).string();
  }
  [[nodiscard]] std::string Write(const std::string& name,
                                  const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
    return Path(name);
  }
  [[nodiscard]] std::string Read(const std::string& name) const {
    std::ifstream file(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  /// As after "pagedkv hitcurve" on the command line; the exit code of wrong
  /// usage is given as by the program.
  static Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"pagedkv", "hitcurve"});
    std::vector<const char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(argument.c_str());
    }
    CLI::App app("test", "pagedkv");
    Outcome outcome;
    int exit_code = kExitOk;
    AddHitcurveCommand(app, exit_code);
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    try {
      app.parse(static_cast<int>(argv.size()), argv.data());
    } catch (const CLI::ParseError& error) {
      exit_code = ReportBadInput(absl::InvalidArgumentError(error.what()));
    }
    outcome.exit_code = exit_code;
    outcome.out = ::testing::internal::GetCapturedStdout();
    outcome.err = ::testing::internal::GetCapturedStderr();
    return outcome;
  }

  static void ExpectBadInput(std::vector<std::string> arguments,
                             const std::string& message) {
    const Outcome outcome = Run(std::move(arguments));
    EXPECT_EQ(outcome.exit_code, kExitBadInput);
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, StartsWith("pagedkv: "));
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1);
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(HitcurveCommandTest, PrintsATableOfTheBlockWeight) {
  const Outcome outcome = Run({"--trace", Write("t.jsonl", kTrace), "--sizes",
                               "3,2", "--policies", "lru,optimum"});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_EQ(outcome.out,
            "workload: t.jsonl (mooncake), 3 of 3 requests, 2,200 prompt "
            "tokens\n"
            "blocks: of 512 tokens; 6 references to 3 contents; lru hits all "
            "that can be hit from 3 blocks on\n"
            "\n"
            "block-weighted hit rate: blocks found / blocks asked for\n"
            "\n"
            "blocks  |      2 |      3 | unbounded\n"
            "lru     | 0.3333 | 0.5000 |    0.5000\n"
            "optimum | 0.5000 | 0.5000 |    0.5000\n"
            "\n"
            "0.5000 |--2---1-\n"
            "       |        \n"
            "       |        \n"
            "       |        \n"
            "       |  1     \n"
            "       |        \n"
            "       |        \n"
            "       |        \n"
            "       |        \n"
            "       |        \n"
            "       |        \n"
            "0.0000 |        \n"
            "       +--------\n"
            "        2 3 blocks\n"
            "        1 lru  2 optimum  - unbounded\n");
}

TEST_F(HitcurveCommandTest, PrintsTheWeightThatIsAskedFor) {
  const std::string trace = Write("t.jsonl", kTrace);
  const Outcome token = Run({"--trace", trace, "--sizes", "2", "--policies",
                             "lru", "--weight", "token", "--format", "md"});
  EXPECT_THAT(token.out, HasSubstr("token-weighted hit rate: tokens found / "
                                   "prompt tokens\n\n| blocks | 2 |"));
  EXPECT_THAT(token.out, HasSubstr("| lru | 0.4655 | 0.5509 |\n"));
  EXPECT_THAT(token.out, Not(HasSubstr("block-weighted")));
  const Outcome request =
      Run({"--trace", trace, "--sizes", "2", "--policies", "lru", "--weight",
           "request", "--format", "csv"});
  EXPECT_EQ(request.out,
            "policy,method,size_blocks,size_tokens,request_hit_rate\n"
            "lru,stack_distances,2,1024,0.457143\n"
            "unbounded,never_evicts,3,1536,0.546667\n");
}

TEST_F(HitcurveCommandTest, JsonHasAllPoliciesAndWeights) {
  const Outcome outcome = Run({"--trace", Write("t.jsonl", kTrace), "--sizes",
                               "2", "--format", "json"});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["schema"], "pagedkv.hitcurve/1");
  EXPECT_EQ(json["trace"]["block_references"], 6);
  EXPECT_EQ(json["trace"]["distinct_blocks"], 3);
  EXPECT_EQ(json["trace"]["block_tokens"], 512);
  EXPECT_EQ(json["lru_need_blocks"], 3);
  EXPECT_EQ(json["unbounded"]["block_hit_rate"], 0.5);
  EXPECT_EQ(json["unbounded"]["token_hit_rate"], 0.550909);
  EXPECT_EQ(json["unbounded"]["request_hit_rate"], 0.546667);
  std::set<std::string> policies;
  for (const auto& curve : json["curves"]) {
    policies.insert(curve["policy"]);
    EXPECT_EQ(curve["points"].size(), 1u);
    EXPECT_EQ(curve["points"][0]["size_blocks"], 2);
    EXPECT_EQ(curve["points"][0].size(), 4u);
  }
  const std::vector<std::string> names = HitCurveNames();
  EXPECT_EQ(policies, std::set<std::string>(names.begin(), names.end()));
}

TEST_F(HitcurveCommandTest, WritesFilesWithAllThatItKnows) {
  const Outcome outcome = Run({"--trace", Write("t.jsonl", kTrace),
                               "--policies", "lru", "--out", Path("a/b")});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_EQ(Read("a/b/hitcurve.csv"),
            "policy,method,size_blocks,size_tokens,block_hit_rate,"
            "token_hit_rate,request_hit_rate\n"
            "lru,stack_distances,1,512,0.333333,0.465455,0.457143\n"
            "lru,stack_distances,2,1024,0.333333,0.465455,0.457143\n"
            "lru,stack_distances,3,1536,0.500000,0.550909,0.546667\n"
            "unbounded,never_evicts,3,1536,0.500000,0.550909,0.546667\n");
  EXPECT_THAT(Read("a/b/hitcurve.html"), HasSubstr("pagedkv.hitcurve/1"));
  EXPECT_EQ(nlohmann::json::parse(Read("a/b/hitcurve.json"))["curves"].size(),
            1u);
}

TEST_F(HitcurveCommandTest, TakesABuiltinWorkload) {
  const Outcome outcome =
      Run({"--workload", "mooncake-conversation", "--requests", "200",
           "--format", "csv", "--sizes", "100,1000"});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\noptimum,offline,1000,512000,"));
}

TEST_F(HitcurveCommandTest, ReadsATraceAsInspectDoes) {
  const std::string trace =
      Write("t.jsonl", std::string(kTrace) + "{\"timestamp\":3}\n");
  ExpectBadInput({"--trace", trace}, "t.jsonl:4:1: no ");
  const Outcome outcome =
      Run({"--trace", trace, "--skip-malformed", "--max-seq-len", "750",
           "--trace-block-size", "350", "--format", "json"});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["trace"]["kept"], 2);
  EXPECT_EQ(json["trace"]["dropped"]["malformed"], 1);
  EXPECT_EQ(json["trace"]["dropped"]["over_max_seq"], 1);
  EXPECT_EQ(json["trace"]["block_tokens"], 350);
}

TEST_F(HitcurveCommandTest, NamesWhatIsWrong) {
  const std::string trace = Write("t.jsonl", kTrace);
  ExpectBadInput({}, "give either --trace FILE or --workload NAME");
  ExpectBadInput({"--workload", "sharegpt"},
                 "sharegpt: the requests have no block ids");
  ExpectBadInput({"--trace", Write("t.csv",
                                   "TIMESTAMP,ContextTokens,GeneratedTokens\n"
                                   "2023-11-16 18:15:46.6805900,374,44\n")},
                 "t.csv: the requests have no block ids");
  ExpectBadInput({"--trace", Path("none.jsonl")}, "none.jsonl");
  ExpectBadInput({"--trace", trace, "--sizes", "100,0"}, "--sizes");
  ExpectBadInput({"--trace", trace, "--sizes", "1e3"}, "--sizes");
  ExpectBadInput({"--trace", trace, "--policies", "lru,fifo"},
                 "unknown policy 'fifo': use lru, ");
  ExpectBadInput({"--trace", trace, "--weight", "byte"}, "--weight");
  ExpectBadInput({"--trace", trace, "--format", "xml"}, "--format");
  ExpectBadInput({"--trace", trace, "--out", trace}, "cannot be made");
}

}  // namespace
}  // namespace pagedkv::sim
