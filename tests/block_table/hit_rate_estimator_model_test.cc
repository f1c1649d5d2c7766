// SPDX-License-Identifier: Apache-2.0
// The estimator against an LRU cache of each size, written plainly.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "pagedkv/hit_rate_estimator.h"

namespace pagedkv {
namespace {

using Contents = std::vector<std::uint64_t>;

/// Hits by depth in a list that is searched from its front.
class NaiveStack {
 public:
  void OnRequest(const Contents& contents) {
    for (const std::uint64_t content : contents) {
      const auto found = std::find(stack_.begin(), stack_.end(), content);
      if (found != stack_.end()) {
        depths_.push_back(found - stack_.begin() + 1);
      }
      ++num_references_;
    }
    for (auto content = contents.rbegin(); content != contents.rend();
         ++content) {
      const auto found = std::find(stack_.begin(), stack_.end(), *content);
      if (found != stack_.end()) stack_.erase(found);
      stack_.insert(stack_.begin(), *content);
    }
  }
  [[nodiscard]] double HitRate(std::int64_t size) const {
    return static_cast<double>(std::count_if(
               depths_.begin(), depths_.end(),
               [size](std::int64_t depth) { return depth <= size; })) /
           static_cast<double>(num_references_);
  }
  [[nodiscard]] std::size_t size() const { return stack_.size(); }

 private:
  Contents stack_;
  std::vector<std::int64_t> depths_;
  std::int64_t num_references_ = 0;
};

/// Prompts that go on from nodes of a tree: content names the whole prefix.
class RandomPrompts {
 public:
  RandomPrompts(std::uint32_t seed, std::uint64_t fan_out, int max_blocks)
      : random_(seed), fan_out_(fan_out), max_blocks_(max_blocks) {}

  Contents Next() {
    Contents contents;
    std::uint64_t prefix = 0;
    const auto blocks = 1 + random_() % static_cast<std::uint32_t>(max_blocks_);
    for (std::uint32_t i = 0; i < blocks; ++i) {
      // Small choices are the likely ones.
      const double u = static_cast<double>(random_()) / 4294967296.0;
      const auto choice = static_cast<std::uint64_t>(
          std::pow(static_cast<double>(fan_out_), u));
      prefix = prefix * (fan_out_ + 1) + choice;
      contents.push_back(prefix);
    }
    return contents;
  }

 private:
  std::mt19937 random_;
  std::uint64_t fan_out_;
  int max_blocks_;
};

TEST(HitRateEstimatorModelTest, IsExactWhileEveryContentIsFollowed) {
  constexpr std::uint32_t kSeed = 1;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  RandomPrompts prompts(kSeed, 3, 5);
  HitRateEstimator estimator = *HitRateEstimator::Create({.max_samples = 500});
  NaiveStack naive;
  for (int step = 0; step < 2'000; ++step) {
    const Contents contents = prompts.Next();
    estimator.OnRequest(contents);
    naive.OnRequest(contents);
    ASSERT_TRUE(estimator.CheckInvariants().ok()) << "step " << step;
  }
  ASSERT_EQ(estimator.num_samples(), static_cast<int>(naive.size()));
  ASSERT_EQ(estimator.sampling_rate(), 1.0);
  // Depths up to 128 have ranges of their own.
  for (std::int64_t size = 1; size <= 128; ++size) {
    ASSERT_DOUBLE_EQ(estimator.Estimate(BlockCount(size)), naive.HitRate(size))
        << "size " << size;
  }
}

// One estimator errs by what it happens to follow, and with so few samples by
// several hundredths where, as here, few contents are most of the references.
// The mean over many must come near.
TEST(HitRateEstimatorModelTest, IsRightOnAverage) {
  constexpr std::uint32_t kSeed = 1;
  constexpr int kEstimators = 32;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  RandomPrompts prompts(kSeed, 30, 4);
  std::vector<HitRateEstimator> estimators;
  for (std::uint64_t seed = 0; seed < kEstimators; ++seed) {
    estimators.push_back(
        *HitRateEstimator::Create({.max_samples = 512, .seed = seed}));
  }
  NaiveStack naive;
  for (int step = 0; step < 6'000; ++step) {
    const Contents contents = prompts.Next();
    naive.OnRequest(contents);
    for (HitRateEstimator& estimator : estimators) {
      estimator.OnRequest(contents);
    }
    if (step % 100 == 0) {
      ASSERT_TRUE(estimators[0].CheckInvariants().ok()) << "step " << step;
    }
  }
  ASSERT_GT(naive.size(), 4 * 512u);
  ASSERT_EQ(estimators[0].num_samples(), 512);
  for (std::int64_t size = 256; size <= 8'192; size *= 2) {
    const double exact = naive.HitRate(size);
    double sum = 0;
    for (const HitRateEstimator& estimator : estimators) {
      sum += estimator.Estimate(BlockCount(size));
      EXPECT_NEAR(estimator.Estimate(BlockCount(size)), exact, 0.15);
      EXPECT_GE(estimator.Estimate(BlockCount(2 * size)),
                estimator.Estimate(BlockCount(size)));
    }
    EXPECT_NEAR(sum / kEstimators, exact, 0.02) << "size " << size;
  }
}

}  // namespace
}  // namespace pagedkv
