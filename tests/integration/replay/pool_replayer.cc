// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/replay/pool_replayer.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace pagedkv::replay {

PoolReplayer::PoolReplayer(const Json& config, KvCacheManager manager)
    : vocabulary_(config.at("vocab")), manager_(std::move(manager)) {}

Json PoolReplayer::Apply(const Json& record) {
  const std::string op = record.at("op");
  if (op == "dump") return Dump();
  Json result = Json::object();
  if (op == "new") result = New(record);
  if (op == "lookup") {
    result = {{"hit", 0}, {"hit_blocks", PerGroup(Json::array())}};
  }
  if (op == "admit") result = Admit(record);
  if (op == "step") result = Step(record);
  if (op == "free" || op == "preempt") result = Release(record);
  if (op == "common") result = {{"common", PerGroup(0)}};
  if (op == "reset") {
    result = {{"ok", manager_.pool().num_used() == BlockCount(0)}};
  }
  result["free"] = manager_.pool().num_free().value();
  result["fq_crc"] = FreeQueueCrc(manager_.pool());
  result["cached"] = 0;
  return result;
}

Json PoolReplayer::New(const Json& record) {
  const std::vector<TokenId> tokens =
      PromptTokens(record.at("prompt"), vocabulary_);
  requests_[record.at("req")] = {
      .num_tokens = static_cast<std::int64_t>(tokens.size()), .sequence = {}};
  return {{"n", tokens.size()}, {"tok_crc", Crc32(tokens)}, {"nh", 0}};
}

Json PoolReplayer::Admit(const Json& record) {
  Request& request = requests_[record.at("req")];
  const std::int64_t count =
      std::min(record.at("chunk").get<std::int64_t>(), request.num_tokens);
  Json result = {
      {"hit", 0}, {"hit_blocks", PerGroup(Json::array())}, {"num_new", count}};
  const SequenceId sequence = *manager_.AddSequence();
  const bool full_fit = record.at("full_fit");
  const bool granted =
      Append(sequence, count,
             {.lookahead = TokenCount(record.at("lookahead")),
              .must_fit = TokenCount(full_fit ? request.num_tokens : 0),
              .keep_watermark = record.at("has_sched")},
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
  request.num_tokens += record.at("append").get<std::int64_t>();
  Json result;
  const bool granted =
      Append(request.sequence, record.at("num_new"),
             {.lookahead = TokenCount(record.at("lookahead"))}, result);
  if (granted) {
    const std::int64_t rejected = record.at("reject");
    const TokenCount kept =
        manager_.num_tokens(request.sequence) - TokenCount(rejected);
    manager_.Rewind(request.sequence, kept).IgnoreError();
    request.num_tokens += record.at("draft").get<std::int64_t>() - rejected;
  }
  result["computed"] = manager_.num_tokens(request.sequence).value();
  result["n"] = request.num_tokens;
  return result;
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

Json PoolReplayer::Dump() const {
  const BlockPool& pool = manager_.pool();
  Json references = Json::array();
  for (std::int32_t id = 1; id < pool.num_blocks().value(); ++id) {
    const std::int32_t count = pool.ref_count(BlockId(id));
    if (count > 0) references.push_back(Json::array({id, count}));
  }
  Json tables = Json::object();
  for (const auto& [name, request] : requests_) {
    if (manager_.IsLive(request.sequence)) {
      tables[name] = Tables(request.sequence);
    }
  }
  return {{"free_queue", ToJson(pool.FreeBlocks())},
          {"hashed", Json::array()},
          {"ref", references},
          {"tables", tables}};
}

bool PoolReplayer::Append(SequenceId sequence, std::int64_t count,
                          const AppendOptions& options, Json& result) {
  std::vector<std::size_t> lengths;
  for (int group = 0; group < manager_.num_groups(); ++group) {
    lengths.push_back(manager_.block_table(sequence, group).size());
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
