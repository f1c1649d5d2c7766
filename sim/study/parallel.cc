// SPDX-License-Identifier: Apache-2.0
#include "sim/study/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace pagedkv::sim {

void ForEachInParallel(std::size_t count,
                       const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto take = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  const std::size_t num_workers = std::min<std::size_t>(
      count, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < num_workers; ++i) workers.emplace_back(take);
}

}  // namespace pagedkv::sim
