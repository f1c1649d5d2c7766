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
#include "sim/replay/memory_visitor.h"
#include "sim/replay/policy.h"
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
    BlockSize block_size, TokenCount capacity, TokenCount max_sequence_tokens,
    double watermark, std::int32_t max_num_seqs,
    TokenCount max_num_batched_tokens, std::span<const TraceRequest> requests) {
  absl::StatusOr<KvCacheManager> cache = KvCacheManager::Create(
      {.pool = {.num_blocks = block_size.FullBlocks(capacity),
                .watermark = watermark},
       .groups = {{.block_size = block_size}},
       .max_sequence_tokens = max_sequence_tokens,
       .max_sequences = max_num_seqs});
  if (!cache.ok()) return cache.status();
  auto owned = std::make_unique<KvCacheManager>(*std::move(cache));
  absl::StatusOr<Scheduler> scheduler =
      Scheduler::Create({.max_num_batched_tokens = max_num_batched_tokens,
                         .max_num_seqs = max_num_seqs},
                        *owned);
  if (!scheduler.ok()) return scheduler.status();
  return std::unique_ptr<PagedBatcher>(new PagedBatcher(
      capacity.value(), requests, std::move(owned), *std::move(scheduler)));
}

PagedBatcher::PagedBatcher(std::int64_t capacity,
                           std::span<const TraceRequest> requests,
                           std::unique_ptr<KvCacheManager> cache,
                           Scheduler scheduler)
    : capacity_(capacity),
      requests_(requests),
      cache_(std::move(cache)),
      scheduler_(std::move(scheduler)) {}

absl::StatusOr<bool> PagedBatcher::Submit(RequestId id) {
  const TraceRequest& request = requests_[id.value()];
  const absl::Status status =
      scheduler_.Submit({.id = id,
                         .num_prompt_tokens = TokenCount(request.prompt_tokens),
                         .max_output_tokens = TokenCount(request.output_tokens),
                         .stop_tokens = {}});
  if (absl::IsFailedPrecondition(status)) return false;
  if (!status.ok()) return status;
  return true;
}

absl::StatusOr<BatchStep> PagedBatcher::Schedule() {
  const absl::StatusOr<StepPlan> plan = scheduler_.Schedule();
  if (!plan.ok()) return plan.status();
  return BatchStep{.scheduled = plan->scheduled,
                   .preempted = plan->preempted,
                   .blocked = CauseOf(plan->admission_block)};
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
  const TraceRequest& request = requests_[id.value()];
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
