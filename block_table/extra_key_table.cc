// SPDX-License-Identifier: Apache-2.0
#include "block_table/extra_key_table.h"

#include <algorithm>

#include "absl/strings/str_format.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// Units from which on only the adapter is left.
std::int64_t NumLeadingUnits(const ContentKeys& keys, BlockSize unit) {
  TokenCount end(0);
  for (const MultimodalItem& item : keys.items) {
    end = std::max(end, item.offset + item.length);
  }
  for (const CacheSalt& salt : keys.salts) {
    end = std::max(end, salt.begin + TokenCount(1));
  }
  if (keys.embedding_bytes_per_token > 0) {
    end = std::max(
        end,
        TokenCount(static_cast<std::int64_t>(keys.prompt_embeddings.size() /
                                             keys.embedding_bytes_per_token)));
  }
  return unit.CoveringBlocks(end).value();
}

template <typename IdOf>
SequenceExtras Resolve(const ContentKeys& keys, BlockSize unit, IdOf id_of) {
  SequenceExtras extras;
  if (keys.empty()) return extras;
  const std::int64_t leading = NumLeadingUnits(keys, unit);
  for (std::int64_t i = 0; i < leading; ++i) {
    extras.leading.push_back(
        id_of({!keys.adapter.empty(),
               ExtraKeysOfBlock(keys, unit.Slots(BlockCount(i)), unit)}));
  }
  extras.rest =
      id_of({!keys.adapter.empty(),
             ExtraKeysOfBlock(keys, unit.Slots(BlockCount(leading)), unit)});
  return extras;
}

}  // namespace

SequenceExtras ExtraKeyTable::Find(const ContentKeys& keys,
                                   BlockSize unit) const {
  return Resolve(keys, unit, [this](const Key& key) { return FindId(key); });
}

SequenceExtras ExtraKeyTable::Acquire(const ContentKeys& keys, BlockSize unit) {
  return Resolve(keys, unit, [this](const Key& key) { return AcquireId(key); });
}

void ExtraKeyTable::Acquire(const SequenceExtras& extras) {
  for (ExtraId id : extras.leading) Acquire(id);
  Acquire(extras.rest);
}

void ExtraKeyTable::Release(const SequenceExtras& extras) {
  for (ExtraId id : extras.leading) Release(id);
  Release(extras.rest);
}

void ExtraKeyTable::Release(ExtraId id) {
  if (id == kNoExtra) return;
  Entry& entry = entries_[id];
  PAGEDKV_CHECK(entry.holders > 0);
  if (--entry.holders > 0) return;
  ids_.erase({entry.has_adapter, entry.keys});
  entry.keys.clear();
  free_ids_.push_back(id);
}

ExtraId ExtraKeyTable::FindId(const Key& key) const {
  if (key.second.empty()) return kNoExtra;
  const auto found = ids_.find(key);
  return found == ids_.end() ? kUnknownExtra : found->second;
}

ExtraId ExtraKeyTable::AcquireId(const Key& key) {
  ExtraId id = FindId(key);
  if (id == kUnknownExtra) {
    if (free_ids_.empty()) {
      free_ids_.push_back(static_cast<ExtraId>(entries_.size()));
      entries_.emplace_back();
    }
    id = free_ids_.back();
    free_ids_.pop_back();
    entries_[id].has_adapter = key.first;
    entries_[id].keys = key.second;
    ids_.emplace(key, id);
  }
  Acquire(id);
  return id;
}

absl::Status ExtraKeyTable::CheckInvariants() const {
  std::size_t held = 0;
  for (std::size_t id = 1; id < entries_.size(); ++id) {
    if (entries_[id].holders == 0) continue;
    ++held;
    if (FindId({entries_[id].has_adapter, entries_[id].keys}) != id) {
      return absl::InternalError(absl::StrFormat(
          "extra keys %d have %d holders and are not in the map", id,
          entries_[id].holders));
    }
  }
  if (held != ids_.size() || held + free_ids_.size() + 1 != entries_.size()) {
    return absl::InternalError(absl::StrFormat(
        "extra keys: %d have holders, %d are in the map, %d ids are free of %d",
        held, ids_.size(), free_ids_.size(), entries_.size()));
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
