// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_MISSED_BLOCK_H_
#define PAGEDKV_MISSED_BLOCK_H_

/// Why a block of a prompt was not in the prefix cache.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pagedkv/kv_events.h"
#include "pagedkv/types.h"

namespace pagedkv {

enum class MissReason : std::uint8_t {
  /// Never cached, or so long ago that it is forgotten.
  kCold,
  /// It was cached, with these keys, and left the cache: see `removal`.
  kEvicted,
  /// The same tokens are cached under other extra keys: another salt, adapter,
  /// item or embedding, in this block or before it.
  kOtherKeys,
  /// It is cached, and a hit cannot end behind it: hits end at a multiple of
  /// the alignment of all groups, and before the last token of the prompt.
  kAlignment,
  /// It is cached, and another KV cache group lacks what a hit needs.
  kOtherGroup,
  /// It is cached, and an earlier block of its own group is not; or what is
  /// cached does not fill the group's window.
  kGap,
};
inline constexpr std::size_t kNumMissReasons = 6;

/// For labels: "cold", "evicted", "other_keys", "alignment", "other_group",
/// "gap".
[[nodiscard]] constexpr std::string_view MissReasonName(MissReason reason) {
  constexpr std::array<std::string_view, kNumMissReasons> kNames = {
      "cold", "evicted", "other_keys", "alignment", "other_group", "gap"};
  return kNames[static_cast<std::size_t>(reason)];
}

/// A full block of a prompt, in one KV cache group, that was not hit.
struct MissedBlock {
  int group = 0;
  std::int32_t index = 0;  ///< in the sequence's table of the group
  MissReason reason = MissReason::kCold;

  // Of kEvicted.
  RemovalReason removal = RemovalReason::kCapacity;
  /// Of kCapacity: the sequence whose append took the block, which may have
  /// been released since, and its `SequenceOptions::tag`.
  SequenceId taker{0};
  std::uint64_t taker_tag = 0;
  /// From its removal to now, on the clock of `KvCacheManager::SetTime`.
  std::int64_t age_ns = 0;
  /// Blocks that have left the cache since, for whatever reason.
  std::int64_t removals_since = 0;

  friend bool operator==(const MissedBlock&, const MissedBlock&) = default;
};

}  // namespace pagedkv

#endif  // PAGEDKV_MISSED_BLOCK_H_
