// SPDX-License-Identifier: Apache-2.0
// The stack against a list that is searched from its top.
#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "sim/hitcurve/lru_stack.h"

namespace pagedkv::sim {
namespace {

TEST(LruStackModelTest, DepthsAreThoseOfAList) {
  for (const std::uint32_t num_contents : {1u, 10u, 700u}) {
    constexpr std::uint32_t kSeed = 5;
    SCOPED_TRACE(testing::Message()
                 << num_contents << " contents, seed " << kSeed);
    std::mt19937 random(kSeed);
    LruStack stack;
    std::vector<std::uint32_t> list;
    // Many times the slots that it begins with.
    for (int step = 0; step < 10'000; ++step) {
      const auto content = static_cast<std::uint32_t>(random()) % num_contents;
      const auto found = std::find(list.begin(), list.end(), content);
      ASSERT_EQ(stack.Depth(content),
                found == list.end() ? 0 : found - list.begin() + 1)
          << "step " << step;
      if (found != list.end()) list.erase(found);
      list.insert(list.begin(), content);
      stack.Touch(content);
      ASSERT_EQ(stack.size(), static_cast<std::int64_t>(list.size()));
      if (step % 97 == 0) {
        ASSERT_TRUE(stack.CheckInvariants().ok()) << "step " << step;
      }
    }
    EXPECT_EQ(stack.Depth(num_contents), 0);
  }
}

}  // namespace
}  // namespace pagedkv::sim
