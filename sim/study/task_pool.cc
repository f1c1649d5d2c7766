// SPDX-License-Identifier: Apache-2.0
#include "sim/study/task_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"

namespace pagedkv::sim {

std::size_t NumThreads(std::size_t asked) {
  if (asked > 0) return asked;
  return std::max(1u, std::thread::hardware_concurrency());
}

void RunTasks(std::size_t num_tasks, std::size_t num_threads,
              const std::function<void(std::size_t)>& task,
              const std::function<void()>& tick) {
  constexpr std::chrono::milliseconds kTickInterval(200);
  num_threads = std::min(NumThreads(num_threads), num_tasks);

  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t num_finished = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < num_tasks; i = next++) task(i);
    const std::lock_guard lock(mutex);
    ++num_finished;
    changed.notify_one();
  };
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < num_threads; ++i) workers.emplace_back(work);

  std::unique_lock lock(mutex);
  while (!changed.wait_for(lock, kTickInterval,
                           [&] { return num_finished == num_threads; })) {
    tick();
  }
}

ProgressLine::~ProgressLine() {
  if (enabled_) std::fputs("\r\x1b[K", stderr);
}

void ProgressLine::Show(const char* command, double share) const {
  if (!enabled_) return;
  std::fputs(
      absl::StrFormat("\r\x1b[Kpagedkv %s: %.0f %%", command, 100 * share)
          .c_str(),
      stderr);
}

}  // namespace pagedkv::sim
