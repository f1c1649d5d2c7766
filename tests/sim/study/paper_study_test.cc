// SPDX-License-Identifier: Apache-2.0
#include "sim/study/paper_study.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<PaperCheck> Study(const PaperOptions& options) {
  absl::StatusOr<std::vector<PaperCheck>> checks = RunPaperStudy(options);
  EXPECT_TRUE(checks.ok()) << checks.status();
  return checks.ok() ? *std::move(checks) : std::vector<PaperCheck>{};
}

void ExpectAllPass(const std::vector<PaperCheck>& checks) {
  EXPECT_FALSE(checks.empty());
  for (const PaperCheck& check : checks) {
    EXPECT_TRUE(check.passed())
        << check.id << ": " << check.mean() << ", published "
        << check.expected_lo << " to " << check.expected_hi << " +- "
        << check.tolerance << " " << check.note;
  }
}

// Fewer seeds and requests than by default: what is published is still met.

TEST(PaperStudyTest, WhatNothingIsDrawnForIsExactOrRounded) {
  const std::vector<PaperCheck> checks =
      Study({.only = "bytes,fig3,walkthroughs,table1,hybrid"});
  EXPECT_THAT(checks, SizeIs(2 + 4 + 4 + 3 + 3));
  ExpectAllPass(checks);
  for (const PaperCheck& check : checks) EXPECT_THAT(check.values, SizeIs(1));
}

TEST(PaperStudyTest, LengthsAreThePapers) {
  ExpectAllPass(Study({.seeds = 3, .only = "fig11,closed-form"}));
}

TEST(PaperStudyTest, BatchesAreThePapers) {
  const std::vector<PaperCheck> checks =
      Study({.seeds = 3, .requests = 2000, .only = "fig2"});
  // Three systems with four shares of the pool, one with its tokens, and four
  // batches.
  EXPECT_THAT(checks, SizeIs(3 * 4 + 1 + 4));
  ExpectAllPass(checks);
  for (const PaperCheck& check : checks) {
    EXPECT_THAT(check.values, SizeIs(3));
    EXPECT_TRUE(check.interval().has_value());
  }
}

TEST(PaperStudyTest, SharingIsThePapers) {
  ExpectAllPass(Study({.seeds = 3, .requests = 3000, .only = "parallel"}));
  ExpectAllPass(Study({.seeds = 2, .requests = 3000, .only = "beam"}));
}

TEST(PaperStudyTest, BlockSizesAreThePrototypes) {
  ExpectAllPass(Study({.seeds = 1, .requests = 2000, .only = "block-size"}));
}

TEST(PaperStudyTest, TheSameOptionsGiveTheSameFigures) {
  const PaperOptions options = {
      .seeds = 2, .requests = 1200, .only = "fig2,beam"};
  const std::vector<PaperCheck> first = Study(options);
  const std::vector<PaperCheck> second = Study(options);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].id, second[i].id);
    EXPECT_EQ(first[i].values, second[i].values);
  }
}

TEST(PaperStudyTest, EachCheckSaysWhereAndHowAndItsIdIsItsOwn) {
  std::set<std::string> ids;
  for (const PaperCheck& check : Study({.seeds = 1, .requests = 1000})) {
    EXPECT_TRUE(ids.insert(check.id).second) << check.id << " comes twice";
    EXPECT_FALSE(check.where.empty()) << check.id;
    EXPECT_FALSE(check.setting.empty()) << check.id;
    EXPECT_FALSE(check.unit.empty()) << check.id;
    EXPECT_GE(check.tolerance, 0) << check.id;
    EXPECT_LE(check.expected_lo, check.expected_hi) << check.id;
  }
  EXPECT_GE(ids.size(), 60u);
}

TEST(PaperStudyTest, AnOptionOutOfRangeIsNamed) {
  const auto error = [](const PaperOptions& options) {
    return std::string(RunPaperStudy(options).status().message());
  };
  EXPECT_THAT(error({.only = "fig1"}),
              HasSubstr("unknown --only 'fig1': use fig2, bytes, "));
  EXPECT_THAT(error({.only = "bytes,"}), HasSubstr("unknown --only ''"));
  EXPECT_THAT(error({.seeds = 0}), HasSubstr("--seeds"));
  EXPECT_THAT(error({.seeds = 1001}), HasSubstr("--seeds"));
  EXPECT_THAT(error({.requests = -1}), HasSubstr("--requests"));
  EXPECT_THAT(error({.requests = 1, .only = "beam"}),
              HasSubstr("no step is saturated"));
}

}  // namespace
}  // namespace pagedkv::sim
