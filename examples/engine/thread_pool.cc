// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/thread_pool.h"

#include <algorithm>
#include <cstdint>
#include <mutex>

namespace pagedkv::engine {

ThreadPool::ThreadPool(int num_threads) {
  for (int i = 1; i < num_threads; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  begun_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(std::int64_t count, const Body& body) {
  if (count <= 0) return;
  if (workers_.empty() || count == 1) {
    body(0, count);
    return;
  }
  body_ = &body;
  count_ = count;
  // A few chunks for each thread: some may be slowed down by others' work.
  chunk_ = std::max<std::int64_t>(1, count / (std::int64_t{4} * num_threads()));
  next_ = 0;
  {
    const std::lock_guard lock(mutex_);
    ++num_loops_;
    num_working_ = workers_.size();
  }
  begun_.notify_all();
  TakeChunks();
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return num_working_ == 0; });
}

void ThreadPool::TakeChunks() {
  for (;;) {
    const std::int64_t begin = next_.fetch_add(chunk_);
    if (begin >= count_) return;
    (*body_)(begin, std::min(count_, begin + chunk_));
  }
}

void ThreadPool::Work() {
  std::uint64_t num_seen = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      begun_.wait(lock, [&] { return stop_ || num_loops_ != num_seen; });
      if (stop_) return;
      num_seen = num_loops_;
    }
    TakeChunks();
    const std::lock_guard lock(mutex_);
    if (--num_working_ == 0) ended_.notify_one();
  }
}

}  // namespace pagedkv::engine
