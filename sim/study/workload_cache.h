// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_WORKLOAD_CACHE_H_
#define SIM_STUDY_WORKLOAD_CACHE_H_

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"

#include "sim/workload/workload_source.h"

namespace pagedkv::sim {

/// Workloads that several runs share: each is loaded once, by the first that
/// asks for it, while others load theirs. The `max_held` that were last asked
/// for are held, so that memory does not grow with the number of runs; whoever
/// has one may go on using it. Thread-safe.
class WorkloadCache {
 public:
  using Workload = std::shared_ptr<const LoadedWorkload>;

  /// REQUIRES: max_held > 0.
  explicit WorkloadCache(std::size_t max_held = 4) : max_held_(max_held) {}

  /// Errors are those of `LoadWorkload`, and are kept too.
  absl::StatusOr<Workload> Load(const WorkloadOptions& options);

 private:
  struct Entry {
    explicit Entry(const WorkloadOptions& asked) : options(asked) {}
    const WorkloadOptions options;
    std::once_flag once;
    absl::StatusOr<Workload> workload = absl::UnknownError("not loaded");
  };
  std::shared_ptr<Entry> Find(const WorkloadOptions& options);

  const std::size_t max_held_;
  std::mutex mutex_;
  std::list<std::shared_ptr<Entry>> entries_;  // the last used first
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_WORKLOAD_CACHE_H_
