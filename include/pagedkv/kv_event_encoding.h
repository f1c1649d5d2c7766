// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_EVENT_ENCODING_H_
#define PAGEDKV_KV_EVENT_ENCODING_H_

/// Events as bytes: vLLM's msgpack, which its subscribers (routers, external
/// indexes) read. Source: vllm/distributed/kv_events.py of vLLM at 48ebd6f2.
/// Free functions without state, for any number of threads.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_events.h"

namespace pagedkv {

enum class KvEventForm : std::uint8_t {
  kMap,    ///< fields by name, since June 2026; what equals its default is left
           ///< out
  kArray,  ///< fields by position, as vLLM wrote them before
};

/// How an event names a block.
enum class KvEventHashes : std::uint8_t {
  kInt64,  ///< `BlockHash::ToInt`, the default of vLLM
  kBytes,  ///< the whole digest (VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES=0)
};

struct KvEventEncodingOptions {
  KvEventForm form = KvEventForm::kMap;
  KvEventHashes hashes = KvEventHashes::kInt64;
  /// Adds the field `reason` to removals and clearings, which vLLM does not
  /// have and its decoder skips. The array form has no place for it.
  bool with_reasons = false;
};

struct DecodedEventBatch {
  double timestamp_seconds = 0;  ///< since the Unix epoch
  std::vector<KvEvent> events = {};
  std::optional<std::int64_t> data_parallel_rank = {};
};

/// What a decoder reads at most.
inline constexpr std::size_t kMaxEventBatchBytes = std::size_t{64} << 20;

/// One batch, ready to be published. Without a `kind`, an event does not say
/// one; empty strings become nil. O(size of the events).
/// REQUIRES: no hash in `events` is empty.
[[nodiscard]] std::vector<std::uint8_t> EncodeEventBatch(
    double timestamp_seconds, std::span<const KvEvent> events,
    std::optional<std::int64_t> data_parallel_rank,
    const KvEventEncodingOptions& options = {});

/// The reverse, of either form and of both kinds of hashes; the bytes may come
/// from anywhere. A hash that was sent as an integer has 8 bytes, so that its
/// `ToInt` is what it was. What is missing has its default (group 0, no kind,
/// an empty tier), fields that are not known are skipped, and so is a
/// `locality`. A kind that `AttentionKind` cannot say is none.
///
/// InvalidArgument names the byte: the input ends early, a field has the wrong
/// type or is out of range or missing, there is a kind of event that is not
/// known, bytes follow the batch, or there are more than kMaxEventBatchBytes.
/// O(bytes.size()) in time, and at worst some hundred times that in memory.
absl::StatusOr<DecodedEventBatch> DecodeEventBatch(
    std::span<const std::uint8_t> bytes);

}  // namespace pagedkv

#endif  // PAGEDKV_KV_EVENT_ENCODING_H_
