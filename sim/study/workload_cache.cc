// SPDX-License-Identifier: Apache-2.0
#include "sim/study/workload_cache.h"

#include <algorithm>
#include <utility>

namespace pagedkv::sim {

std::shared_ptr<WorkloadCache::Entry> WorkloadCache::Find(
    const WorkloadOptions& options) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(
      entries_.begin(), entries_.end(),
      [&](const auto& entry) { return entry->options == options; });
  if (found != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, found);
  } else {
    entries_.push_front(std::make_shared<Entry>(options));
    if (entries_.size() > max_held_) entries_.pop_back();
  }
  return entries_.front();
}

absl::StatusOr<WorkloadCache::Workload> WorkloadCache::Load(
    const WorkloadOptions& options) {
  const std::shared_ptr<Entry> entry = Find(options);
  // Not under the lock: reading a trace takes long.
  std::call_once(entry->once, [&] {
    absl::StatusOr<LoadedWorkload> loaded = LoadWorkload(entry->options);
    if (loaded.ok()) {
      entry->workload =
          std::make_shared<const LoadedWorkload>(*std::move(loaded));
    } else {
      entry->workload = loaded.status();
    }
  });
  return entry->workload;
}

}  // namespace pagedkv::sim
