// SPDX-License-Identifier: Apache-2.0
#include "sim/study/measured_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/study/catalogue_match.h"

namespace pagedkv::sim {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// The files of a run, by name.
using Files = std::map<std::string, std::string>;

/// Two requests; the tokens' clock is 1,000 s and the arrivals' 50 s ahead.
Files GoodFiles() {
  return {
      {"meta.json",
       R"({"model": "meta-llama/Llama-3.1-8B-Instruct", "vllm_version": "0.19",
           "engine_kwargs": {"max_model_len": 4096},
           "kv_cache": {"num_gpu_blocks": 100, "block_size": 16,
                        "enable_prefix_caching": true},
           "resolved_config": {"scheduler_config":
               {"max_num_seqs": 8, "max_num_batched_tokens": 512}},
           "hardware": {"device_name": "NVIDIA GeForce RTX 4090",
                        "device_total_memory_bytes": 25250627584}})"},
      {"workload.jsonl",
       R"({"input_toks": 3, "output_toks": 9, "arrival_time_ns": 500000000, "input_tok_ids": [1, 2, 3]})"
       "\n"
       R"({"input_toks": 2, "output_toks": 5, "arrival_time_ns": 750000000, "input_tok_ids": [7, 8]})"
       "\n"},
      {"requests.jsonl",
       R"({"request_id": "bench-0", "input_toks": 3, "output_toks": 9, "arrival_time": 50.5, "queued_ts": 1000.5, "scheduled_ts": 1000.625, "first_token_ts": 1001, "last_token_ts": 1002})"
       "\n"
       R"({"request_id": "bench-1", "input_toks": 2, "output_toks": 4, "arrival_time": 50.75, "queued_ts": 1001.0, "scheduled_ts": 1001.0, "first_token_ts": 1001.5, "last_token_ts": 1003})"
       "\n"},
      {"timeseries.csv",
       "t,running,waiting,kv_cache_pct\n1.0,1,0,2.5\n2.0,2,,5\n"}};
}

class MeasuredRunTest : public ::testing::Test {
 protected:
  MeasuredRunTest()
      : folder_(
            std::filesystem::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name()) {}
  ~MeasuredRunTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<MeasuredRun> Read(const Files& files) const {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (const auto& [name, content] : files) {
      std::ofstream(folder_ / name) << content;
    }
    return ReadMeasuredRun(folder_.string());
  }
  [[nodiscard]] std::string Error(const Files& files) const {
    const absl::StatusOr<MeasuredRun> run = Read(files);
    EXPECT_FALSE(run.ok());
    return std::string(run.status().message());
  }

 private:
  std::filesystem::path folder_;
};

TEST_F(MeasuredRunTest, ReadsSettingsRequestsAndSeries) {
  const absl::StatusOr<MeasuredRun> read = Read(GoodFiles());
  ASSERT_TRUE(read.ok()) << read.status();
  const MeasuredRun& run = *read;
  EXPECT_EQ(run.name, "ReadsSettingsRequestsAndSeries");
  EXPECT_EQ(run.engine, "vLLM 0.19");
  EXPECT_EQ(run.policy.id(), "paged-16");
  EXPECT_EQ(run.num_blocks, BlockCount(100));
  EXPECT_EQ(run.simulation.capacity, TokenCount(1'600));
  EXPECT_EQ(run.simulation.max_num_seqs, 8);
  EXPECT_EQ(run.simulation.max_num_batched_tokens, TokenCount(512));
  EXPECT_EQ(run.simulation.max_sequence_tokens, TokenCount(12));
  EXPECT_TRUE(run.simulation.prefix_cache);
  ASSERT_TRUE(run.roofline.has_value());
  EXPECT_EQ(run.roofline->model, "llama-3.1-8b");
  EXPECT_THAT(run.assumptions, IsEmpty());

  ASSERT_EQ(run.requests.size(), 2u);
  EXPECT_EQ(run.requests[0].arrival_ns, 500'000'000);
  EXPECT_EQ(run.requests[1].arrival_ns, 750'000'000);
  EXPECT_THAT(run.requests[1].prompt_token_ids, ElementsAre(7, 8));
  // As many as it got, not as many as it might have.
  EXPECT_EQ(run.requests[1].output_tokens, 4);
  // The first is queued as it arrives; the second waits a quarter of a second.
  ASSERT_TRUE(run.measured[0] && run.measured[1]);
  EXPECT_EQ(run.measured[0]->first_token_ns, 1'000'000'000);
  EXPECT_EQ(run.measured[0]->last_token_ns, 2'000'000'000);
  EXPECT_EQ(run.measured[0]->admitted_ns, 625'000'000);
  EXPECT_EQ(run.measured[1]->first_token_ns, 1'500'000'000);

  ASSERT_EQ(run.series.size(), 2u);
  EXPECT_EQ(run.series[1].time_ns, 2'000'000'000);
  EXPECT_EQ(run.series[1].running, 2.0);
  EXPECT_EQ(run.series[1].waiting, std::nullopt);
  EXPECT_EQ(run.series[0].kv_cache_pct, 2.5);
}

TEST_F(MeasuredRunTest, WhatIsOptionalMayBeMissing) {
  Files files = GoodFiles();
  files.erase("timeseries.csv");
  files["meta.json"] = R"({"kv_cache": {"num_gpu_blocks": 5,
                           "block_size": 32}})";
  files["requests.jsonl"] =
      R"({"scheduled_ts": 10.5, "first_token_ts": 11, "last_token_ts": 11})"
      "\n{}\n";
  const absl::StatusOr<MeasuredRun> run = Read(files);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->policy.id(), "paged-32");
  EXPECT_FALSE(run->roofline.has_value());
  EXPECT_TRUE(run->series.empty());
  EXPECT_TRUE(run->measured[0].has_value());
  EXPECT_FALSE(run->measured[1].has_value());
  EXPECT_EQ(run->measured[0]->first_token_ns, 1'000'000'000);
  EXPECT_THAT(run->assumptions, Contains(HasSubstr("max_num_seqs")));
  EXPECT_THAT(run->assumptions, Contains(HasSubstr("no timeseries.csv")));
}

TEST_F(MeasuredRunTest, RowsMayComeInAnyOrder) {
  Files files = GoodFiles();
  std::string& rows = files["requests.jsonl"];
  const std::size_t second = rows.find('\n') + 1;
  rows = rows.substr(second) + rows.substr(0, second);
  const absl::StatusOr<MeasuredRun> run = Read(files);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->measured[0]->first_token_ns, 1'000'000'000);
}

TEST_F(MeasuredRunTest, RequestsAreReplayedInOrderOfArrival) {
  Files files = GoodFiles();
  std::string& rows = files["requests.jsonl"];
  rows.replace(rows.find("50.75"), 5, "50.25");
  rows.replace(rows.find("\"queued_ts\": 1001.0"), 19, "\"queued_ts\": 1000.2");
  const absl::StatusOr<MeasuredRun> run = Read(files);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->requests[0].prompt_tokens, 2);
  EXPECT_EQ(run->requests[0].id, 0);
  EXPECT_LE(run->requests[0].arrival_ns, run->requests[1].arrival_ns);
  EXPECT_EQ(run->measured[1]->first_token_ns - run->measured[0]->first_token_ns,
            -500'000'000);
}

TEST_F(MeasuredRunTest, OneClockNeedsNoQueueTimes) {
  Files files = GoodFiles();
  files["requests.jsonl"] =
      R"({"arrival_time": 50.5, "first_token_ts": 51, "last_token_ts": 52})"
      "\n"
      R"({"arrival_time": 50.75, "first_token_ts": 53, "last_token_ts": 54})";
  const absl::StatusOr<MeasuredRun> run = Read(files);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->requests[0].arrival_ns, 500'000'000);
  EXPECT_EQ(run->measured[0]->first_token_ns, 1'000'000'000);
  EXPECT_THAT(run->assumptions, Contains(HasSubstr("of one clock")));
}

TEST_F(MeasuredRunTest, MistakesAreNamedInOneLine) {
  const struct {
    const char* file;
    const char* from;  // null: the file is removed
    const char* to;
    const char* message;
  } mistakes[] = {
      {"meta.json", nullptr, "", "meta.json: the file cannot be read"},
      {"meta.json", "{", "[", "meta.json:1:"},
      {"meta.json", "\"num_gpu_blocks\": 100,", "",
       "meta.json: 'num_gpu_blocks' is missing"},
      {"meta.json", "\"block_size\": 16", "\"block_size\": -16",
       "meta.json: 'block_size' must be"},
      {"meta.json", "4096}", "4096, \"data_parallel_size\": 2}",
       "2 data-parallel engines"},
      {"workload.jsonl", nullptr, "", "workload.jsonl"},
      {"workload.jsonl", "[7, 8]", "[7]", "workload.jsonl:2:1: 1 token ids"},
      {"workload.jsonl", "\"output_toks\": 9", "\"output_toks\": 0",
       "no output"},
      {"requests.jsonl", nullptr, "", "requests.jsonl"},
      {"requests.jsonl", "{\"request_id\": \"bench-1\"", "[",
       "requests.jsonl:2: no JSON object"},
      {"requests.jsonl", "bench-1", "bench-2",
       "requests.jsonl:2: request 2; the workload has requests 0 to 1"},
      {"requests.jsonl", "bench-1", "bench-0",
       "requests.jsonl:2: request 0 has a row above"},
      {"requests.jsonl", "\"input_toks\": 2", "\"input_toks\": 4",
       "'input_toks' is 4, and 2 in the workload"},
      {"requests.jsonl", "\"output_toks\": 4", "\"output_toks\": 1.5",
       "'output_toks' must be a number of tokens"},
      {"requests.jsonl", "\"last_token_ts\": 1003", "\"last_token_ts\": 1",
       "'last_token_ts' is before 'first_token_ts'"},
      {"requests.jsonl", "\"last_token_ts\": 1003", "\"last_token_ts\": \"x\"",
       "'last_token_ts' must be a number"},
      {"requests.jsonl", "\"first_token_ts\": 1001,", "\"first_token_ts\": 1,",
       "the clocks do not match"},
      {"timeseries.csv", "t,running", "time,running",
       "timeseries.csv:1: a header with a column 't'"},
      {"timeseries.csv", "2.0,2,,5", "2.0,2", "timeseries.csv:3: 2 cells"},
      {"timeseries.csv", "2.0,2,,5", "2.0,two,,5",
       "timeseries.csv:3: running: expected a number, found"},
      {"timeseries.csv", "2.0,2,,5", "1.0,2,,5", "timeseries.csv:3: t: "},
  };
  for (const auto& [file, from, to, message] : mistakes) {
    Files files = GoodFiles();
    if (from == nullptr) {
      files.erase(file);
    } else {
      std::string& content = files[file];
      const std::size_t at = content.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      content.replace(at, std::string(from).size(), to);
    }
    const std::string error = Error(files);
    EXPECT_THAT(error, HasSubstr(message));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(CatalogueMatchTest, ModelsAreFoundByWhatEnginesCallThem) {
  const auto name = [](const char* model) {
    const std::optional<ModelSpec> found = MatchModel(model);
    return found ? found->name : "";
  };
  EXPECT_EQ(name("meta-llama/Llama-3.1-8B"), "llama-3.1-8b");
  EXPECT_EQ(name("meta-llama/Llama-2-70b-chat-hf"), "llama-2-70b");
  EXPECT_EQ(name("Qwen/Qwen3-32B"), "qwen3-32b");
  EXPECT_EQ(name("google/gemma-2-9b-it"), "gemma-2-9b");
  EXPECT_EQ(name("/models/opt-13b"), "opt-13b");
  EXPECT_EQ(name("somebody/Unknown-7B-Instruct"), "");
  EXPECT_EQ(name(""), "");
}

TEST(CatalogueMatchTest, GpusAreFoundByTheirDriversName) {
  const auto name = [](const char* device, std::int64_t memory) {
    const std::optional<GpuSpec> found = MatchGpu(device, Bytes(memory));
    return found ? found->name : "";
  };
  EXPECT_EQ(name("NVIDIA GeForce RTX 4090", 25'250'627'584), "rtx-4090");
  EXPECT_EQ(name("NVIDIA H100 80GB HBM3", 85'000'000'000), "h100");
  EXPECT_EQ(name("NVIDIA A100-SXM4-80GB", 85'000'000'000), "a100-80gb");
  EXPECT_EQ(name("NVIDIA A100-SXM4-40GB", 42'000'000'000), "a100-40gb");
  EXPECT_EQ(name("NVIDIA L40S", 0), "l40s");
  EXPECT_EQ(name("NVIDIA GeForce GTX 970", 0), "");
}

}  // namespace
}  // namespace pagedkv::sim
