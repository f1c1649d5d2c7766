// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_TASK_POOL_H_
#define SIM_STUDY_TASK_POOL_H_

#include <cstddef>
#include <functional>

namespace pagedkv::sim {

/// `asked`, or as many as there are processors if it is 0.
std::size_t NumThreads(std::size_t asked);

/// Calls `task(0)`, ..., `task(num_tasks - 1)`, each once and in this order, on
/// `num_threads` threads (see `NumThreads`), and `tick` on the caller's a few
/// times a second. Returns when all have returned.
void RunTasks(std::size_t num_tasks, std::size_t num_threads,
              const std::function<void(std::size_t)>& task,
              const std::function<void()>& tick);

/// A line on stderr that is written over, and cleared in the end.
class ProgressLine {
 public:
  explicit ProgressLine(bool enabled) : enabled_(enabled) {}
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// From 0 to 1.
  void Show(const char* command, double share) const;

 private:
  bool enabled_;
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_TASK_POOL_H_
