// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_EVICTION_TENANT_POLICY_H_
#define ALLOCATOR_EVICTION_TENANT_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/eviction_policy.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Quotas on top of a policy: see `CreateTenantPolicy`. Takes 4 bytes per block
/// beside its instances. Thread-compatible.
class TenantPolicy final : public EvictionPolicy {
 public:
  struct Share {
    TenantQuota quota;
    std::unique_ptr<EvictionPolicy> policy;
    std::int64_t num_cached = 0;
  };

  /// REQUIRES: `shares` are in the order of their tenants, but for the last
  /// one, which is that of all other tenants.
  TenantPolicy(BlockCount num_blocks, std::vector<Share> shares);

  [[nodiscard]] std::string_view name() const override { return name_; }
  void OnMiss(const CachedBlockInfo& info) override;
  void OnInsert(BlockId block, const CachedBlockInfo& info) override;
  void OnHit(BlockId block) override { Of(block).policy->OnHit(block); }
  void OnUse(BlockId block) override { Of(block).policy->OnUse(block); }
  void OnIdle(BlockId block) override { Of(block).policy->OnIdle(block); }
  void OnRemove(BlockId block) override;
  [[nodiscard]] BlockId Victim() override;
  void SetCapacity(BlockCount num_blocks) override;
  void SetTime(std::int64_t now_ns) override;
  void OnExpect(BlockId block, bool expected) override;
  void OnRetain(BlockId block, std::int32_t priority,
                std::int64_t expires_ns) override {
    Of(block).policy->OnRetain(block, priority, expires_ns);
  }
  [[nodiscard]] bool has_expired(BlockId block) const override {
    const std::int32_t share =
        share_of_[static_cast<std::size_t>(block.value())];
    return share != kNobody &&
           shares_[static_cast<std::size_t>(share)].policy->has_expired(block);
  }
  [[nodiscard]] bool may_evict_parents() const override {
    return shares_.front().policy->may_evict_parents();
  }
  [[nodiscard]] std::int64_t num_candidates() const override;
  [[nodiscard]] absl::Status CheckInvariants() const override;

 private:
  static constexpr std::int32_t kNobody = -1;

  // The index of the share that a tenant's blocks count for. O(log tenants).
  [[nodiscard]] std::size_t ShareOf(std::int32_t tenant) const;
  // The share of a block with content; aborts if it has none.
  Share& Of(BlockId block);

  std::string name_;
  std::vector<Share> shares_;
  std::vector<std::int32_t> share_of_;  // by block; kNobody: no content
};

}  // namespace pagedkv

#endif  // ALLOCATOR_EVICTION_TENANT_POLICY_H_
