// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_POLICY_CACHE_H_
#define SIM_HITCURVE_POLICY_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/eviction_policy.h"
#include "pagedkv/types.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/hit_counts.h"

namespace pagedkv::sim {

/// A prefix cache of a fixed number of blocks under an eviction policy, driven
/// as an engine drives its own, one request after the other.
///
/// A request uses the blocks of its prompt, or as many of the first as fit:
/// they are no candidates until it ends. What it hits is told the policy from
/// the first block to the last (`OnHit`, `OnUse`). What it lacks then comes in
/// the same order (`OnMiss`, `OnInsert`), each block in the place of a victim
/// once the cache is full. In the end all become idle, from the last to the
/// first. Cached blocks behind the first miss are used, but are no hits. Not
/// hits alone, as in caches of single objects: a policy that counts on a hit to
/// move nothing (SIEVE, S3-FIFO) sees blocks go and come back here, as it does
/// in an engine.
///
/// A block's parent is the one before it in the request that used it last.
/// Unless the policy says `may_evict_parents`, a victim that has children
/// stays, and a leaf below it goes: the one that is reached through the child
/// that was unused for longest, each time.
///
/// Under "lru" the hits are those of `LruCurve`, on any trace: blocks become
/// idle in the order in which that touches them, while a request's are in use
/// they are as good as touched, and no parent is idle for longer than its
/// child.
///
/// Invariants, between requests: contents and blocks name each other; no block
/// is in use, and each cached one is a candidate of the policy; a parent is
/// cached, and lists its children. Thread-compatible.
class PolicyCache {
 public:
  /// What a policy needs to know of the blocks: it is made for `capacity`
  /// blocks and the null block, as the pool of an engine.
  [[nodiscard]] static BlockCount NumBlocks(BlockCount capacity) {
    return capacity + BlockCount(1);
  }

  /// `policy` is fresh, and was made for `NumBlocks(capacity)` blocks.
  /// `trace` outlives the cache. REQUIRES: capacity >= 1.
  PolicyCache(const BlockTrace& trace, BlockCount capacity,
              std::unique_ptr<EvictionPolicy> policy);

  /// Serves the trace's request of this index and returns the number of its
  /// leading blocks that were cached. Internal if the policy has no victim
  /// among its candidates. Takes what the policy takes for each block, and the
  /// length of a prompt for a victim that is a parent.
  absl::StatusOr<std::int64_t> Serve(std::size_t request);

  [[nodiscard]] const EvictionPolicy& policy() const { return *policy_; }
  /// Internal, naming the block, if an invariant is broken. O(contents).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static constexpr std::int32_t kNone = 0;  // the null block

  struct Block {
    std::uint32_t content = 0;
    bool cached = false;
    bool in_use = false;
    std::int32_t parent = kNone;
    // Children, the one unused for longest first.
    std::int32_t first_child = kNone;
    std::int32_t last_child = kNone;
    std::int32_t previous = kNone;  // sibling
    std::int32_t next = kNone;      // sibling
  };
  struct Use {
    std::uint32_t content;
    std::uint32_t parent;   // but at position 0
    std::int32_t position;  // in the prompt
  };

  [[nodiscard]] Block& At(std::int32_t block) {
    return blocks_[static_cast<std::size_t>(block)];
  }
  void CollectUses(std::size_t request);
  /// A block without content: a fresh one, or that of a victim.
  absl::StatusOr<std::int32_t> Take();
  absl::StatusOr<std::int32_t> Evict();
  void Link(std::int32_t block, std::int32_t parent);
  void Unlink(std::int32_t block);

  const BlockTrace& trace_;
  std::unique_ptr<EvictionPolicy> policy_;
  bool keeps_parents_;
  std::int32_t num_fresh_ = 1;          // from here on blocks were never taken
  std::vector<Block> blocks_;           // by block id
  std::vector<std::int32_t> block_of_;  // by content; kNone: not cached
  // Of the request at hand: distinct contents that fit, in order.
  std::vector<Use> uses_;
  std::vector<std::size_t> last_request_;  // by content: last to use it, plus 1
};

/// The hits of such a cache over the whole trace. Errors as `Serve`.
absl::StatusOr<HitCounts> SimulatePolicy(
    const BlockTrace& trace, BlockCount capacity,
    std::unique_ptr<EvictionPolicy> policy);

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_POLICY_CACHE_H_
