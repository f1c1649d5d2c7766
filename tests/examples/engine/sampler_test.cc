// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/sampler.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv::engine {
namespace {

TEST(SamplerTest, WithoutTemperatureTakesTheFirstOfTheLargest) {
  EXPECT_EQ(Sample(std::vector<float>{1, 3, 2, 3}, 0, {}), 1);
}

TEST(SamplerTest, DrawsInProportion) {
  const std::vector<float> logits = {0, 1, -1, 2};
  constexpr int kDraws = 40000;
  for (const float temperature : {0.5F, 1.0F, 2.0F}) {
    std::array<int, 4> counts = {};
    for (int i = 0; i < kDraws; ++i) {
      ++counts[static_cast<std::size_t>(Sample(
          logits, temperature, {.seed = 1, .request = 2, .position = i}))];
    }
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit / temperature);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double share = std::exp(logits[i] / temperature) / sum;
      // Five standard deviations.
      const double slack = 5 * std::sqrt(share * (1 - share) / kDraws);
      EXPECT_NEAR(static_cast<double>(counts[i]) / kDraws, share, slack);
    }
  }
}

TEST(SamplerTest, EveryPartOfThePlaceCounts) {
  const std::vector<float> logits(1000, 0.0F);
  const SamplePlace place{.seed = 1, .request = 1, .sample = 1, .position = 1};
  const auto token = Sample(logits, 1, place);
  EXPECT_EQ(Sample(logits, 1, place), token);
  SamplePlace other = place;
  other.seed = 2;
  EXPECT_NE(Sample(logits, 1, other), token);
  other = place;
  other.request = 2;
  EXPECT_NE(Sample(logits, 1, other), token);
  other = place;
  other.sample = 2;
  EXPECT_NE(Sample(logits, 1, other), token);
  other = place;
  other.position = 2;
  EXPECT_NE(Sample(logits, 1, other), token);
}

}  // namespace
}  // namespace pagedkv::engine
