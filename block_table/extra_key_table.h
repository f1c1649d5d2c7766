// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_EXTRA_KEY_TABLE_H_
#define BLOCK_TABLE_EXTRA_KEY_TABLE_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/block_hash.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Names the extra keys of a block: equal ids, equal keys.
using ExtraId = std::uint32_t;
inline constexpr ExtraId kNoExtra = 0;         ///< no extra keys
inline constexpr ExtraId kUnknownExtra = ~0u;  ///< keys that nobody holds

/// The extra keys of a sequence's units (blocks of the index): `leading` for
/// the first of them, `rest` for all others.
struct SequenceExtras {
  std::vector<ExtraId> leading;
  ExtraId rest = kNoExtra;
  friend bool operator==(const SequenceExtras&,
                         const SequenceExtras&) = default;
};

/// Gives each distinct list of extra keys a small id, so that the index
/// compares ids. Ids are counted by their holders and reused when the last one
/// lets go. Distinct keys never share an id: they are compared, not hashed.
///
/// Invariant: the ids with holders are those in the map. Thread-compatible.
class ExtraKeyTable {
 public:
  ExtraKeyTable() : entries_(1) {}

  /// The ids of `keys` over units of `unit` tokens; those of keys that nobody
  /// holds are kUnknownExtra. O(units that have keys of their own).
  [[nodiscard]] SequenceExtras Find(const ContentKeys& keys,
                                    BlockSize unit) const;
  /// The same, where the caller becomes a holder of each id.
  [[nodiscard]] SequenceExtras Acquire(const ContentKeys& keys, BlockSize unit);
  void Acquire(const SequenceExtras& extras);
  void Release(const SequenceExtras& extras);

  void Acquire(ExtraId id) {
    if (id != kNoExtra) ++entries_[id].holders;
  }
  void Release(ExtraId id);
  /// REQUIRES: the id has a holder, or is kNoExtra.
  [[nodiscard]] const ExtraKeys& keys(ExtraId id) const {
    return entries_[id].keys;
  }

  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  struct Entry {
    bool has_adapter = false;
    ExtraKeys keys;
    std::int64_t holders = 0;
  };

  // An adapter and a salt of one name are equal as extra keys: told apart here.
  using Key = std::pair<bool, ExtraKeys>;  // whether the first is an adapter

  [[nodiscard]] ExtraId FindId(const Key& key) const;
  ExtraId AcquireId(const Key& key);

  std::vector<Entry> entries_;  // by id; 0 is kNoExtra
  std::vector<ExtraId> free_ids_;
  std::map<Key, ExtraId> ids_;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_EXTRA_KEY_TABLE_H_
