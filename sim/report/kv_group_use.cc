// SPDX-License-Identifier: Apache-2.0
#include "sim/report/kv_group_use.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

/// Exact: requests times bytes, and steps times bytes, fit easily.
struct Sum {
  absl::int128 held = 0;
  absl::int128 needed = 0;

  void Add(const KvCacheUse& use, std::int64_t times) {
    held += absl::int128(use.held.value()) * times;
    needed += absl::int128(use.needed.value()) * times;
  }

  [[nodiscard]] MeanKvUse Mean(std::int64_t count) const {
    if (count == 0 || held == 0) return {};
    const auto mean = [count](absl::int128 sum) {
      return Bytes(static_cast<std::int64_t>((sum + count / 2) / count));
    };
    return {.held = mean(held),
            .needed = mean(needed),
            .wasted_pct = 100 * static_cast<double>(held - needed) /
                          static_cast<double>(held)};
  }
};

/// Of one group.
struct GroupSum {
  Sum final_length;
  Sum residency;

  void Add(const KvCacheUse& use, std::int64_t requests, std::int64_t steps) {
    final_length.Add(use, requests);
    residency.Add(use, steps);
  }
};

}  // namespace

absl::StatusOr<KvGroupsReport> ComputeKvGroupUse(const HybridCache& cache,
                                                 const LengthCounts& lengths) {
  std::vector<GroupSum> groups(cache.plan.groups.size());
  GroupSum all;
  GroupSum uniform;
  std::int64_t num_requests = 0;
  std::int64_t num_steps = 0;
  absl::Status status;
  lengths.ForEachLength([&](std::int64_t length, std::int64_t requests,
                            std::int64_t steps) {
    num_requests += requests;
    num_steps += steps;
    const auto add = [&](const absl::StatusOr<KvCacheUse>& use, GroupSum& sum) {
      status.Update(use.status());
      if (use.ok()) sum.Add(*use, requests, steps);
    };
    const TokenCount tokens(length);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      add(GroupUseAtLength(cache.geometry, cache.plan, cache.plan.groups[i],
                           tokens),
          groups[i]);
    }
    add(PlanUseAtLength(cache.geometry, cache.plan, tokens), all);
    add(UniformUseAtLength(cache.geometry, tokens), uniform);
  });
  if (!status.ok()) return status;

  const auto use_of = [&](const GroupSum& sum) {
    return KvGroupUse{.final_length = sum.final_length.Mean(num_requests),
                      .residency = sum.residency.Mean(num_steps)};
  };
  KvGroupsReport report;
  report.block_size = cache.geometry.block_size();
  report.plan = cache.plan;
  for (const GroupSum& sum : groups) report.groups.push_back(use_of(sum));
  report.all = use_of(all);
  report.uniform = use_of(uniform);
  return report;
}

std::string_view KvGroupKindName(pagedkv::AttentionKind kind) {
  switch (kind) {
    case pagedkv::AttentionKind::kFull:
      return "full";
    case pagedkv::AttentionKind::kSlidingWindow:
      return "sliding_window";
    case pagedkv::AttentionKind::kChunkedLocal:
      return "chunked";
    case pagedkv::AttentionKind::kLatent:
      return "latent";
    case pagedkv::AttentionKind::kCross:
      return "cross";
    case pagedkv::AttentionKind::kStateSpace:
      return "state_space";
  }
  return "unknown";
}

std::string KvGroupLabel(const KvCacheGroup& group) {
  std::string label(KvGroupKindName(group.attention));
  const TokenCount bound = std::max(group.window, group.encoder_tokens);
  if (bound > TokenCount(0)) label += absl::StrFormat(" %d", bound.value());
  label += absl::StrFormat(": %d layer%s", group.layers.size(),
                           group.layers.size() == 1 ? "" : "s");
  if (group.missing_layers > 0) {
    label += absl::StrFormat(" + %d empty", group.missing_layers);
  }
  return label;
}

}  // namespace pagedkv::sim
