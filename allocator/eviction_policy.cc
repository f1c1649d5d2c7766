// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/eviction_policy.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "allocator/eviction/arc_policy.h"
#include "allocator/eviction/gdsf_policy.h"
#include "allocator/eviction/lfu_policy.h"
#include "allocator/eviction/lru_policy.h"
#include "allocator/eviction/priority_policy.h"
#include "allocator/eviction/queue_lru_policy.h"
#include "allocator/eviction/s3_fifo_policy.h"
#include "allocator/eviction/sieve_policy.h"
#include "allocator/eviction/slru_policy.h"
#include "allocator/eviction/tenant_policy.h"
#include "allocator/eviction/tinylfu_policy.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxBlocks = std::int64_t{1} << 30;

template <typename Policy>
std::unique_ptr<EvictionPolicy> Make(BlockCount num_blocks) {
  return std::make_unique<Policy>(num_blocks);
}

struct Entry {
  std::string_view name;
  std::unique_ptr<EvictionPolicy> (*make)(BlockCount num_blocks);
};

constexpr std::array kPolicies = {
    Entry{"lru", Make<LruPolicy>},
    Entry{"lfu", Make<LfuPolicy>},
    Entry{"slru", Make<SlruPolicy>},
    Entry{"s3-fifo", Make<S3FifoPolicy>},
    Entry{"sieve", Make<SievePolicy>},
    Entry{"arc", Make<ArcPolicy>},
    Entry{"tinylfu", Make<TinyLfuPolicy>},
    Entry{"priority", Make<PriorityPolicy>},
    Entry{"gdsf", Make<GdsfPolicy>},
    Entry{"queue-lru", Make<QueueLruPolicy>},
};

absl::Status CheckQuotas(BlockCount num_blocks,
                         const std::vector<TenantQuota>& quotas) {
  std::int64_t left = num_blocks.value() - 1;
  for (std::size_t i = 0; i < quotas.size(); ++i) {
    const TenantQuota& quota = quotas[i];
    if (i > 0 && quotas[i - 1].tenant == quota.tenant) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tenant %d has two quotas", quota.tenant));
    }
    if (quota.floor < BlockCount(0) || quota.floor > quota.ceiling) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the floor of tenant %d is %d blocks; it must be between 0 and the "
          "ceiling, %d blocks",
          quota.tenant, quota.floor.value(), quota.ceiling.value()));
    }
    if (quota.floor.value() > left) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the floors of the tenants together exceed the %d blocks there are",
          num_blocks.value() - 1));
    }
    left -= quota.floor.value();
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> EvictionPolicyNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kPolicies) names.emplace_back(entry.name);
  return names;
}

absl::StatusOr<std::unique_ptr<EvictionPolicy>> CreateEvictionPolicy(
    std::string_view name, BlockCount num_blocks) {
  const auto* const entry =
      std::find_if(kPolicies.begin(), kPolicies.end(),
                   [&](const Entry& known) { return known.name == name; });
  if (entry == kPolicies.end()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no eviction policy is called \"%s\"; there are %s", std::string(name),
        absl::StrJoin(EvictionPolicyNames(), ", ")));
  }
  if (num_blocks.value() < 2 || num_blocks.value() > kMaxBlocks) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "num_blocks is %d; it must be between 2 and %d, as it counts the null "
        "block",
        num_blocks.value(), kMaxBlocks));
  }
  return entry->make(num_blocks);
}

absl::StatusOr<std::unique_ptr<EvictionPolicy>> CreateTenantPolicy(
    std::string_view name, BlockCount num_blocks,
    std::vector<TenantQuota> quotas) {
  std::sort(quotas.begin(), quotas.end(),
            [](const TenantQuota& a, const TenantQuota& b) {
              return a.tenant < b.tenant;
            });
  if (absl::Status status = CheckQuotas(num_blocks, quotas); !status.ok()) {
    return status;
  }
  quotas.emplace_back();  // all other tenants
  std::vector<TenantPolicy::Share> shares;
  for (const TenantQuota& quota : quotas) {
    absl::StatusOr<std::unique_ptr<EvictionPolicy>> policy =
        CreateEvictionPolicy(name, num_blocks);
    if (!policy.ok()) return policy.status();
    shares.push_back({.quota = quota, .policy = *std::move(policy)});
  }
  return std::make_unique<TenantPolicy>(num_blocks, std::move(shares));
}

}  // namespace pagedkv
