// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_INDEX_VIEW_H_
#define PAGEDKV_KV_INDEX_VIEW_H_

/// What a router knows of the prefix index of one cache, from its events.

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_hash.h"
#include "pagedkv/index_digest.h"
#include "pagedkv/kv_events.h"

namespace pagedkv {

/// Blocks with the same content.
struct KvIndexEntry {
  int group = 0;
  std::string tier = {};
  std::uint64_t hash = 0;  ///< BlockHash::ToInt
  std::int64_t count = 1;  ///< blocks, 1 <= count <= 2^31
  friend auto operator<=>(const KvIndexEntry&, const KvIndexEntry&) = default;
};

/// The index as it is before the event `next_sequence`: with it and the events
/// from there on, a router begins in the middle.
struct KvIndexSnapshot {
  std::uint64_t next_sequence = 0;
  std::vector<KvIndexEntry> entries = {};  ///< ascending by group, tier, hash
  IndexDigest digest = {};
  friend bool operator==(const KvIndexSnapshot&,
                         const KvIndexSnapshot&) = default;
};

/// The blocks of an index, kept up to date by its events: a multiset of (group,
/// tier, hash), since blocks with the same content may be indexed twice.
/// Blocks are named by `BlockHash::ToInt`, so that it takes events of either
/// kind of hashes. Two contents whose names agree look like one; a router then
/// chooses less well, and nobody gets wrong data.
///
/// Invariants: every count >= 1; num_blocks is their sum; the digest is that of
/// the blocks. Thread-compatible.
class KvIndexView {
 public:
  /// Empty, before event 0.
  KvIndexView() = default;
  /// As of the snapshot. InvalidArgument if its entries do not ascend or are
  /// out of range, or are not those that its digest is of. O(entries).
  static absl::StatusOr<KvIndexView> Create(const KvIndexSnapshot& snapshot);

  /// Follows the events of `batch`. FailedPrecondition, and nothing has
  /// changed: the batch is not the next one (the message names the expected and
  /// the found number; get a snapshot, or the events between), or an event
  /// removes a block that is not there. What a ZeroMQ message carries has no
  /// number of its own: where its messages are without gaps, it is
  /// `next_sequence()`. O(hashes in the batch), one SHA-256 each.
  absl::Status Apply(const KvEventBatch& batch);

  /// Blocks with this content, in this group and tier. O(log tiers).
  [[nodiscard]] std::int64_t Count(int group, std::string_view tier,
                                   std::uint64_t hash) const;
  [[nodiscard]] std::int64_t Count(int group, std::string_view tier,
                                   const BlockHash& hash) const {
    return Count(group, tier, hash.ToInt());
  }

  /// The number of the event that it waits for.
  [[nodiscard]] std::uint64_t next_sequence() const { return next_sequence_; }
  [[nodiscard]] std::int64_t num_blocks() const { return num_blocks_; }
  /// To be compared with the publisher's, taken before the same event.
  [[nodiscard]] const IndexDigest& digest() const { return digest_; }
  /// O(n log n).
  [[nodiscard]] KvIndexSnapshot Snapshot() const;

  /// Aborts if an invariant of the class comment does not hold. O(n).
  void CheckInvariants() const;

 private:
  // A group, and a hash.
  using Block = std::pair<int, std::uint64_t>;
  using Tiers = std::map<std::string, absl::flat_hash_map<Block, std::int64_t>,
                         std::less<>>;
  class Transaction;

  Tiers tiers_;
  std::uint64_t next_sequence_ = 0;
  std::int64_t num_blocks_ = 0;
  IndexDigest digest_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_INDEX_VIEW_H_
