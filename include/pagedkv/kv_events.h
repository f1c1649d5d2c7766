// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_EVENTS_H_
#define PAGEDKV_KV_EVENTS_H_

/// What happened to the prefix index, for routers and other observers.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "pagedkv/block_hash.h"
#include "pagedkv/types.h"

namespace pagedkv {

enum class RemovalReason : std::uint8_t {
  kCapacity,   ///< the block was needed for something else
  kReset,      ///< the whole cache was dropped
  kEvicted,    ///< the client asked for it
  kWeights,    ///< the model's weights changed
  kExpired,    ///< as kCapacity, after its time to live had run out
  kInvalid,    ///< its content was rewritten, or never computed
  kWithdrawn,  ///< the pool shrinks, and the block leaves it
};

/// Full blocks of one group that became part of the index, one after the other.
struct BlocksStored {
  int group = 0;
  std::vector<BlockHash> hashes = {};  ///< one for each block that is indexed
  BlockHash parent = {};               ///< empty: the first follows the root
  std::vector<TokenId> tokens = {};    ///< of all blocks of the run
  std::int32_t block_size = 0;         ///< tokens per block
  std::vector<ExtraKeys> extra = {};   ///< one for each block of the run
  std::optional<std::int64_t> adapter_id = {};
  std::string adapter = {};  ///< empty: the base model
  std::string tier = "GPU";  ///< vLLM's "medium"
  /// Empty: the event does not say.
  std::optional<AttentionKind> kind = AttentionKind::kFull;
  std::optional<std::int64_t> window = {};
  friend bool operator==(const BlocksStored&, const BlocksStored&) = default;
};

struct BlocksRemoved {
  int group = 0;
  std::vector<BlockHash> hashes = {};
  /// Who held them, for observers within the process.
  std::vector<BlockId> blocks = {};
  RemovalReason reason = RemovalReason::kCapacity;
  std::string tier = "GPU";
  friend bool operator==(const BlocksRemoved&, const BlocksRemoved&) = default;
};

/// Nothing is indexed any more, in any group.
struct AllBlocksCleared {
  RemovalReason reason = RemovalReason::kReset;
  friend bool operator==(const AllBlocksCleared&,
                         const AllBlocksCleared&) = default;
};

using KvEvent = std::variant<BlocksStored, BlocksRemoved, AllBlocksCleared>;

/// Events in their order, numbered without gaps: event i of `events` has the
/// number first_sequence + i.
struct KvEventBatch {
  std::uint64_t first_sequence = 0;
  std::vector<KvEvent> events = {};
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_EVENTS_H_
