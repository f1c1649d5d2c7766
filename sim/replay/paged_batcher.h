// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_PAGED_BATCHER_H_
#define SIM_REPLAY_PAGED_BATCHER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/replay/batcher.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// The library's own scheduler and manager, seen as a `Batcher`. It decides
/// nothing itself. Thread-compatible.
class PagedBatcher : public Batcher {
 public:
  /// As many blocks as fit in `capacity`. `requests` must outlive the batcher.
  /// InvalidArgument where the library refuses an option.
  static absl::StatusOr<std::unique_ptr<PagedBatcher>> Create(
      BlockSize block_size, TokenCount capacity, TokenCount max_sequence_tokens,
      double watermark, std::int32_t max_num_seqs,
      TokenCount max_num_batched_tokens,
      std::span<const TraceRequest> requests);

  absl::StatusOr<bool> Submit(RequestId id) override;
  absl::StatusOr<BatchStep> Schedule() override;
  absl::StatusOr<std::span<const FinishedRequest>> Update() override {
    return scheduler_.Update();
  }

  [[nodiscard]] std::int32_t num_running() const override {
    return scheduler_.num_running();
  }
  [[nodiscard]] std::int32_t num_waiting() const override {
    return scheduler_.num_waiting();
  }
  [[nodiscard]] std::int64_t free_slots() const override {
    return Slots(cache_->pool().num_free());
  }
  /// Any free block serves any sequence.
  [[nodiscard]] std::int64_t largest_free_slots() const override {
    return free_slots();
  }
  /// The null block, and what is left of the capacity.
  [[nodiscard]] std::int64_t tail_slots() const override {
    return capacity_ - Slots(cache_->pool().num_blocks() - BlockCount(1));
  }
  [[nodiscard]] std::int64_t watermark_slots() const override {
    return Slots(cache_->pool().watermark_blocks());
  }
  bool VisitMemory(MemoryVisitor& visitor) const override;

 private:
  PagedBatcher(std::int64_t capacity, std::span<const TraceRequest> requests,
               std::unique_ptr<KvCacheManager> cache, Scheduler scheduler);
  [[nodiscard]] std::int64_t Slots(BlockCount blocks) const {
    return cache_->block_size().Slots(blocks).value();
  }
  void VisitSequence(RequestId id, std::vector<bool>& shared_shown,
                     MemoryVisitor& visitor) const;

  std::int64_t capacity_;
  std::span<const TraceRequest> requests_;
  std::unique_ptr<KvCacheManager> cache_;  // the scheduler refers to it
  Scheduler scheduler_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_PAGED_BATCHER_H_
