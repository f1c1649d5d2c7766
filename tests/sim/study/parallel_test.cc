// SPDX-License-Identifier: Apache-2.0
#include "sim/study/parallel.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

TEST(ForEachInParallelTest, CallsEachOnce) {
  std::vector<std::atomic<int>> calls(100);
  ForEachInParallel(calls.size(), [&](std::size_t i) { ++calls[i]; });
  for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
}

TEST(ForEachInParallelTest, NothingToDoIsDone) {
  ForEachInParallel(0, [](std::size_t) { FAIL(); });
}

}  // namespace
}  // namespace pagedkv::sim
