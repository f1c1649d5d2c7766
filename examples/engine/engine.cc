// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/engine.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/llama_model.h"
#include "examples/engine/sampler.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

std::size_t Index(std::int64_t value) {
  return static_cast<std::size_t>(value);
}

// The manager that gives each kind of cache its memory.
KvCacheManagerOptions ManagerOptions(const EngineOptions& options) {
  const TokenCount slots = options.block_size.Slots(options.num_blocks);
  BlockSize block_size = options.block_size;
  BlockCount num_blocks = options.num_blocks;
  // The null block is a part of a pool of blocks, and of nothing else.
  if (options.cache == CacheKind::kContiguous) {
    block_size = BlockSize(
        static_cast<std::int32_t>(options.max_sequence_tokens.value()));
    num_blocks = block_size.FullBlocks(slots) + BlockCount(1);
  } else if (options.cache == CacheKind::kConcat) {
    block_size = BlockSize(1);
    num_blocks = block_size.FullBlocks(slots) + BlockCount(1);
  }
  return {.pool = {.num_blocks = num_blocks,
                   .prefix_caching = options.prefix_cache},
          .groups = {{.block_size = block_size}},
          .max_sequence_tokens = options.max_sequence_tokens,
          .max_sequences = options.max_num_seqs,
          .num_swap_blocks = options.num_swap_blocks,
          .prefix_cache = {.partial_block_reuse = options.partial_block_reuse},
          .list_fresh_blocks = options.paged.check_slots ||
                               options.paged.hygiene != ReuseHygiene::kLeave};
}

absl::StatusOr<std::unique_ptr<KvCache>> MakeCache(
    const EngineOptions& options, const KvShape& shape,
    const KvCacheManager& manager, ThreadPool& threads) {
  switch (options.cache) {
    case CacheKind::kPaged:
      return MakePagedCache(shape, options.paged, manager, threads);
    case CacheKind::kContiguous:
      return MakeContiguousCache(shape, manager, threads);
    case CacheKind::kConcat:
      return MakeConcatCache(shape, threads);
  }
  return absl::InvalidArgumentError("an unknown kind of cache");
}

absl::StatusOr<Bytes> BytesPerToken(const KvShape& shape) {
  const absl::StatusOr<KvGeometry> geometry =
      KvGeometry::Create(shape.layers(), BlockSize(1));
  if (!geometry.ok()) return geometry.status();
  return geometry->bytes_per_token();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options, LlamaModel& model, ThreadPool& threads,
    EngineObserver& observer) {
  if (options.prefix_cache && options.cache != CacheKind::kPaged) {
    return absl::InvalidArgumentError(
        "a prefix cache needs paged memory: the others share nothing");
  }
  const bool swaps = options.num_swap_blocks > BlockCount(0);
  if (swaps && options.cache != CacheKind::kPaged) {
    return absl::InvalidArgumentError(
        "preemption by swap needs paged memory: the others recompute");
  }
  if (options.kv_dtype != KvDtype::kFp32 &&
      options.cache != CacheKind::kPaged) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "keys and values in %s need paged memory: the others keep fp32",
        KvDtypeName(options.kv_dtype)));
  }
  if (options.cache == CacheKind::kContiguous &&
      options.block_size.Slots(options.num_blocks) <
          options.max_sequence_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a pool of %d slots has no room for one sequence of %d tokens",
        options.block_size.Slots(options.num_blocks).value(),
        options.max_sequence_tokens.value()));
  }
  absl::StatusOr<KvCacheManager> created =
      KvCacheManager::Create(ManagerOptions(options));
  if (!created.ok()) return created.status();
  auto manager = std::make_unique<KvCacheManager>(*std::move(created));
  absl::StatusOr<Scheduler> scheduler = Scheduler::Create(
      {.preemption = swaps ? PreemptionMode::kSwap : PreemptionMode::kRecompute,
       .max_num_batched_tokens = options.max_num_batched_tokens,
       .max_num_seqs = options.max_num_seqs},
      *manager);
  if (!scheduler.ok()) return scheduler.status();
  KvShape shape = model.kv_shape();
  shape.format = KvFormat::For(options.kv_dtype);
  absl::StatusOr<std::unique_ptr<KvCache>> cache =
      MakeCache(options, shape, *manager, threads);
  if (!cache.ok()) return cache.status();
  const absl::StatusOr<Bytes> bytes_per_token = BytesPerToken(shape);
  if (!bytes_per_token.ok()) return bytes_per_token.status();
  std::unique_ptr<Engine> engine(
      new Engine(options, model, observer, std::move(manager),
                 *std::move(scheduler), *std::move(cache)));
  engine->bytes_per_token_ = *bytes_per_token;
  return engine;
}

TokenCount Engine::capacity() const {
  return options_.block_size.Slots(options_.num_blocks);
}

TokenCount Engine::tail() const {
  const TokenCount usable = manager_->block_size().Slots(
      manager_->pool().num_blocks() - BlockCount(1));
  return capacity() - usable;
}

absl::StatusOr<std::int64_t> Engine::Submit(const EngineRequest& request) {
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= model_.config().vocab_size) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "token %d of the prompt is not in the model's vocabulary of %d",
          token, model_.config().vocab_size));
    }
  }
  const std::int64_t number = num_submitted_;
  const bool shares = options_.cache == CacheKind::kPaged;
  const std::int32_t num_requests = shares ? 1 : request.num_samples;
  EngineRequest part = request;
  part.num_samples = shares ? request.num_samples : 1;
  for (std::int32_t i = 0; i < num_requests; ++i) {
    absl::Status status = SubmitLive({.number = number,
                                      .first_sample = i,
                                      .prompt = request.prompt,
                                      .outputs = {}},
                                     part);
    if (!status.ok()) return status;
  }
  ++num_submitted_;
  return number;
}

absl::Status Engine::SubmitLive(Live live, const EngineRequest& request) {
  const RequestId id(next_id_);
  Request submitted{.id = id,
                    .num_prompt_tokens = TokenCount(
                        static_cast<std::int64_t>(request.prompt.size())),
                    .prompt_tokens = request.prompt,
                    .max_output_tokens = TokenCount(request.max_tokens),
                    .num_samples = request.num_samples};
  if (!options_.ignore_eos) {
    submitted.stop_tokens = model_.config().eos_token_ids;
  }
  absl::Status status = scheduler_.Submit(submitted);
  if (!status.ok()) return status;
  ++next_id_;
  live.outputs.resize(Index(request.num_samples));
  num_samples_[id] = request.num_samples;
  live_[id] = std::move(live);
  return absl::OkStatus();
}

absl::Status Engine::Run() {
  while (has_work()) {
    absl::Status status = Step();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// What any engine does with a plan.
absl::Status Engine::Step() {
  const absl::StatusOr<StepPlan> plan = scheduler_.Schedule();
  if (!plan.ok()) return plan.status();
  memory_log_.Record(*manager_, scheduler_, num_samples_,
                     static_cast<std::int32_t>(plan->preempted.size()));
  num_block_copies_ += static_cast<std::int64_t>(plan->copies.size());
  num_swapped_blocks_ += static_cast<std::int64_t>(plan->swap_out.size());
  MakeBatch(*plan);
  absl::Status status = cache_->BeginStep(*plan, sequences_);
  if (!status.ok()) return status;
  status = model_.Forward(batch_, *cache_, logits_);
  if (!status.ok()) return status;
  SampleTokens(*plan);
  const absl::StatusOr<std::span<const FinishedRequest>> finished =
      scheduler_.Update(sampled_);
  if (!finished.ok()) return finished.status();
  EndSequences(*finished);
  return absl::OkStatus();
}

void Engine::MakeBatch(const StepPlan& plan) {
  sequences_.clear();
  batch_ = {};
  for (const ScheduledSequence& scheduled : plan.scheduled) {
    const Live& live = live_.at(scheduled.request);
    const std::vector<TokenId>& output =
        live.outputs[Index(scheduled.sequence_index)];
    const auto num_prompt = static_cast<std::int64_t>(live.prompt.size());
    sequences_.push_back(
        {.request = scheduled.request,
         .sequence = scheduled.sequence,
         .first_row = static_cast<std::int32_t>(batch_.tokens.size()),
         .num_rows = scheduled.num_tokens,
         .first_position = scheduled.num_computed});
    const std::int32_t end = scheduled.num_computed + scheduled.num_tokens;
    for (std::int32_t i = scheduled.num_computed; i < end; ++i) {
      batch_.tokens.push_back(i < num_prompt ? live.prompt[Index(i)]
                                             : output[Index(i - num_prompt)]);
      batch_.positions.push_back(i);
    }
    if (scheduled.num_samples > 0) {
      batch_.logits_rows.push_back(
          static_cast<std::int32_t>(batch_.tokens.size()) - 1);
    }
  }
}

void Engine::SampleTokens(const StepPlan& plan) {
  sampled_.clear();
  const std::size_t vocab_size = Index(model_.config().vocab_size);
  std::span<const float> rest(logits_);
  for (const ScheduledSequence& scheduled : plan.scheduled) {
    if (scheduled.num_samples == 0) continue;
    const std::span<const float> logits = rest.first(vocab_size);
    rest = rest.subspan(vocab_size);
    Live& live = live_.at(scheduled.request);
    const std::int32_t position = scheduled.num_computed + scheduled.num_tokens;
    // Where a group's prompt ends, all of its sequences get their first token.
    const bool is_fork = scheduled.num_samples > 1;
    for (std::int32_t i = 0; i < scheduled.num_samples; ++i) {
      const std::int32_t index = is_fork ? i : scheduled.sequence_index;
      const std::int32_t sample = live.first_sample + index;
      const TokenId token =
          Sample(logits, options_.temperature,
                 {.seed = options_.seed,
                  .request = static_cast<std::uint64_t>(live.number),
                  .sample = sample,
                  .position = position});
      live.outputs[Index(index)].push_back(token);
      sampled_.push_back(token);
      observer_.OnToken(live.number, sample, logits, token);
    }
  }
}

void Engine::EndSequences(std::span<const FinishedRequest> finished) {
  for (const FinishedRequest& end : finished) {
    const auto found = live_.find(end.id);
    const Live& live = found->second;
    // The KV of the last token is never computed.
    memory_log_.End({end.id, end.sequence_index},
                    static_cast<std::int64_t>(live.prompt.size()) +
                        end.num_output_tokens.value() - 1);
    observer_.OnEnd(live.number, live.first_sample + end.sequence_index,
                    end.reason);
    if (end.ends_request) {
      num_samples_.erase(end.id);
      live_.erase(found);
    }
  }
}

}  // namespace pagedkv::engine
