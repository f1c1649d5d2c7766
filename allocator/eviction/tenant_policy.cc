// SPDX-License-Identifier: Apache-2.0
#include "allocator/eviction/tenant_policy.h"

#include <algorithm>
#include <compare>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// How much a share has to give. The highest claim is met first.
struct Claim {
  int rank = 0;  // 2: above the ceiling, 1: above the floor, 0: neither
  std::int64_t blocks = 0;
  friend auto operator<=>(const Claim&, const Claim&) = default;
};

Claim ClaimOn(const TenantPolicy::Share& share) {
  const std::int64_t cached = share.num_cached;
  const std::int64_t ceiling = share.quota.ceiling.value();
  const std::int64_t floor = share.quota.floor.value();
  if (cached > ceiling) return {2, cached - ceiling};
  if (cached > floor) return {1, cached - floor};
  return {0, cached};
}

}  // namespace

TenantPolicy::TenantPolicy(BlockCount num_blocks, std::vector<Share> shares)
    : name_("tenants of " + std::string(shares.back().policy->name())),
      shares_(std::move(shares)),
      share_of_(static_cast<std::size_t>(num_blocks.value()), kNobody) {}

std::size_t TenantPolicy::ShareOf(std::int32_t tenant) const {
  const auto last = shares_.end() - 1;
  const auto found = std::lower_bound(shares_.begin(), last, tenant,
                                      [](const Share& share, std::int32_t id) {
                                        return share.quota.tenant < id;
                                      });
  const bool named = found != last && found->quota.tenant == tenant;
  return static_cast<std::size_t>((named ? found : last) - shares_.begin());
}

TenantPolicy::Share& TenantPolicy::Of(BlockId block) {
  const auto index = static_cast<std::size_t>(block.value());
  PAGEDKV_CHECK(index < share_of_.size() && share_of_[index] != kNobody);
  return shares_[static_cast<std::size_t>(share_of_[index])];
}

void TenantPolicy::OnMiss(const CachedBlockInfo& info) {
  shares_[ShareOf(info.tenant)].policy->OnMiss(info);
}

void TenantPolicy::OnInsert(BlockId block, const CachedBlockInfo& info) {
  const auto index = static_cast<std::size_t>(block.value());
  PAGEDKV_CHECK(index < share_of_.size() && share_of_[index] == kNobody);
  const std::size_t share = ShareOf(info.tenant);
  shares_[share].policy->OnInsert(block, info);
  ++shares_[share].num_cached;
  share_of_[index] = static_cast<std::int32_t>(share);
}

void TenantPolicy::OnRemove(BlockId block) {
  Share& share = Of(block);
  share.policy->OnRemove(block);
  --share.num_cached;
  share_of_[static_cast<std::size_t>(block.value())] = kNobody;
}

BlockId TenantPolicy::Victim() {
  Share* giver = nullptr;
  Claim highest;
  for (Share& share : shares_) {
    if (share.policy->num_candidates() == 0) continue;
    const Claim claim = ClaimOn(share);
    if (giver == nullptr || claim > highest) {
      giver = &share;
      highest = claim;
    }
  }
  return giver == nullptr ? kNullBlock : giver->policy->Victim();
}

void TenantPolicy::SetCapacity(BlockCount num_blocks) {
  for (Share& share : shares_) share.policy->SetCapacity(num_blocks);
}

void TenantPolicy::SetTime(std::int64_t now_ns) {
  for (Share& share : shares_) share.policy->SetTime(now_ns);
}

void TenantPolicy::OnExpect(BlockId block, bool expected) {
  const auto index = static_cast<std::size_t>(block.value());
  if (index >= share_of_.size() || share_of_[index] == kNobody) return;
  Of(block).policy->OnExpect(block, expected);
}

std::int64_t TenantPolicy::num_candidates() const {
  std::int64_t candidates = 0;
  for (const Share& share : shares_) {
    candidates += share.policy->num_candidates();
  }
  return candidates;
}

absl::Status TenantPolicy::CheckInvariants() const {
  for (std::size_t i = 0; i < shares_.size(); ++i) {
    const auto cached = std::count(share_of_.begin(), share_of_.end(),
                                   static_cast<std::int32_t>(i));
    if (cached != shares_[i].num_cached) {
      return absl::InternalError(absl::StrFormat(
          "%s: counts %d blocks of tenant %d, which has %d", name_,
          shares_[i].num_cached, shares_[i].quota.tenant, cached));
    }
    if (absl::Status status = shares_[i].policy->CheckInvariants();
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
