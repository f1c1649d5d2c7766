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
#include "sim/replay/live_requests.h"
#include "sim/replay/simulation.h"

namespace pagedkv::sim {

/// The library's own scheduler and manager, seen as a `Batcher`. It decides
/// nothing itself. Thread-compatible.
class PagedBatcher : public Batcher {
 public:
  /// As many blocks as fit in the capacity of `options`. `requests` must
  /// outlive the batcher. InvalidArgument where the library refuses an option.
  static absl::StatusOr<std::unique_ptr<PagedBatcher>> Create(
      BlockSize block_size, const SimulationOptions& options,
      const LiveRequests& requests);

  absl::StatusOr<bool> Submit(RequestId id) override;
  absl::StatusOr<BatchStep> Schedule(std::int32_t max_steps) override;
  absl::StatusOr<std::span<const FinishedRequest>> Update() override;
  absl::Status Fail(std::vector<RequestId>& lost) override;
  [[nodiscard]] KvEventBatch TakeEvents() override {
    return cache_->TakeEvents();
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
  [[nodiscard]] std::int64_t cached_idle_slots() const override {
    return Slots(cache_->pool().num_cached_free());
  }
  [[nodiscard]] std::int64_t shared_slots() const override {
    return Slots(cache_->pool().num_references() - cache_->pool().num_used());
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
  PagedBatcher(const SimulationOptions& options, const LiveRequests& requests,
               std::unique_ptr<KvCacheManager> cache, Scheduler scheduler);
  [[nodiscard]] std::int64_t Slots(BlockCount blocks) const {
    return cache_->block_size().Slots(blocks).value();
  }
  void VisitSequence(RequestId id, std::vector<bool>& shared_shown,
                     MemoryVisitor& visitor) const;

  std::int64_t capacity_;
  bool prefix_cache_;
  BlockSize trace_block_;
  const LiveRequests& requests_;
  std::unique_ptr<KvCacheManager> cache_;  // the scheduler refers to it
  Scheduler scheduler_;
  std::span<const ScheduledSequence> scheduled_;  // of the step under way
  std::vector<TokenId> sampled_;
  // With the prefix cache, by request id: what the request is to generate.
  std::vector<std::vector<TokenId>> outputs_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_PAGED_BATCHER_H_
