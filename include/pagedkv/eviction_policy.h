// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_EVICTION_POLICY_H_
#define PAGEDKV_EVICTION_POLICY_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// What a policy may know of a block whose content becomes cached.
struct CachedBlockInfo {
  /// Names the content: equal for the same content cached again later, so that
  /// a policy can remember what it evicted.
  std::uint64_t content = 0;
  /// Index in its sequence: recomputing the block costs the more, the later it
  /// comes.
  std::int32_t position = 0;
  /// Retention from 0 (goes first) to 100 (goes last), as TensorRT-LLM's; what
  /// is beyond counts as the nearest of them.
  std::int32_t priority = kDefaultRetentionPriority;
  /// When `priority` falls back to the default, on the clock of `SetTime`.
  std::int64_t expires_ns = std::numeric_limits<std::int64_t>::max();
  std::int32_t tenant = 0;

  static constexpr std::int32_t kDefaultRetentionPriority = 35;
};

/// Decides which of the cached blocks that nobody uses is given up next.
///
/// The life of a block's content: `OnInsert`, then any number of `OnHit`,
/// `OnUse` and `OnIdle`, then `OnRemove`. It is a candidate between `OnIdle`
/// and the next `OnUse` or `OnRemove`. New content is not a candidate.
///
/// A cache simulator calls `OnMiss`, `OnInsert` and `OnIdle` at a miss, `OnHit`
/// alone at a hit, `Victim` and `OnRemove` to make room, in between `OnMiss`
/// and `OnInsert`: then each policy decides as its publication says.
///
/// Each call costs O(1) amortised or O(log n), whatever is cached, and does not
/// allocate. Calls for what was not inserted, or for what was inserted twice,
/// break the contract and abort, but for hints. Thread-compatible.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;

  /// Content that is not cached was asked for and will be computed: a hint that
  /// comes before `Victim` makes room for it. Who learns from misses (ARC)
  /// learns at `OnInsert`, one victim late, where it is left out.
  virtual void OnMiss(const CachedBlockInfo& /*info*/) {}
  /// `block` holds new content.
  virtual void OnInsert(BlockId block, const CachedBlockInfo& info) = 0;
  /// A request found the content.
  virtual void OnHit(BlockId block) = 0;
  /// A candidate is one no longer: a sequence uses it.
  virtual void OnUse(BlockId block) = 0;
  /// Nobody uses the block any longer: it is a candidate.
  virtual void OnIdle(BlockId block) = 0;
  /// The content is gone: evicted, or not (any longer) valid.
  virtual void OnRemove(BlockId block) = 0;

  /// The candidate to give up, or the null block if there is none. Removes
  /// nothing: `OnRemove` follows, perhaps for a block that depends on it. Asked
  /// again without another call, it answers the same.
  [[nodiscard]] virtual BlockId Victim() = 0;

  /// The cache has so many blocks from here on, the null block included, as
  /// where the policy is created: from 2 to the number given there, which
  /// bounds the ids. What is cached beyond a share that became smaller is moved
  /// or forgotten as further calls come.
  virtual void SetCapacity(BlockCount /*num_blocks*/) {}
  /// The clock of expiry, in any origin; it does not go back.
  virtual void SetTime(std::int64_t /*now_ns*/) {}
  /// A waiting request will hit the block (or will no longer): a hint. Counted:
  /// the block is expected until each `true` has been taken back by a `false`,
  /// or its content is gone. Ignored for a block without content.
  virtual void OnExpect(BlockId /*block*/, bool /*expected*/) {}
  /// Another retention for cached content, as in `CachedBlockInfo`.
  virtual void OnRetain(BlockId /*block*/, std::int32_t /*priority*/,
                        std::int64_t /*expires_ns*/) {}
  /// Whether the block was kept for a time, and that is over.
  [[nodiscard]] virtual bool has_expired(BlockId /*block*/) const {
    return false;
  }
  /// Whether a block may go before those that continue its content. Then the
  /// latter are dead weight until they are evicted themselves.
  [[nodiscard]] virtual bool may_evict_parents() const { return false; }

  [[nodiscard]] virtual std::int64_t num_candidates() const = 0;
  /// Internal, naming the block, if an invariant is broken. O(blocks).
  [[nodiscard]] virtual absl::Status CheckInvariants() const = 0;
};

/// "lru", "lfu", "slru", "s3-fifo", "sieve", "arc", "tinylfu", "priority",
/// "gdsf", "queue-lru".
[[nodiscard]] std::vector<std::string> EvictionPolicyNames();

/// A policy by its name. `num_blocks` counts the null block, as a pool's does:
/// ids are 1 .. num_blocks - 1, and so many blocks are the capacity that a
/// policy divides among its queues. InvalidArgument for a name that is not
/// known, with those that are, and for num_blocks outside [2, 2^30].
absl::StatusOr<std::unique_ptr<EvictionPolicy>> CreateEvictionPolicy(
    std::string_view name, BlockCount num_blocks);

/// The share of the cached blocks that a tenant is granted.
struct TenantQuota {
  std::int32_t tenant = 0;
  BlockCount floor{0};  ///< not evicted below this for another tenant
  BlockCount ceiling{std::numeric_limits<std::int64_t>::max()};
};

/// Puts quotas on top of the policy of the given name, one instance for each
/// tenant named and one for all others together, who have no floor and no
/// ceiling. The victim belongs to the tenant that is furthest above its
/// ceiling, else to the one that is furthest above its floor, and if all with
/// candidates are at their floors (which may exceed the capacity together where
/// that has shrunk) to the one with the most blocks. Blocks count
/// for their tenant while they are cached, in use or not. `Victim` costs
/// O(tenants), and so does the memory. InvalidArgument for a bad name, for a
/// tenant named twice, a negative floor, one above its ceiling, or floors
/// beyond the capacity.
absl::StatusOr<std::unique_ptr<EvictionPolicy>> CreateTenantPolicy(
    std::string_view name, BlockCount num_blocks,
    std::vector<TenantQuota> quotas);

}  // namespace pagedkv

#endif  // PAGEDKV_EVICTION_POLICY_H_
