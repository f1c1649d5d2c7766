// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_BATCHER_H_
#define SIM_REPLAY_BATCHER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_events.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "sim/accounting/causes.h"
#include "sim/replay/memory_visitor.h"

namespace pagedkv::sim {

/// What one step does. The views are valid until the next call of `Schedule`.
struct BatchStep {
  /// More than 1: so many steps, in each of which every sequence computes one
  /// token and samples the next, and nothing else happens. The memory for all
  /// of them is taken.
  std::int32_t num_steps = 1;
  std::span<const ScheduledSequence> scheduled;
  std::span<const Preemption> preempted;
  /// Moved to the swap space or back before the step.
  std::int64_t swapped_blocks = 0;
  std::int64_t swapped_tokens = 0;
  /// Why the head of the queue waits: kBlockedCapacity, kBlockedFragmented,
  /// kWatermark or kBlockedPolicy; kIdle if nothing waits.
  Cause blocked = Cause::kIdle;
};

/// Continuous batching over one kind of KV memory: what a replay drives, step
/// by step. Ids are those of the `LiveRequests` that it was given.
/// Thread-compatible.
class Batcher {
 public:
  virtual ~Batcher() = default;

  /// Queues the request. False if it could never finish in this memory.
  virtual absl::StatusOr<bool> Submit(RequestId id) = 0;
  /// Plans the next step, or up to `max_steps` of them, and takes the memory
  /// that they need.
  virtual absl::StatusOr<BatchStep> Schedule(std::int32_t max_steps) = 0;
  /// The planned step is done. Returns the requests that finished, whose memory
  /// is free again; valid until the next call.
  virtual absl::StatusOr<std::span<const FinishedRequest>> Update() = 0;

  /// Drops all requests, which are appended to `lost`: the running ones in
  /// order of admission, then the waiting ones; and all content.
  /// Not while a step is under way.
  virtual absl::Status Fail(std::vector<RequestId>& lost) = 0;
  /// What happened to the prefix cache since the last call.
  [[nodiscard]] virtual KvEventBatch TakeEvents() { return {}; }

  [[nodiscard]] virtual std::int32_t num_running() const = 0;
  [[nodiscard]] virtual std::int32_t num_waiting() const = 0;

  /// Slots that belong to nobody and could be given to somebody.
  [[nodiscard]] virtual std::int64_t free_slots() const = 0;
  /// Of these, slots whose content may still be hit.
  [[nodiscard]] virtual std::int64_t cached_idle_slots() const { return 0; }
  /// Slots that sequences hold beyond one: a slot that k hold counts k - 1.
  [[nodiscard]] virtual std::int64_t shared_slots() const { return 0; }
  /// The longest run of tokens that the free slots could hold.
  [[nodiscard]] virtual std::int64_t largest_free_slots() const = 0;
  /// Slots that can never be given to anybody.
  [[nodiscard]] virtual std::int64_t tail_slots() const = 0;
  /// Free slots that are withheld from a request that waits for memory.
  [[nodiscard]] virtual std::int64_t watermark_slots() const = 0;

  /// Shows where everything lies, the planned step included. False, and nothing
  /// is shown, where memory is counted and not placed. O(what is in use).
  virtual bool VisitMemory(MemoryVisitor& /*visitor*/) const { return false; }
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_BATCHER_H_
