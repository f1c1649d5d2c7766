// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/zipf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

namespace pagedkv::sim {
namespace {

std::vector<double> Shares(const Zipf& zipf, std::size_t count) {
  constexpr int kDraws = 50'000;
  Random random(3, 4);
  std::vector<double> shares(count, 0.0);
  for (int i = 0; i < kDraws; ++i) {
    shares.at(static_cast<std::size_t>(zipf.Draw(random))) += 1.0 / kDraws;
  }
  return shares;
}

TEST(ZipfTest, DrawsRanksByTheirPower) {
  for (const int thousandths : {500, 1000, 1300}) {
    constexpr std::size_t kCount = 100;
    const auto shares = Shares(Zipf(kCount, thousandths), kCount);
    double sum = 0.0;
    for (std::size_t rank = 1; rank <= kCount; ++rank) {
      sum += std::pow(static_cast<double>(rank), -thousandths / 1000.0);
    }
    EXPECT_NEAR(shares[0], 1.0 / sum, 0.008);
    EXPECT_NEAR(shares[9], std::pow(10.0, -thousandths / 1000.0) / sum, 0.004);
  }
}

TEST(ZipfTest, ZeroIsUniformAndOneRankIsAlwaysDrawn) {
  for (const double share : Shares(Zipf(4, 0), 4)) {
    EXPECT_NEAR(share, 0.25, 0.01);
  }
  EXPECT_EQ(Shares(Zipf(1, 1000), 1).front(), Shares(Zipf(1, 0), 1).front());
}

}  // namespace
}  // namespace pagedkv::sim
