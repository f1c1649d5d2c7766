// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/hit_curve.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "pagedkv/eviction_policy.h"
#include "sim/hitcurve/lru_curve.h"
#include "sim/hitcurve/offline_optimum.h"
#include "sim/hitcurve/policy_cache.h"

namespace pagedkv::sim {
namespace {

constexpr std::string_view kLruName = "lru";

HitCurveMethod MethodOf(std::string_view policy) {
  if (policy == kLruName) return HitCurveMethod::kStackDistances;
  if (policy == kOptimumName) return HitCurveMethod::kOffline;
  return HitCurveMethod::kSimulated;
}

absl::Status CheckOptions(const HitCurveOptions& options) {
  const std::vector<std::string> known = HitCurveNames();
  for (auto name = options.policies.begin(); name != options.policies.end();
       ++name) {
    if (std::find(known.begin(), known.end(), *name) == known.end()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "unknown policy '%s': use %s", *name, absl::StrJoin(known, ", ")));
    }
    if (std::find(options.policies.begin(), name, *name) != name) {
      return absl::InvalidArgumentError(
          absl::StrFormat("policy '%s' is named twice", *name));
    }
  }
  for (const BlockCount size : options.sizes) {
    if (size < BlockCount(1)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "a cache of %d blocks holds nothing; sizes are from 1",
          size.value()));
    }
  }
  return absl::OkStatus();
}

/// 1, 2, 5, 10, 20, ... below `need`, three decades of them, and `need` itself.
std::vector<BlockCount> DefaultSizes(BlockCount need) {
  std::vector<BlockCount> sizes;
  for (std::int64_t decade = 1; decade < need.value(); decade *= 10) {
    for (const std::int64_t step : {1, 2, 5}) {
      const std::int64_t size = step * decade;
      if (size < need.value() && size >= need.value() / 1000) {
        sizes.emplace_back(size);
      }
    }
  }
  sizes.push_back(std::max(need, BlockCount(1)));
  return sizes;
}

/// One policy at one size, which is done apart from all others.
struct Job {
  HitCurve::Row* row;
  std::size_t size_index;
  BlockCount capacity;
};

absl::StatusOr<HitCounts> RunJob(const BlockTrace& trace,
                                 const std::vector<std::uint32_t>& next_uses,
                                 const Job& job) {
  if (job.row->method == HitCurveMethod::kOffline) {
    return SimulateOfflineOptimum(trace, next_uses, job.capacity);
  }
  absl::StatusOr<std::unique_ptr<EvictionPolicy>> policy = CreateEvictionPolicy(
      job.row->policy, PolicyCache::NumBlocks(job.capacity));
  if (!policy.ok()) return policy.status();
  return SimulatePolicy(trace, job.capacity, *std::move(policy));
}

/// Fills in the counts of each job; the error of the first that fails.
absl::Status RunJobs(const BlockTrace& trace,
                     const std::vector<std::uint32_t>& next_uses,
                     const std::vector<Job>& jobs) {
  std::vector<absl::Status> errors(jobs.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      absl::StatusOr<HitCounts> counts = RunJob(trace, next_uses, jobs[i]);
      errors[i] = counts.status();
      if (counts.ok()) jobs[i].row->counts[jobs[i].size_index] = *counts;
    }
  };
  {
    const std::size_t num_workers = std::min<std::size_t>(
        jobs.size(), std::max(1u, std::thread::hardware_concurrency()));
    std::vector<std::jthread> workers;
    for (std::size_t i = 0; i < num_workers; ++i) workers.emplace_back(work);
  }
  for (const absl::Status& error : errors) {
    if (!error.ok()) return error;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> HitCurveNames() {
  std::vector<std::string> names = EvictionPolicyNames();
  names.emplace_back(kOptimumName);
  return names;
}

std::string_view MethodName(HitCurveMethod method) {
  switch (method) {
    case HitCurveMethod::kStackDistances:
      return "stack_distances";
    case HitCurveMethod::kSimulated:
      return "simulated";
    case HitCurveMethod::kOffline:
      return "offline";
  }
  return "unknown";
}

absl::StatusOr<HitCurve> ComputeHitCurve(const BlockTrace& trace,
                                         const HitCurveOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  LruCurve lru(trace.block_size());
  for (std::size_t request = 0; request < trace.num_requests(); ++request) {
    lru.Add(trace.contents(request), trace.prompt(request));
  }
  HitCurve curve;
  curve.unbounded = lru.Unbounded();
  curve.lru_need = lru.need();
  curve.sizes =
      options.sizes.empty() ? DefaultSizes(lru.need()) : options.sizes;
  std::sort(curve.sizes.begin(), curve.sizes.end());
  curve.sizes.erase(std::unique(curve.sizes.begin(), curve.sizes.end()),
                    curve.sizes.end());

  for (const std::string& policy : options.policies) {
    curve.rows.push_back(
        {.policy = policy,
         .method = MethodOf(policy),
         .counts = std::vector<HitCounts>(curve.sizes.size())});
  }
  std::vector<Job> jobs;
  std::vector<std::uint32_t> next_uses;
  for (HitCurve::Row& row : curve.rows) {
    if (row.method == HitCurveMethod::kOffline) next_uses = NextUses(trace);
    for (std::size_t i = 0; i < curve.sizes.size(); ++i) {
      // More than there are contents stays empty.
      const BlockCount capacity =
          std::min(curve.sizes[i], trace.num_contents());
      if (capacity == trace.num_contents()) {
        row.counts[i] = curve.unbounded;
      } else if (row.method == HitCurveMethod::kStackDistances) {
        row.counts[i] = lru.At(capacity);
      } else {
        jobs.push_back({&row, i, capacity});
      }
    }
  }
  if (absl::Status status = RunJobs(trace, next_uses, jobs); !status.ok()) {
    return status;
  }
  return curve;
}

}  // namespace pagedkv::sim
