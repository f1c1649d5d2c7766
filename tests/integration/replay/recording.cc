// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/replay/recording.h"

#include "absl/status/status.h"

namespace pagedkv::replay {
namespace {

std::uint64_t SplitMix64(std::uint64_t x) {
  std::uint64_t z = x + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

TokenId TokenAt(std::uint64_t stream, std::uint64_t position,
                std::uint32_t vocabulary) {
  return static_cast<TokenId>(SplitMix64((stream << 32) + position) %
                              vocabulary);
}

std::vector<TokenId> PromptTokens(const Json& segments,
                                  std::uint32_t vocabulary) {
  std::vector<TokenId> tokens;
  for (const Json& segment : segments) {
    const auto stream = segment.at(0).get<std::uint64_t>();
    const auto start = segment.at(1).get<std::uint64_t>();
    const auto length = segment.at(2).get<std::uint64_t>();
    for (std::uint64_t i = 0; i < length; ++i) {
      tokens.push_back(TokenAt(stream, start + i, vocabulary));
    }
  }
  return tokens;
}

std::uint32_t Crc32(std::span<const std::int32_t> values) {
  std::uint32_t crc = ~0u;
  for (std::int32_t value : values) {
    crc ^= static_cast<std::uint32_t>(value);
    for (int bit = 0; bit < 32; ++bit) {
      crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
  }
  return ~crc;
}

Json ToJson(std::span<const BlockId> blocks) {
  Json ids = Json::array();
  for (BlockId block : blocks) ids.push_back(block.value());
  return ids;
}

std::uint32_t FreeQueueCrc(const BlockPool& pool) {
  std::vector<std::int32_t> ids;
  for (BlockId block : pool.FreeBlocks()) ids.push_back(block.value());
  return Crc32(ids);
}

absl::StatusOr<KvCacheManager> MakeManager(const Json& header,
                                           bool vllm_compatible) {
  const Json& config = header.at("config");
  KvCacheManagerOptions options;
  options.pool.num_blocks = BlockCount(config.at("num_blocks"));
  options.pool.watermark = config.value("watermark", 0.0);
  options.pool.prefix_caching = config.at("caching");
  options.max_sequence_tokens = TokenCount(config.at("max_model_len"));
  options.max_in_flight_tokens =
      TokenCount(config.value("max_in_flight_tokens", 0));
  options.groups.clear();
  for (const Json& group : config.at("groups")) {
    KvCacheGroupOptions& added = options.groups.emplace_back();
    added.block_size = BlockSize(group.at("block_size"));
    const std::string kind = group.at("kind");
    if (kind == "swa") {
      added.kind = AttentionKind::kSlidingWindow;
      added.window = TokenCount(group.at("sliding_window"));
    } else if (kind != "full") {
      return absl::UnimplementedError("the recording has a group of kind \"" +
                                      kind + "\", which is not known here");
    }
  }
  const absl::StatusOr<BlockHashAlgorithm> algorithm =
      ParseBlockHashAlgorithm(config.value("hash_algo", "sha256_cbor"));
  if (!algorithm.ok()) return algorithm.status();
  options.prefix_cache.content_hash = {
      .algorithm = *algorithm, .seed = header.value("PYTHONHASHSEED", "0")};
  options.prefix_cache.events = true;
  options.prefix_cache.hash_block_size = config.value("hash_block_size", 0);
  options.prefix_cache.vllm_compatible = vllm_compatible;
  return KvCacheManager::Create(options);
}

Json EvictedIn(std::span<const KvEvent> events) {
  Json evicted = Json::array();
  for (const KvEvent& event : events) {
    const auto* const removed = std::get_if<BlocksRemoved>(&event);
    if (removed == nullptr) continue;
    const std::int32_t block = removed->blocks[0].value();
    if (!evicted.empty() && evicted.back()[0] == block) continue;
    evicted.push_back({block, ShortHash(removed->hashes[0]), removed->group});
  }
  return evicted;
}

std::string ShortHash(const BlockHash& hash) {
  const std::string hex = hash.ToHex();
  return hex.substr(hex.size() - 16);
}

}  // namespace pagedkv::replay
