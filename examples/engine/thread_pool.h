// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_THREAD_POOL_H_
#define EXAMPLES_ENGINE_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pagedkv::engine {

/// Threads that share the iterations of a loop. What an iteration computes must
/// not depend on who runs it, or with which others: then results do not depend
/// on the number of threads. Used by one thread at a time.
class ThreadPool {
 public:
  /// With the caller, `num_threads` (>= 1) work.
  explicit ThreadPool(int num_threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  [[nodiscard]] int num_threads() const {
    return static_cast<int>(workers_.size()) + 1;
  }

  /// Calls `body(begin, end)` for ranges that make up [0, count); returns when
  /// all are done.
  using Body = std::function<void(std::int64_t begin, std::int64_t end)>;
  void ParallelFor(std::int64_t count, const Body& body);

 private:
  void Work();
  void TakeChunks();

  // Of the loop under way; written while no worker is at it.
  const Body* body_ = nullptr;
  std::int64_t count_ = 0;
  std::int64_t chunk_ = 1;
  std::atomic<std::int64_t> next_{0};

  std::mutex mutex_;
  std::condition_variable begun_;
  std::condition_variable ended_;
  std::uint64_t num_loops_ = 0;  // guarded by mutex_, as the next two
  std::size_t num_working_ = 0;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_THREAD_POOL_H_
