// SPDX-License-Identifier: Apache-2.0
// The built program: exit codes, and what goes to stdout and to stderr.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "sim/cli/command.h"

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

std::string ReadAndRemove(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::filesystem::remove(path);
  return text;
}

/// Runs the program with `arguments`, in the syntax of a shell.
Outcome RunProgram(const std::string& arguments) {
  const std::string base = ::testing::TempDir() + "pagedkv_program_test_" +
                           std::to_string(::getpid());
  const std::string command = std::string("'") + PAGEDKV_PROGRAM + "' " +
                              arguments + " >'" + base + ".out' 2>'" + base +
                              ".err'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          ReadAndRemove(base + ".out"), ReadAndRemove(base + ".err")};
}

void ExpectBadInput(const std::string& arguments, const char* message) {
  SCOPED_TRACE(arguments);
  const Outcome outcome = RunProgram(arguments);
  EXPECT_EQ(outcome.exit_code, kExitBadInput);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_THAT(outcome.err, StartsWith("pagedkv: "));
  EXPECT_THAT(outcome.err, HasSubstr(message));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1)
      << outcome.err;
}

TEST(ProgramTest, CalcAnswersInJson) {
  const Outcome outcome = RunProgram(
      "calc --model llama-2-70b --seq-len 4096 --batch 32 --format json");
  EXPECT_EQ(outcome.exit_code, kExitOk);
  EXPECT_THAT(outcome.err, IsEmpty());
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["kv_bytes_per_token"], 327'680);
  EXPECT_EQ(json["total_bytes"], 42'949'672'960);
}

TEST(ProgramTest, ReproducePaperExitsByItsVerdict) {
  const Outcome good =
      RunProgram("reproduce-paper --only bytes,walkthroughs --format json");
  EXPECT_EQ(good.exit_code, kExitOk) << good.err;
  EXPECT_EQ(nlohmann::json::parse(good.out)["passed"], true);
  // A hundred requests never saturate the pool as the paper's workload does.
  const Outcome missed =
      RunProgram("reproduce-paper --only fig2 --seeds 1 --requests 100");
  EXPECT_EQ(missed.exit_code, kExitComparisonFailed) << missed.out;
  EXPECT_THAT(missed.out, HasSubstr("FAIL"));
  EXPECT_THAT(missed.err, IsEmpty());
  ExpectBadInput("reproduce-paper --only fig1", "unknown --only 'fig1'");
  ExpectBadInput("reproduce-paper --seeds 0", "--seeds");
}

TEST(ProgramTest, CalcPassesEachOptionOn) {
  const Outcome outcome = RunProgram(
      "calc --layers 4 --heads 8 --kv-heads 2 --head-dim 64 --seq-len 100 "
      "--batch 3 --block-size 32 --dtype int8 --value-dtype int4 "
      "--quant-scheme group --quant-group 32 --gpu l40s "
      "--gpu-memory-utilization 0.5 --weights 1GB --activations 2GB --tp 2 "
      "--pp 2 --format json");
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  // 2 groups of 32 bit for each vector of 64 elements.
  EXPECT_EQ(json["kv_bytes_per_token"], 4 * 2 * ((64 + 8) + (32 + 8)));
  EXPECT_EQ(json["model"]["query_heads"], 8);
  EXPECT_EQ(json["seq_len_tokens"], 100);
  EXPECT_EQ(json["batch"], 3);
  EXPECT_EQ(json["block_size_tokens"], 32);
  EXPECT_EQ(json["tensor_parallel"], 2);
  EXPECT_EQ(json["stages"].size(), 2u);
  EXPECT_EQ(json["fits"][0]["gpu"]["name"], "l40s");
  EXPECT_EQ(json["fits"][0]["weights_bytes"], 250'000'000);
  EXPECT_EQ(json["fits"][0]["kv_memory_bytes"],
            48'305'799'168 / 2 - 2'250'000'000);
}

TEST(ProgramTest, CalcTakesAPoolByMemoryOrByBlocks) {
  const Outcome memory =
      RunProgram("calc --model opt-13b --memory 12GiB --format csv");
  EXPECT_THAT(memory.out, HasSubstr("\nfits/0/num_slots,15728\n"));
  const Outcome blocks =
      RunProgram("calc --model opt-13b --num-blocks 983 --format csv");
  EXPECT_THAT(blocks.out, HasSubstr("\nfits/0/num_slots,15728\n"));
}

TEST(ProgramTest, CalcReadsAConfigFile) {
  const std::string path = ::testing::TempDir() + "pagedkv_program_config_" +
                           std::to_string(::getpid()) + ".json";
  std::ofstream(path) << R"({"hidden_size": 64, "num_attention_heads": 2,
                             "num_hidden_layers": 1})";
  const Outcome good =
      RunProgram("calc --seq-len 10 --format csv --config '" + path + "'");
  std::ofstream(path) << "{\n\"hidden_size\": }";
  const Outcome bad = RunProgram("calc --seq-len 10 --config '" + path + "'");
  std::filesystem::remove(path);
  EXPECT_EQ(good.exit_code, kExitOk) << good.err;
  EXPECT_THAT(good.out, HasSubstr("total_bytes,2560\n"));
  EXPECT_EQ(bad.exit_code, kExitBadInput);
  EXPECT_EQ(bad.err, "pagedkv: " + path + ":2:16: this is not valid JSON\n");
}

TEST(ProgramTest, HelpAndVersionAreNotErrors) {
  EXPECT_EQ(RunProgram("--version").out, "pagedkv " PAGEDKV_VERSION "\n");
  EXPECT_EQ(RunProgram("--version").exit_code, kExitOk);
  EXPECT_EQ(RunProgram("--help").exit_code, kExitOk);
  EXPECT_THAT(RunProgram("--help").out, HasSubstr("calc"));
  EXPECT_EQ(RunProgram("calc --help").exit_code, kExitOk);
  EXPECT_THAT(RunProgram("calc --help").out, HasSubstr("--seq-len"));
}

TEST(ProgramTest, BadUsageIsOneLineAndExitCode2) {
  ExpectBadInput("", "subcommand is required");
  ExpectBadInput("calculate", "calculate");
  ExpectBadInput("calc", "one of --model, --config and --layers");
  ExpectBadInput("calc --model", "--model");
  ExpectBadInput("calc --model llama-2-70b --nope", "--nope");
  ExpectBadInput("calc --model llama-2-70b --format xml",
                 "--format: xml not in {csv,json,md,table}");
  ExpectBadInput("calc --model llama-2-70b --seq-len x",
                 "--seq-len: 'x' is not a whole number from 1");
  ExpectBadInput("calc --model llama-2-70b --seq-len -1", "--seq-len");
  ExpectBadInput("calc --model llama-2-70b --batch 0", "--batch");
  ExpectBadInput("calc --model llama-2-70b --batch 99999999999999999999",
                 "--batch");
  ExpectBadInput("calc --model llama-2-70b --tp 9999999999", "--tp");
  ExpectBadInput("calc --model llama-2-70b --heads 3", "--layers");
  ExpectBadInput("calc --model llama-2-70b --gpu h100 --memory 1GB",
                 "--memory");
  ExpectBadInput("calc --model llama-2-70b --gpu h100 --num-blocks 9",
                 "--num-blocks");
  ExpectBadInput("calc --model llama-2-70b --memory 1GB --weights 1GB",
                 "--memory");
  ExpectBadInput("calc --model \"$(printf 'a\\nb')\"", "unknown model 'a b'");
  ExpectBadInput("calc --config /nonexistent", "/nonexistent: ");
}

}  // namespace
}  // namespace pagedkv::sim
