// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/replay/sched_replayer.h"

#include <algorithm>
#include <utility>

namespace pagedkv::replay {

absl::StatusOr<std::unique_ptr<SchedReplayer>> SchedReplayer::Create(
    const Json& config, KvCacheManager manager) {
  SchedulerOptions options;
  options.policy = config.at("policy") == "priority"
                       ? SchedulingPolicy::kPriority
                       : SchedulingPolicy::kFcfs;
  options.max_num_batched_tokens =
      TokenCount(config.at("max_num_batched_tokens"));
  options.max_num_seqs = config.at("max_num_seqs");
  options.chunked_prefill = config.value("chunked", true);
  options.long_prefill_token_threshold = TokenCount(config.at("long_prefill"));
  options.reserve_full_prompt = config.at("reserve");
  std::unique_ptr<SchedReplayer> replayer(
      new SchedReplayer(config, std::move(manager)));
  absl::StatusOr<Scheduler> scheduler =
      Scheduler::Create(options, replayer->manager_);
  if (!scheduler.ok()) return scheduler.status();
  replayer->scheduler_ = std::make_unique<Scheduler>(*std::move(scheduler));
  return replayer;
}

SchedReplayer::SchedReplayer(const Json& config, KvCacheManager manager)
    : vocabulary_(config.at("vocab")), manager_(std::move(manager)) {}

Json SchedReplayer::Apply(const Json& record) {
  for (const Json& name : record.value("abort", Json::array())) {
    scheduler_->Abort(IdOf(name)).IgnoreError();
  }
  for (const Json& request : record.value("add", Json::array())) {
    Submit(request);
  }
  const absl::StatusOr<StepPlan> plan = scheduler_->Schedule();
  if (!plan.ok()) return std::string(plan.status().message());
  Json result = Plan(*plan);

  std::vector<TokenId> sampled;
  std::vector<RequestId> sampling;
  for (const ScheduledSequence& entry : plan->scheduled) {
    if (!entry.samples) continue;
    Recorded& request = requests_[entry.request];
    sampled.push_back(
        TokenAt(OutputStream(request.k), request.num_outputs++, vocabulary_));
    sampling.push_back(entry.request);
  }
  const auto finished = scheduler_->Update(sampled);
  if (!finished.ok()) return std::string(finished.status().message());
  Json outputs = Json::array();
  for (std::size_t i = 0; i < sampled.size(); ++i) {
    const bool ended = std::any_of(
        finished->begin(), finished->end(),
        [&](const FinishedRequest& f) { return f.id == sampling[i]; });
    outputs.push_back({NameOf(sampling[i]), Json::array({sampled[i]}),
                       ended ? Json(1) : Json(nullptr)});
  }
  result["outputs"] = outputs;
  result["running"] = NamesOf(scheduler_->Running());
  result["waiting"] = NamesOf(scheduler_->Waiting());
  result["free"] = manager_.pool().num_free().value();
  result["fq_crc"] = FreeQueueCrc(manager_.pool());
  result["cached_keys"] = manager_.num_cached_keys();
  if (Json evicted = EvictedIn(manager_.TakeEvents().events);
      !evicted.empty()) {
    result["evicted"] = std::move(evicted);
  }
  return result;
}

void SchedReplayer::Submit(const Json& request) {
  const RequestId id = IdOf(request.at("req"));
  requests_[id] = {.k = request.at("k"), .num_outputs = 0};
  std::vector<TokenId> prompt = PromptTokens(request.at("prompt"), vocabulary_);
  const auto num_prompt_tokens = static_cast<std::int64_t>(prompt.size());
  // A refusal shows in the plan, which then lacks the request.
  scheduler_
      ->Submit({.id = id,
                .num_prompt_tokens = TokenCount(num_prompt_tokens),
                .prompt_tokens = std::move(prompt),
                .max_output_tokens = TokenCount(request.at("max_tokens")),
                .min_output_tokens = TokenCount(0),
                .stop_tokens = {},
                .sequence = {},
                .priority = request.at("priority"),
                .arrival = request.at("arrival")})
      .IgnoreError();
}

Json SchedReplayer::Plan(const StepPlan& plan) const {
  Json scheduled = Json::array();
  Json admitted = Json::array();
  Json continued = Json::array();
  for (const ScheduledSequence& entry : plan.scheduled) {
    const std::string name = NameOf(entry.request);
    scheduled.push_back({name, entry.num_tokens});
    if (entry.kind == ScheduledSequence::Kind::kNew) {
      admitted.push_back({name, entry.num_computed, Tables(entry.sequence)});
      continue;
    }
    const bool resumed = entry.kind == ScheduledSequence::Kind::kResumed;
    continued.push_back({name, entry.num_computed,
                         resumed ? Tables(entry.sequence) : NewBlocks(entry),
                         resumed});
  }
  Json preempted = Json::array();
  for (const Preemption& preemption : plan.preempted) {
    preempted.push_back(NameOf(preemption.request));
  }
  Json ended = NamesOf(plan.ended);
  std::sort(ended.begin(), ended.end());
  return {{"sched", scheduled},  {"new", admitted},
          {"cached", continued}, {"preempted", preempted},
          {"common", Common()},  {"finished_before", ended}};
}

// Blocks that all share with the first that runs, per group.
Json SchedReplayer::Common() const {
  Json common = Json::array();
  const std::vector<RequestId> running = scheduler_->Running();
  for (int group = 0; group < manager_.num_groups(); ++group) {
    common.push_back(running.empty()
                         ? 0
                         : manager_
                               .NumCommonPrefixBlocks(
                                   *scheduler_->SequenceOf(running[0]), group)
                               .value());
  }
  return common;
}

// Blocks that this step added to the tables of a running sequence, or null.
Json SchedReplayer::NewBlocks(const ScheduledSequence& entry) const {
  Json added = Json::array();
  bool any = false;
  for (int group = 0; group < manager_.num_groups(); ++group) {
    const std::span<const BlockId> table =
        manager_.block_table(entry.sequence, group);
    const auto before = static_cast<std::size_t>(
        manager_.block_size(group)
            .CoveringBlocks(TokenCount(entry.num_computed))
            .value());
    any |= table.size() > before;
    added.push_back(ToJson(table.subspan(before)));
  }
  return any ? added : Json(nullptr);
}

Json SchedReplayer::Tables(SequenceId sequence) const {
  Json tables = Json::array();
  for (int group = 0; group < manager_.num_groups(); ++group) {
    tables.push_back(ToJson(manager_.block_table(sequence, group)));
  }
  return tables;
}

// Eight characters at most, in the order of the bytes.
RequestId SchedReplayer::IdOf(const std::string& name) {
  std::uint64_t id = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    id = id << 8 | (i < name.size() ? static_cast<unsigned char>(name[i]) : 0u);
  }
  return RequestId(id);
}

std::string SchedReplayer::NameOf(RequestId id) {
  std::string name;
  for (int shift = 56; shift >= 0 && (id.value() >> shift & 0xff) != 0;
       shift -= 8) {
    name.push_back(static_cast<char>(id.value() >> shift & 0xff));
  }
  return name;
}

Json SchedReplayer::NamesOf(std::span<const RequestId> ids) {
  Json names = Json::array();
  for (RequestId id : ids) names.push_back(NameOf(id));
  return names;
}

}  // namespace pagedkv::replay
