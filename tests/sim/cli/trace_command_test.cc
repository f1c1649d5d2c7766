// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/trace_command.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class TraceCommandTest : public ::testing::Test {
 protected:
  TraceCommandTest()
      : folder_(
            std::filesystem::path(::testing::TempDir()) /
            (std::string("pagedkv_trace_command_test_") +
             ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  ~TraceCommandTest() override { std::filesystem::remove_all(folder_); }

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

  /// As after "pagedkv trace" on the command line; the exit code of wrong usage
  /// is given as by the program.
  static Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"pagedkv", "trace"});
    std::vector<const char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(argument.c_str());
    }
    CLI::App app("test", "pagedkv");
    Outcome outcome;
    int exit_code = kExitOk;
    AddTraceCommand(app, exit_code);
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

constexpr char kMooncake[] =
    R"({"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[0,1]})"
    "\n"
    R"({"timestamp":500,"input_length":700,"output_length":0,"hash_ids":[0,2]})"
    "\n"
    R"({"timestamp":2000,"input_length":800,"output_length":7,"hash_ids":[0,3]})"
    "\n";

TEST_F(TraceCommandTest, InspectsATraceInEachFormat) {
  const std::string trace = Write("t.jsonl", kMooncake);
  const Outcome json = Run({"inspect", trace, "--format", "json"});
  EXPECT_EQ(json.exit_code, kExitOk);
  EXPECT_THAT(json.err, IsEmpty());
  const auto parsed = nlohmann::json::parse(json.out);
  EXPECT_EQ(parsed["name"], "t.jsonl");
  EXPECT_EQ(parsed["format"], "mooncake");
  EXPECT_EQ(parsed["rows"], 3);
  EXPECT_EQ(parsed["kept"], 2);
  EXPECT_EQ(parsed["dropped"]["zero_output"], 1);
  EXPECT_EQ(parsed["span_s"], 2.0);
  EXPECT_EQ(parsed["rate_per_s"], 0.5);
  EXPECT_EQ(parsed["prompt_tokens"]["mean"], 700.0);
  EXPECT_EQ(parsed["output_tokens"]["max"], 7);
  EXPECT_EQ(parsed["blocks"]["references"], 4);
  EXPECT_EQ(parsed["blocks"]["unique"], 3);
  EXPECT_EQ(parsed["blocks"]["reused_share"], 0.25);

  for (const std::string format : {"table", "md"}) {
    const Outcome text = Run({"inspect", trace, "--format", format});
    EXPECT_EQ(text.exit_code, kExitOk);
    EXPECT_THAT(text.out, HasSubstr("3 read, 2 kept, 1 dropped"));
    EXPECT_THAT(text.out, HasSubstr("4 references, 3 unique: 25.00 % reused"));
  }
}

TEST_F(TraceCommandTest, GeneratesTheSameFileForTheSameSeed) {
  for (const std::string name : {"a.jsonl", "b.jsonl", "c.jsonl"}) {
    const Outcome outcome = Run(
        {"generate", "mooncake-conversation", "--requests", "100", "--rate",
         "4", "--seed", name == "c.jsonl" ? "2" : "1", "--out", Path(name)});
    EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr(": 100 requests over "));
  }
  EXPECT_EQ(Read("a.jsonl"), Read("b.jsonl"));
  EXPECT_NE(Read("a.jsonl"), Read("c.jsonl"));
  const Outcome inspected =
      Run({"inspect", Path("a.jsonl"), "--strict", "--format", "json"});
  EXPECT_EQ(nlohmann::json::parse(inspected.out)["kept"], 100);
}

TEST_F(TraceCommandTest, ConvertsAndSaysWhatIsLost) {
  const std::string trace = Write("t.jsonl", kMooncake);
  const Outcome outcome =
      Run({"convert", trace, Path("out.csv"), "--rate", "1"});
  EXPECT_EQ(outcome.exit_code, kExitOk);
  EXPECT_THAT(outcome.err, HasSubstr("no place for block ids"));
  EXPECT_THAT(outcome.out, HasSubstr("1 of 3 rows dropped"));
  EXPECT_EQ(Read("out.csv"),
            "TIMESTAMP,ContextTokens,GeneratedTokens\n"
            "1970-01-01 00:00:00.000000000,600,5\n"
            "1970-01-01 00:00:01.000000000,800,7\n");
}

TEST_F(TraceCommandTest, LeavesAnOldFileWhereItCannotReadTheNewOne) {
  const std::string old = Write("out.csv", "old");
  ExpectBadInput({"convert", Write("bad.csv", "a,b\n1,2\n"), old},
                 "bad.csv:1:1: unknown trace format: header \"a,b\"");
  EXPECT_EQ(Read("out.csv"), "old");
}

TEST_F(TraceCommandTest, NamesWhatIsWrong) {
  ExpectBadInput({}, "subcommand");
  ExpectBadInput({"inspect", Path("none.csv")}, "none.csv: No such file");
  ExpectBadInput({"inspect", Write("t.jsonl", kMooncake), "--format", "xml"},
                 "--format");
  ExpectBadInput({"generate", "gpt", "--out", Path("a.csv")},
                 "unknown workload");
  ExpectBadInput({"generate", "alpaca", "--out", Path("a.txt")},
                 "a.txt: unknown kind of trace");
  ExpectBadInput({"generate", "alpaca", "--rate", "0", "--out", Path("a.csv")},
                 "--rate");
  ExpectBadInput({"generate", "alpaca", "--out", Path("no/a.csv")},
                 "no/a.csv: cannot be written");
  EXPECT_FALSE(std::filesystem::exists(Path("a.csv")));
}

TEST_F(TraceCommandTest, GeneratesSessionsThatReadBackAsClosedLoop) {
  const Outcome outcome = Run({"generate", "agent-tools", "--requests", "200",
                               "--out", Path("a.jsonl")});
  EXPECT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  const auto inspected = nlohmann::json::parse(
      Run({"inspect", Path("a.jsonl"), "--strict", "--format", "json"}).out);
  EXPECT_EQ(inspected["kept"], 200);
  EXPECT_EQ(inspected["blocks"]["tokens"], 16);
  EXPECT_GT(inspected["closed_loop_turns"], 100);
  EXPECT_EQ(inspected["open_loop_turns"], 0);
  const auto open =
      nlohmann::json::parse(Run({"inspect", Path("a.jsonl"), "--sessions",
                                 "open", "--format", "json"})
                                .out);
  EXPECT_EQ(open["closed_loop_turns"], 0);
  EXPECT_EQ(open["open_loop_turns"], inspected["closed_loop_turns"]);

  // Written again it is the same; in blocks of 512, as others expect it.
  EXPECT_EQ(Run({"convert", Path("a.jsonl"), Path("b.jsonl")}).exit_code,
            kExitOk);
  EXPECT_EQ(Read("a.jsonl"), Read("b.jsonl"));
  EXPECT_EQ(
      Run({"convert", Path("a.jsonl"), Path("c.jsonl"), "--block-size", "512"})
          .exit_code,
      kExitOk);
  EXPECT_EQ(Read("c.jsonl").find("block_tokens"), std::string::npos);
}

TEST_F(TraceCommandTest, FitsADescriptionThatGenerates) {
  EXPECT_EQ(Run({"generate", "chat-multi-turn", "--requests", "500", "--out",
                 Path("a.jsonl")})
                .exit_code,
            kExitOk);
  const Outcome fit = Run({"fit", Path("a.jsonl"), "--out", Path("fit.json")});
  EXPECT_EQ(fit.exit_code, kExitOk) << fit.err;
  EXPECT_THAT(fit.out, HasSubstr("requests go on from another (recorded), "
                                 "closed loop"));
  EXPECT_THAT(fit.out, HasSubstr("hit rate, nothing evicted"));
  EXPECT_THAT(fit.out, HasSubstr("Kolmogorov-Smirnov distance: prompt 0."));
  const Outcome generated =
      Run({"generate", Path("fit.json"), "--out", Path("b.jsonl")});
  EXPECT_EQ(generated.exit_code, kExitOk) << generated.err;
  EXPECT_THAT(generated.out, HasSubstr(": 500 requests over "));
  EXPECT_EQ(Run({"fit", Path("a.jsonl")}).out, fit.out);
}

TEST_F(TraceCommandTest, FitRefusesWhatItCannotWriteOrFit) {
  const std::string trace = Write("t.jsonl", kMooncake);
  ExpectBadInput({"fit", trace}, "2 requests are too few");
  ExpectBadInput({"fit", trace, "--out", Path("x.txt")},
                 "end its name with .json");
  ExpectBadInput({"generate", Path("none.json"), "--out", Path("x.jsonl")},
                 "the file cannot be read");
}

}  // namespace
}  // namespace pagedkv::sim
