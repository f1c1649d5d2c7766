// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/replay/pool_replayer.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

#include "pagedkv/kv_event_encoding.h"

namespace pagedkv::replay {
namespace {

std::string ToHex(std::span<const std::uint8_t> bytes) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

// The recordings number adapters so.
std::int64_t AdapterId(const std::string& name) {
  return std::accumulate(name.begin(), name.end(), std::int64_t{1});
}

}  // namespace

PoolReplayer::PoolReplayer(const Json& header, KvCacheManager manager)
    : vocabulary_(header.at("config").at("vocab")),
      has_events_(header.at("config").value("events", false)),
      hash_block_size_(header.at("config").value("hash_block_size", 1)),
      manager_(std::move(manager)) {
  const Json& config = header.at("config");
  const absl::StatusOr<BlockHashAlgorithm> algorithm =
      ParseBlockHashAlgorithm(config.value("hash_algo", "sha256_cbor"));
  if (config.at("caching").get<bool>() && algorithm.ok()) {
    hasher_.emplace(*algorithm,
                    header.value("PYTHONHASHSEED", std::string("0")));
  }
}

Json PoolReplayer::Apply(const Json& record) {
  const std::string op = record.at("op");
  if (op == "dump") return Dump();
  Json result = Json::object();
  if (op == "new") result = New(record);
  if (op == "lookup") result = Lookup(requests_[record.at("req")]);
  if (op == "admit") result = Admit(record);
  if (op == "step") result = Step(record);
  if (op == "free" || op == "preempt") result = Release(record);
  if (op == "common") result = Common(requests_[record.at("req")]);
  if (op == "evict") result = Evict(record);
  if (op == "reset") result = {{"ok", manager_.ResetPrefixCache()}};
  result["free"] = manager_.pool().num_free().value();
  result["fq_crc"] = FreeQueueCrc(manager_.pool());
  result["cached"] = manager_.num_cached_keys();
  const std::vector<KvEvent> events = manager_.TakeEvents().events;
  if (Json evicted = EvictedIn(events); !evicted.empty()) {
    result["evicted"] = std::move(evicted);
  }
  if (has_events_ && !events.empty()) {
    result["events_msgpack"] =
        ToHex(EncodeEventBatch(static_cast<double>(num_operations_), events,
                               /*data_parallel_rank=*/0));
  }
  ++num_operations_;
  return result;
}

Json PoolReplayer::New(const Json& record) {
  Request& request = requests_[record.at("req")];
  request = {};
  request.k = record.at("k");
  request.tokens = PromptTokens(record.at("prompt"), vocabulary_);
  request.options.num_prompt_tokens =
      TokenCount(static_cast<std::int64_t>(request.tokens.size()));
  ContentKeys& keys = request.options.keys;
  keys.adapter = record.value("lora", "");
  if (!keys.adapter.empty()) {
    request.options.adapter_id = AdapterId(keys.adapter);
  }
  if (record.contains("salt")) {
    keys.salts.push_back({record.at("salt"), TokenCount(0)});
  }
  Json result = {{"n", request.tokens.size()},
                 {"tok_crc", Crc32(request.tokens)}};
  const BlockSize size(hash_block_size_);
  std::int64_t num_hashes = 0;
  if (hasher_.has_value()) {
    num_hashes = size.FullBlocks(request.options.num_prompt_tokens).value();
  }
  result["nh"] = num_hashes;
  BlockHash hash;
  for (std::int64_t i = 0; i < num_hashes; ++i) {
    const TokenCount begin = size.Slots(BlockCount(i));
    hash = hasher_->Hash(i == 0 ? hasher_->root() : hash,
                         std::span<const TokenId>(request.tokens)
                             .subspan(static_cast<std::size_t>(begin.value()),
                                      static_cast<std::size_t>(size.value())),
                         ExtraKeysOfBlock(keys, begin, size));
    if (i == 0) result["h0"] = hash.ToHex();
    if (i + 1 == num_hashes) result["hl"] = hash.ToHex();
  }
  return result;
}

Json PoolReplayer::Lookup(const Request& request) {
  manager_.Match(request.tokens, request.options.keys, match_);
  Json blocks = Json::array();
  for (const std::vector<BlockId>& hit : match_.blocks) {
    blocks.push_back(ToJson(hit));
  }
  return {{"hit", match_.num_tokens.value()}, {"hit_blocks", blocks}};
}

Json PoolReplayer::Admit(const Json& record) {
  Request& request = requests_[record.at("req")];
  const SequenceId sequence = *manager_.AddSequence(request.options);
  Json result = Lookup(request);
  const auto num_tokens = static_cast<std::int64_t>(request.tokens.size());
  const std::int64_t count = std::min(record.at("chunk").get<std::int64_t>(),
                                      num_tokens - match_.num_tokens.value());
  result["num_new"] = count;
  const bool full_fit = record.at("full_fit");
  const bool granted =
      Append(sequence, count,
             {.lookahead = TokenCount(record.at("lookahead")),
              .must_fit = TokenCount(full_fit ? num_tokens : 0),
              .keep_watermark = record.at("has_sched"),
              .tokens = request.tokens,
              .match = &match_},
             result);
  if (granted) {
    request.sequence = sequence;
  } else {
    manager_.Release(sequence).IgnoreError();
  }
  return result;
}

Json PoolReplayer::Step(const Json& record) {
  Request& request = requests_[record.at("req")];
  AddOutputs(request, record.at("append"));
  Json result;
  const bool granted = Append(request.sequence, record.at("num_new"),
                              {.lookahead = TokenCount(record.at("lookahead")),
                               .tokens = request.tokens},
                              result);
  if (granted) {
    const std::int64_t rejected = record.at("reject");
    const TokenCount kept =
        manager_.num_tokens(request.sequence) - TokenCount(rejected);
    manager_.Rewind(request.sequence, kept).IgnoreError();
    AddOutputs(request, record.at("draft").get<std::int64_t>() - rejected);
  }
  result["computed"] = manager_.num_tokens(request.sequence).value();
  result["n"] = request.tokens.size();
  return result;
}

void PoolReplayer::AddOutputs(Request& request, std::int64_t count) const {
  for (std::int64_t i = 0; i < count; ++i) {
    request.tokens.push_back(
        TokenAt(OutputStream(request.k), request.num_outputs++, vocabulary_));
  }
}

Json PoolReplayer::Release(const Json& record) {
  Request& request = requests_[record.at("req")];
  Json result = {{"table", PerGroup(Json::array())}};
  if (manager_.IsLive(request.sequence)) {
    result["table"] = Tables(request.sequence);
    manager_.Release(request.sequence).IgnoreError();
  }
  if (record.at("op") == "free") requests_.erase(record.at("req"));
  return result;
}

Json PoolReplayer::Evict(const Json& record) {
  std::vector<BlockId> blocks;
  for (const Json& id : record.at("blocks")) blocks.emplace_back(id);
  manager_.Evict(blocks).IgnoreError();
  return Json::object();
}

Json PoolReplayer::Common(const Request& request) const {
  Json common = Json::array();
  for (int group = 0; group < manager_.num_groups(); ++group) {
    common.push_back(
        manager_.IsLive(request.sequence)
            ? manager_.NumCommonPrefixBlocks(request.sequence, group).value()
            : 0);
  }
  return {{"common", common}};
}

Json PoolReplayer::Dump() const {
  const BlockPool& pool = manager_.pool();
  Json references = Json::array();
  for (std::int32_t id = 1; id < pool.num_blocks().value(); ++id) {
    const std::int32_t count = pool.ref_count(BlockId(id));
    if (count > 0) references.push_back(Json::array({id, count}));
  }
  Json hashed = Json::array();
  for (std::int32_t id = 1; id < pool.num_blocks().value(); ++id) {
    const auto content = manager_.cached_content(BlockId(id));
    if (!content.has_value()) continue;
    hashed.push_back({id, ShortHash(content->hash), content->group,
                      content->num_tokens.value()});
  }
  Json tables = Json::object();
  for (const auto& [name, request] : requests_) {
    if (manager_.IsLive(request.sequence)) {
      tables[name] = Tables(request.sequence);
    }
  }
  return {{"free_queue", ToJson(pool.FreeBlocks())},
          {"hashed", hashed},
          {"ref", references},
          {"tables", tables}};
}

bool PoolReplayer::Append(SequenceId sequence, std::int64_t count,
                          const AppendOptions& options, Json& result) {
  std::vector<std::size_t> lengths;
  for (int group = 0; group < manager_.num_groups(); ++group) {
    // The blocks of a hit are not new.
    lengths.push_back(options.match != nullptr
                          ? options.match->blocks[lengths.size()].size()
                          : manager_.block_table(sequence, group).size());
  }
  const absl::StatusOr<bool> granted =
      manager_.TryAppend(sequence, TokenCount(count), options);
  result["ok"] = granted.ok() ? Json(*granted)
                              : Json(std::string(granted.status().message()));
  if (!granted.ok() || !*granted) return false;
  Json added = Json::array();
  for (int group = 0; group < manager_.num_groups(); ++group) {
    added.push_back(ToJson(
        manager_.block_table(sequence, group).subspan(lengths[added.size()])));
  }
  result["new"] = added;
  return true;
}

Json PoolReplayer::PerGroup(const Json& value) const {
  return Json(static_cast<std::size_t>(manager_.num_groups()), value);
}

Json PoolReplayer::Tables(SequenceId sequence) const {
  Json tables = Json::array();
  for (int group = 0; group < manager_.num_groups(); ++group) {
    tables.push_back(ToJson(manager_.block_table(sequence, group)));
  }
  return tables;
}

}  // namespace pagedkv::replay
