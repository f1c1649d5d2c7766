// SPDX-License-Identifier: Apache-2.0
#include "sim/study/repeated_workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kTrace =
    "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    "2,100,10\n"
    "4,200,20\n"
    "3,300,30\n";

class RepeatedWorkloadTest : public testing::Test {
 protected:
  RepeatedWorkloadTest()
      : path_(testing::TempDir() + "pagedkv_repeated_workload_" +
              testing::UnitTest::GetInstance()->current_test_info()->name() +
              ".csv") {
    Write(kTrace);
  }
  ~RepeatedWorkloadTest() override { std::filesystem::remove(path_); }

  void Write(std::string_view text) const {
    std::ofstream(path_, std::ios::binary) << text;
  }

  /// Notes the prompt lengths of a pass.
  static RepeatedWorkload::Pass Note(std::vector<std::int32_t>& prompts) {
    return [&prompts](RequestSource& source) {
      prompts.clear();
      TraceRequest request;
      for (;;) {
        const absl::StatusOr<bool> more = source.Next(request);
        if (!more.ok()) return more.status();
        if (!*more) return absl::OkStatus();
        prompts.push_back(request.prompt_tokens);
      }
    };
  }

  std::string path_;
};

TEST_F(RepeatedWorkloadTest, GivesTheSameRequestsInEachPass) {
  for (const bool sort : {false, true}) {  // streamed, held
    std::vector<std::int32_t> prompts;
    const auto workload =
        RepeatedWorkload::Create({.trace = path_, .sort = sort}, Note(prompts));
    ASSERT_TRUE(workload.ok()) << workload.status();
    const std::vector<std::int32_t> first = prompts;
    if (sort) {
      EXPECT_THAT(first, ElementsAre(100, 300, 200));
    } else {
      EXPECT_THAT(first, ElementsAre(100, 200));
    }
    EXPECT_EQ(workload->summary().kept,
              static_cast<std::int64_t>(first.size()));
    EXPECT_EQ(workload->summary().sha256.size(), 64U);
    for (int pass = 0; pass < 2; ++pass) {
      EXPECT_TRUE(workload->Repeat(Note(prompts)).ok());
      EXPECT_EQ(prompts, first);
    }
  }
}

TEST_F(RepeatedWorkloadTest, NoticesThatAFileHasGrown) {
  std::vector<std::int32_t> prompts;
  const auto workload =
      RepeatedWorkload::Create({.trace = path_}, Note(prompts));
  ASSERT_TRUE(workload.ok());
  Write(std::string(kTrace) + "9,100,10\n");
  const absl::Status status = workload->Repeat(Note(prompts));
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(path_ + ": the file has changed while it was read"));
}

TEST_F(RepeatedWorkloadTest, PassesOnErrors) {
  std::vector<std::int32_t> prompts;
  EXPECT_THAT(std::string(RepeatedWorkload::Create({.trace = "/nonexistent"},
                                                   Note(prompts))
                              .status()
                              .message()),
              HasSubstr("/nonexistent"));
  Write("arrived_at,num_prefill_tokens,num_decode_tokens\n1,x,1\n");
  EXPECT_THAT(
      std::string(RepeatedWorkload::Create({.trace = path_}, Note(prompts))
                      .status()
                      .message()),
      HasSubstr(":2:3: num_prefill_tokens: expected"));
  const auto stop = [](RequestSource&) { return absl::CancelledError("stop"); };
  EXPECT_TRUE(absl::IsCancelled(
      RepeatedWorkload::Create({.workload = "alpaca"}, stop).status()));
  const auto workload = RepeatedWorkload::Create(
      {.workload = "alpaca", .requests = 5}, Note(prompts));
  ASSERT_TRUE(workload.ok());
  EXPECT_TRUE(absl::IsCancelled(workload->Repeat(stop)));
}

}  // namespace
}  // namespace pagedkv::sim
