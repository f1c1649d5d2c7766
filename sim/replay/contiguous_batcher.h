// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_CONTIGUOUS_BATCHER_H_
#define SIM_REPLAY_CONTIGUOUS_BATCHER_H_

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/batcher.h"
#include "sim/replay/contiguous_memory.h"
#include "sim/replay/live_requests.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// The loop of continuous batching that all baselines share, with the rules of
/// `pagedkv::Scheduler` (FCFS, chunked prefill), so that policies differ in
/// their memory only: running sequences first, then the queue up to the first
/// request that does not fit; a sequence that cannot grow preempts the last
/// admitted by recompute, and a step that preempted admits nobody.
/// Thread-compatible.
class ContiguousBatcher : public Batcher {
 public:
  /// `requests` and `memory` must outlive the batcher.
  ContiguousBatcher(std::int32_t max_num_seqs,
                    TokenCount max_num_batched_tokens,
                    const LiveRequests& requests, ContiguousMemory& memory);

  absl::StatusOr<bool> Submit(RequestId id) override;
  absl::StatusOr<BatchStep> Schedule(std::int32_t max_steps) override;
  absl::StatusOr<std::span<const FinishedRequest>> Update() override;
  absl::Status Fail(std::vector<RequestId>& lost) override;

  [[nodiscard]] std::int32_t num_running() const override {
    return static_cast<std::int32_t>(running_.size());
  }
  [[nodiscard]] std::int32_t num_waiting() const override {
    return static_cast<std::int32_t>(waiting_.size());
  }
  [[nodiscard]] std::int64_t free_slots() const override {
    return memory_.free_slots();
  }
  [[nodiscard]] std::int64_t largest_free_slots() const override {
    return memory_.largest_free_slots();
  }
  [[nodiscard]] std::int64_t tail_slots() const override {
    return memory_.tail_slots();
  }
  [[nodiscard]] std::int64_t watermark_slots() const override { return 0; }
  bool VisitMemory(MemoryVisitor& visitor) const override;

 private:
  struct Sequence {
    RequestId id;
    ContiguousMemory::Place place = 0;
    std::int64_t present = 0;   // tokens in memory, those of the step included
    std::int64_t computed = 0;  // the same without those of the step
    std::int32_t sampled = 0;   // output tokens
    bool was_preempted = false;
  };

  [[nodiscard]] const TraceRequest& request(const Sequence& sequence) const {
    return requests_[sequence.id];
  }
  [[nodiscard]] std::int64_t KnownTokens(const Sequence& sequence) const {
    return request(sequence).prompt_tokens + sequence.sampled;
  }
  void ScheduleRunning(std::int64_t& budget);
  // How many steps like the one just planned can follow one another.
  [[nodiscard]] std::int32_t AlikeSteps(std::int32_t max_steps) const;
  // Why the head of the queue was left waiting.
  Cause Admit(std::int64_t& budget);
  void Emit(Sequence& sequence, std::int64_t num_tokens,
            ScheduledSequence::Kind kind);
  void PreemptLast(RequestId on_behalf_of);

  std::int32_t max_num_seqs_;
  std::int64_t max_num_batched_tokens_;
  const LiveRequests& requests_;
  ContiguousMemory& memory_;

  std::vector<Sequence> running_;  // in order of admission
  std::deque<Sequence> waiting_;
  std::vector<ScheduledSequence> scheduled_;
  std::vector<Preemption> preempted_;
  std::vector<FinishedRequest> finished_;
  std::int32_t num_steps_ = 1;  // of the plan
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_CONTIGUOUS_BATCHER_H_
