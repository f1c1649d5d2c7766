// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/paged_batcher.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_pool.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
#include "sim/replay/live_requests.h"
#include "sim/replay/memory_visitor.h"
#include "sim/replay/policy.h"
#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/trace/content.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

Cause CauseOf(AdmissionBlock block) {
  switch (block) {
    case AdmissionBlock::kNone:
      return Cause::kIdle;
    case AdmissionBlock::kBlocks:
      return Cause::kBlockedCapacity;
    case AdmissionBlock::kWatermark:
      return Cause::kWatermark;
    case AdmissionBlock::kTokenBudget:
    case AdmissionBlock::kSequences:
    case AdmissionBlock::kPreempted:
      break;
  }
  return Cause::kBlockedPolicy;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PagedBatcher>> PagedBatcher::Create(
    BlockSize block_size, const SimulationOptions& options,
    const LiveRequests& requests) {
  KvCacheManagerOptions cache_options;
  cache_options.pool = {.num_blocks = block_size.FullBlocks(options.capacity),
                        .prefix_caching = options.prefix_cache,
                        .watermark = options.watermark};
  cache_options.groups = {{.block_size = block_size}};
  cache_options.max_sequence_tokens = options.max_sequence_tokens;
  cache_options.max_sequences = options.max_num_seqs;
  cache_options.num_swap_blocks = block_size.FullBlocks(options.swap_slots);
  cache_options.prefix_cache.eviction_policy = options.eviction_policy;
  if (options.prefix_cache && Router::NeedsEvents(options.fleet.router)) {
    cache_options.prefix_cache.content_hash = FleetContentHash();
    cache_options.prefix_cache.events = true;
  }
  absl::StatusOr<KvCacheManager> cache = KvCacheManager::Create(cache_options);
  if (!cache.ok()) return cache.status();
  auto owned = std::make_unique<KvCacheManager>(*std::move(cache));
  absl::StatusOr<Scheduler> scheduler = Scheduler::Create(
      {.preemption = options.swap_slots > TokenCount(0)
                         ? PreemptionMode::kSwap
                         : PreemptionMode::kRecompute,
       .max_num_batched_tokens = options.max_num_batched_tokens,
       .max_num_seqs = options.max_num_seqs,
       .fill_slot_mapping = false},
      *owned);
  if (!scheduler.ok()) return scheduler.status();
  return std::unique_ptr<PagedBatcher>(new PagedBatcher(
      options, requests, std::move(owned), *std::move(scheduler)));
}

PagedBatcher::PagedBatcher(const SimulationOptions& options,
                           const LiveRequests& requests,
                           std::unique_ptr<KvCacheManager> cache,
                           Scheduler scheduler)
    : capacity_(options.capacity.value()),
      prefix_cache_(options.prefix_cache),
      trace_block_(options.trace_block),
      requests_(requests),
      cache_(std::move(cache)),
      scheduler_(std::move(scheduler)) {}

absl::StatusOr<bool> PagedBatcher::Submit(RequestId id) {
  const TraceRequest& request = requests_[id];
  Request submitted{.id = id,
                    .num_prompt_tokens = TokenCount(request.prompt_tokens),
                    .max_output_tokens = TokenCount(request.output_tokens)};
  if (prefix_cache_) {
    PromptTokens(request, trace_block_, submitted.prompt_tokens);
    if (outputs_.size() <= id.value()) outputs_.resize(id.value() + 1);
    OutputTokens(request, trace_block_, outputs_[id.value()]);
  }
  absl::Status status = scheduler_.Submit(submitted);
  if (absl::IsFailedPrecondition(status)) return false;
  if (!status.ok()) return status;
  return true;
}

absl::StatusOr<BatchStep> PagedBatcher::Schedule(std::int32_t max_steps) {
  const absl::StatusOr<StepPlan> plan = scheduler_.Schedule(max_steps);
  if (!plan.ok()) return plan.status();
  scheduled_ = plan->scheduled;
  BatchStep step{.num_steps = plan->num_steps,
                 .scheduled = plan->scheduled,
                 .preempted = plan->preempted,
                 .blocked = CauseOf(plan->admission_block)};
  for (const std::span<const BlockSwap> moves :
       {plan->swap_out, plan->swap_in}) {
    step.swapped_blocks += std::ssize(moves);
    for (const BlockSwap& move : moves) {
      step.swapped_tokens += move.num_tokens;
    }
  }
  return step;
}

absl::StatusOr<std::span<const FinishedRequest>> PagedBatcher::Update() {
  if (!prefix_cache_) return scheduler_.Update();
  sampled_.clear();
  for (const ScheduledSequence& sequence : scheduled_) {
    if (!sequence.samples) continue;
    const std::int32_t index = sequence.num_computed + sequence.num_tokens -
                               requests_[sequence.request].prompt_tokens;
    sampled_.push_back(
        outputs_[sequence.request.value()][static_cast<std::size_t>(index)]);
  }
  return scheduler_.Update(sampled_);
}

absl::Status PagedBatcher::Fail(std::vector<RequestId>& lost) {
  const std::vector<RequestId> running = scheduler_.Running();
  const std::vector<RequestId> waiting = scheduler_.Waiting();
  lost.insert(lost.end(), running.begin(), running.end());
  lost.insert(lost.end(), waiting.begin(), waiting.end());
  for (const RequestId id : lost) {
    if (absl::Status status = scheduler_.Abort(id); !status.ok()) {
      return status;
    }
  }
  if (!cache_->ResetPrefixCache()) {
    return absl::InternalError("blocks are in use, and nobody is left");
  }
  return absl::OkStatus();
}

bool PagedBatcher::VisitMemory(MemoryVisitor& visitor) const {
  const BlockPool& pool = cache_->pool();
  const std::int64_t block_slots = Slots(BlockCount(1));
  const std::int64_t end = Slots(pool.num_blocks());
  visitor.OnRun({.slots = block_slots, .use = SlotUse::kTail});  // null block
  if (end < capacity_) {
    visitor.OnRun(
        {.begin = end, .slots = capacity_ - end, .use = SlotUse::kTail});
  }
  std::vector<bool> shared_shown(
      static_cast<std::size_t>(pool.num_blocks().value()));
  for (const RequestId id : scheduler_.Running()) {
    VisitSequence(id, shared_shown, visitor);
  }
  for (std::int32_t i = 1; i < pool.num_blocks().value(); ++i) {
    const BlockId block(i);
    if (pool.ref_count(block) > 0 || !pool.is_cached(block)) continue;
    visitor.OnRun({.begin = Slots(BlockCount(i)),
                   .slots = block_slots,
                   .use = SlotUse::kCachedIdle});
  }
  return true;
}

void PagedBatcher::VisitSequence(RequestId id, std::vector<bool>& shared_shown,
                                 MemoryVisitor& visitor) const {
  const std::optional<SequenceId> sequence = scheduler_.SequenceOf(id);
  if (!sequence.has_value()) return;
  const TraceRequest& request = requests_[id];
  const std::int64_t block_slots = Slots(BlockCount(1));
  const std::int64_t present = cache_->num_tokens(*sequence).value();
  std::int64_t position = 0;  // of the block's first slot in the sequence
  for (const BlockId block : cache_->block_table(*sequence)) {
    const auto index = static_cast<std::size_t>(block.value());
    const std::int64_t begin = Slots(BlockCount(block.value()));
    if (cache_->pool().ref_count(block) == 1) {
      ShowGrant({.begin = begin,
                 .present = std::min(present - position, block_slots),
                 .final_slots = FinalSlots(request) - position,
                 .requested = block_slots,
                 .granted = block_slots,
                 .owner = request.id},
                visitor);
    } else if (!shared_shown[index]) {
      shared_shown[index] = true;
      visitor.OnRun(
          {.begin = begin, .slots = block_slots, .use = SlotUse::kShared});
    }
    position += block_slots;
  }
}

}  // namespace pagedkv::sim
