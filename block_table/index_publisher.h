// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_INDEX_PUBLISHER_H_
#define BLOCK_TABLE_INDEX_PUBLISHER_H_

#include <cstdint>
#include <optional>
#include <utility>

#include "pagedkv/index_digest.h"
#include "pagedkv/kv_event_log.h"
#include "pagedkv/kv_events.h"

namespace pagedkv {

/// The events of one index and, once somebody has asked for it, the digest of
/// what is in the index after the last of them.
///
/// Invariant: the digest, if there is one, is the one with which it started,
/// changed by each event since. Thread-compatible.
class IndexPublisher {
 public:
  /// Amortized O(1); with a digest, one SHA-256 for each hash in the event.
  void Append(KvEvent event) {
    if (digest_.has_value()) Follow(event);
    log_.Append(std::move(event));
  }
  [[nodiscard]] KvEventBatch Take() { return log_.Take(); }
  [[nodiscard]] std::uint64_t next_sequence() const {
    return log_.next_sequence();
  }

  [[nodiscard]] const std::optional<IndexDigest>& digest() const {
    return digest_;
  }
  /// `digest` is that of the index as it is now; from here on it is kept up to
  /// date.
  void StartDigest(const IndexDigest& digest) { digest_ = digest; }

 private:
  void Follow(const KvEvent& event);

  KvEventLog log_;
  std::optional<IndexDigest> digest_;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_INDEX_PUBLISHER_H_
