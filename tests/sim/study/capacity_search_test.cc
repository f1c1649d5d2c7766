// SPDX-License-Identifier: Apache-2.0
#include "sim/study/capacity_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/status.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Tries amounts against a threshold, and remembers which.
class Threshold {
 public:
  Threshold(const AmountRange& range, std::int64_t threshold)
      : range_(range), threshold_(threshold) {}

  TryAmounts Try() {
    return [this](const std::vector<std::int64_t>& amounts)
               -> absl::StatusOr<std::vector<bool>> {
      std::vector<bool> met;
      for (const std::int64_t amount : amounts) {
        EXPECT_GE(amount, range_.least);
        EXPECT_LE(amount, range_.most);
        EXPECT_TRUE(tried_.insert(amount).second) << amount << " tried twice";
        met.push_back(Meets(amount));
      }
      return met;
    };
  }
  [[nodiscard]] bool Meets(std::int64_t amount) const {
    return range_.more_is_easier ? amount >= threshold_ : amount <= threshold_;
  }
  [[nodiscard]] std::size_t num_tried() const { return tried_.size(); }

 private:
  AmountRange range_;
  std::int64_t threshold_;
  std::set<std::int64_t> tried_;
};

TEST(CapacitySearchTest, FindsTheThresholdExactlyWithoutTolerance) {
  for (const bool more_is_easier : {true, false}) {
    for (const std::int64_t threshold : {1, 2, 3, 99, 100, 101, 255, 4096}) {
      for (const std::int64_t start : {1, 64, 4096}) {
        const AmountRange range{1, 4096, start, more_is_easier, 0};
        Threshold threshold_at(range, threshold);
        const auto found = FindHardestThatMeets(range, threshold_at.Try());
        ASSERT_TRUE(found.ok()) << found.status();
        EXPECT_EQ(*found, threshold) << more_is_easier << ' ' << start;
        EXPECT_LE(threshold_at.num_tried(), 26u);
      }
    }
  }
}

TEST(CapacitySearchTest, ATolerantAnswerMeetsAndIsClose) {
  for (const bool more_is_easier : {true, false}) {
    const AmountRange range{1, 1'000'000, 10, more_is_easier, 0.05};
    Threshold threshold(range, 54'321);
    const auto found = FindHardestThatMeets(range, threshold.Try());
    ASSERT_TRUE(found.ok()) << found.status();
    ASSERT_TRUE(found->has_value());
    EXPECT_TRUE(threshold.Meets(**found));
    EXPECT_NEAR(static_cast<double>(**found), 54'321, 0.05 * 54'321);
  }
}

TEST(CapacitySearchTest, NothingMeetsOrEverythingDoes) {
  const AmountRange range{2, 100, 10, true, 0.01};
  Threshold never(range, 101);
  auto found = FindHardestThatMeets(range, never.Try());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, std::nullopt);
  Threshold always(range, 0);
  found = FindHardestThatMeets(range, always.Try());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, 2);
}

TEST(CapacitySearchTest, AnErrorEndsIt) {
  const auto fail = [](const std::vector<std::int64_t>&)
      -> absl::StatusOr<std::vector<bool>> {
    return absl::CancelledError("interrupted");
  };
  EXPECT_TRUE(absl::IsCancelled(
      FindHardestThatMeets({1, 10, 1, true, 0.1}, fail).status()));
}

TEST(CapacitySearchTest, LooksAroundInTheRange) {
  EXPECT_THAT(AmountsAround({1, 1'000, 1, true, 0.1}, 100),
              ElementsAre(50, 70, 80, 90, 95, 105, 110, 120, 150, 200));
  EXPECT_THAT(AmountsAround({60, 115, 1, true, 0.1}, 100),
              ElementsAre(70, 80, 90, 95, 105, 110));
  EXPECT_THAT(AmountsAround({1, 1'000, 1, true, 0.1}, 3),
              ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(AmountsAround({1, 1, 1, true, 0.1}, 1), IsEmpty());
}

}  // namespace
}  // namespace pagedkv::sim
