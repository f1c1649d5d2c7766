// SPDX-License-Identifier: Apache-2.0
#include "sim/study/task_pool.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace pagedkv::sim {
namespace {

TEST(TaskPoolTest, EachTaskIsCalledOnce) {
  for (const std::size_t num_threads : {0, 1, 2, 8}) {
    std::vector<std::atomic<int>> calls(100);
    RunTasks(
        calls.size(), num_threads, [&](std::size_t i) { ++calls[i]; }, [] {});
    for (const std::atomic<int>& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(TaskPoolTest, OneThreadGoesInOrder) {
  std::vector<std::size_t> order;
  RunTasks(5, 1, [&](std::size_t i) { order.push_back(i); }, [] {});
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST(TaskPoolTest, NothingToDoIsDone) {
  RunTasks(0, 0, [](std::size_t) { FAIL(); }, [] {});
}

}  // namespace
}  // namespace pagedkv::sim
