// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_INTEGRATION_REPLAY_RECORDING_H_
#define TESTS_INTEGRATION_REPLAY_RECORDING_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "pagedkv/block_pool.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/types.h"

/// Recordings of the decisions of vLLM's v1 KV cache manager and scheduler:
/// JSON lines, a header with the configuration, then one operation a line with
/// what came of it ("r"). Tokens are not written out; they follow from rules.

namespace pagedkv::replay {

using Json = nlohmann::json;

/// Replays one recording: makes the manager do what the record says.
class Replayer {
 public:
  virtual ~Replayer() = default;
  /// What came of the operation in the terms of the recording's "r".
  virtual Json Apply(const Json& record) = 0;
  /// Audits what was replayed.
  virtual absl::Status CheckInvariants() const = 0;
};

/// Token `position` of `stream`, in a vocabulary of `vocabulary` entries.
TokenId TokenAt(std::uint64_t stream, std::uint64_t position,
                std::uint32_t vocabulary);
/// The stream of the output tokens of the k-th request.
inline std::uint64_t OutputStream(std::uint64_t k) { return (1u << 20) + k; }
/// The tokens of `segments`, each [stream, start, length].
std::vector<TokenId> PromptTokens(const Json& segments,
                                  std::uint32_t vocabulary);

/// CRC-32 (as zlib's) of the values as little-endian 32-bit integers.
std::uint32_t Crc32(std::span<const std::int32_t> values);

/// Block tables, or what was added to them, as lists of plain ids.
Json ToJson(std::span<const BlockId> blocks);
/// CRC-32 of the ids of the free blocks, in order of reissue.
std::uint32_t FreeQueueCrc(const BlockPool& pool);

/// The last 8 bytes of a digest in hexadecimal.
std::string ShortHash(const BlockHash& hash);
/// [block, hash, group] of each block removed, by the first of its keys.
Json EvictedIn(std::span<const KvEvent> events);

/// A manager as the header of a recording describes it. Unimplemented for what
/// the library does not have.
absl::StatusOr<KvCacheManager> MakeManager(const Json& header,
                                           bool vllm_compatible);

}  // namespace pagedkv::replay

#endif  // TESTS_INTEGRATION_REPLAY_RECORDING_H_
