// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/paged_batcher.h"

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
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

}  // namespace pagedkv::sim
