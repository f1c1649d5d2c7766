// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_MISS_EXPLAINER_H_
#define BLOCK_TABLE_MISS_EXPLAINER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/block_hash.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// The first `depth` units of a sequence: of its tokens, and apart from them of
/// its extra keys (0: none), each chained over the units. Keys are hashed, not
/// named by their ids, which the index gives to others once they are unused.
struct ContentFingerprint {
  std::uint64_t tokens = 0;
  std::uint64_t keys = 0;
  std::int32_t depth = 0;
};

/// Remembers, by fingerprints of 64 bits, what is cached and what was. It only
/// explains: a collision makes an explanation wrong, never a hit.
///
/// Fixed in size: for each block its present content, how many blocks have each
/// tokens whatever the keys, and the latest removals, about as many as there
/// are blocks, where the oldest of a few makes room for the next.
///
/// Invariant: the count of tokens is the number of blocks that are noted with
/// them. Thread-compatible; O(1) per block and without allocation, but for the
/// list that `Extend` fills.
class MissExplainer {
 public:
  struct Removal {
    std::uint64_t content = 0;
    std::int64_t time_ns = 0;
    std::int64_t number = 0;  // of the removal, from 1; 0: no entry
    SequenceId taker{0};
    std::uint64_t taker_tag = 0;
    RemovalReason reason = RemovalReason::kCapacity;
  };

  /// `unit`: tokens of a unit. `secret` keys the fingerprints.
  MissExplainer(BlockCount num_blocks, BlockSize unit, std::uint64_t secret);

  /// The fingerprint at depth `to` of the content that has `from`. Replaces
  /// `each`, if given, by those at from.depth + 1, ..., to. O(tokens between).
  /// REQUIRES: from.depth <= to, and `tokens` has as many units.
  ContentFingerprint Extend(ContentFingerprint from,
                            std::span<const TokenId> tokens,
                            const ContentKeys& keys, std::int32_t to,
                            std::vector<ContentFingerprint>* each) const;

  /// The block holds the content, in the cache. Nothing changes if it did.
  void OnStored(BlockId block, int group, const ContentFingerprint& content);
  /// The block left the cache. Nothing happens to one that was not stored.
  void OnRemoved(BlockId block, RemovalReason reason, std::int64_t now_ns);
  /// Each block did.
  void OnCleared(RemovalReason reason, std::int64_t now_ns);
  /// Whoever takes blocks from here on.
  void SetTaker(SequenceId taker, std::uint64_t tag) {
    taker_ = taker;
    taker_tag_ = tag;
  }

  /// How the content last left the cache; null if that is not known. Valid
  /// until the next change.
  [[nodiscard]] const Removal* FindRemoval(
      int group, const ContentFingerprint& content) const;
  /// Whether blocks with these tokens are cached, whatever their keys.
  [[nodiscard]] bool HasTokens(int group,
                               const ContentFingerprint& content) const;
  [[nodiscard]] std::int64_t num_removals() const { return num_removals_; }
  [[nodiscard]] std::size_t bytes_held() const;

  /// Internal, if the invariant of the class comment is broken. O(blocks).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static constexpr std::size_t kWays = 4;

  struct Noted {
    std::uint64_t tokens = 0;  // 0: the block is not noted
    std::uint64_t content = 0;
  };
  struct TokenBlocks {
    std::uint64_t tokens = 0;
    std::uint64_t count = 0;  // 0: no entry
  };

  [[nodiscard]] static std::uint64_t TokensKey(
      int group, const ContentFingerprint& content);
  [[nodiscard]] static std::uint64_t ContentKey(
      std::uint64_t tokens_key, const ContentFingerprint& content);
  [[nodiscard]] std::size_t FindSlot(std::uint64_t tokens) const;
  void CountUp(std::uint64_t tokens);
  void CountDown(std::uint64_t tokens);
  void NoteRemoval(const Removal& removal);

  BlockSize unit_;
  std::uint64_t secret_;
  std::vector<Noted> noted_;         // by block
  std::vector<TokenBlocks> counts_;  // open addressing, linear probing
  std::vector<Removal> removals_;    // sets of kWays
  std::int64_t num_removals_ = 0;
  SequenceId taker_{0};
  std::uint64_t taker_tag_ = 0;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_MISS_EXPLAINER_H_
