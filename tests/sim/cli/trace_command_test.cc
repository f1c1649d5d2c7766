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

}  // namespace
}  // namespace pagedkv::sim
