// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_SCHEDULER_H_
#define PAGEDKV_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/types.h"

namespace pagedkv {

enum class SchedulingPolicy {
  kFcfs,  ///< in order of submission; the latest admitted is preempted first
  kPriority,  ///< by (priority, arrival, id), smaller first
};

struct SchedulerOptions {
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  /// Tokens that one step computes at most, over all sequences.
  TokenCount max_num_batched_tokens{2048};
  /// Sequences that run at the same time at most.
  std::int32_t max_num_seqs = 128;
  /// A prompt may be computed over several steps. Without it a prompt waits for
  /// a step that has room for all of it, and `max_num_batched_tokens` must be
  /// at least the manager's `max_sequence_tokens`.
  bool chunked_prefill = true;
  /// A sequence gets at most this many tokens of a step; 0: no such limit.
  TokenCount long_prefill_token_threshold{0};
  /// Admit a request only if its whole prompt would fit, though a first chunk
  /// needs less: fewer preemptions.
  bool reserve_full_prompt = true;
  /// Tell the eviction policy what waiting requests will find in the prefix
  /// cache, so that it can keep it ("queue-lru"): one lookup for each time that
  /// a request enters the queue.
  bool announce_waiting = false;
};

/// What a client submits: a prompt, and how far to go on from it.
struct Request {
  RequestId id;
  TokenCount num_prompt_tokens{0};  ///< >= 1
  /// The prompt itself, for the prefix cache: as long as `num_prompt_tokens`,
  /// or empty, and then the request shares nothing. With it the scheduler must
  /// be given the sampled tokens.
  std::vector<TokenId> prompt_tokens = {};
  TokenCount max_output_tokens{0};  ///< >= 1
  /// No stop token counts before this many output tokens.
  TokenCount min_output_tokens{0};
  /// The request ends with the first of these that is sampled. The scheduler
  /// must then be given the sampled tokens.
  std::vector<TokenId> stop_tokens = {};
  /// What distinguishes the content beside its tokens. The scheduler fills in
  /// `num_prompt_tokens`.
  SequenceOptions sequence = {};
  std::int32_t priority = 0;  ///< smaller runs first; kPriority only
  std::int64_t arrival = 0;   ///< any clock of the client; kPriority only
};

/// One sequence of a step: compute `num_tokens` tokens of it, those at
/// positions num_computed, num_computed + 1, ... What is computed of a sequence
/// that is admitted was found in the prefix cache.
struct ScheduledSequence {
  enum class Kind : std::uint8_t {
    kRunning,  ///< was in an earlier step and went on
    kNew,      ///< admitted for the first time
    kResumed,  ///< admitted again after a preemption
  };
  RequestId request = {};
  SequenceId sequence = {};
  std::int32_t num_computed = 0;
  std::int32_t num_tokens = 0;
  Kind kind = Kind::kRunning;
  /// All tokens known so far are then computed: the model samples the next.
  bool samples = false;
};

/// Running work that lost its blocks in this step. It waits again, before all
/// others, and recomputes its tokens when it is readmitted.
struct Preemption {
  RequestId request = {};
  /// The request for which there were not enough blocks.
  RequestId on_behalf_of = {};
  BlockCount blocks_needed = {};  ///< by that request, at the time
  BlockCount blocks_free = {};    ///< in the pool, before the preemption
  TokenCount tokens_lost = {};    ///< computed before, to be computed again
};

/// Why the first waiting request was not admitted in this step.
enum class AdmissionBlock : std::uint8_t {
  kNone,         ///< nothing waits
  kBlocks,       ///< the pool has too few free blocks
  kWatermark,    ///< the blocks would suffice but for the watermark
  kTokenBudget,  ///< the step's tokens are used up
  kSequences,    ///< max_num_seqs run already
  kPreempted,    ///< nothing is admitted in a step that preempted
};

/// What one step of the engine is to do. The scheduler executes nothing: do the
/// copies, upload the dirty ranges of the tables, compute, sample, and report
/// with `Scheduler::Update`. All views are valid until the next call of
/// `Schedule`.
struct StepPlan {
  /// Running sequences first, in order of admission, then the admitted. Empty
  /// if no request is live; by priority also where the first that runs was the
  /// least important and gave its blocks up.
  std::span<const ScheduledSequence> scheduled;
  TokenCount num_tokens = {};  ///< sum over `scheduled`
  /// [groups][num_tokens]: where the step's tokens are written, sequence by
  /// sequence. Empty for cross-attention: the slots of a new sequence's encoder
  /// are those of its block table.
  std::span<const std::vector<std::int64_t>> slot_mapping;
  /// [groups]: the entries of the block tables to upload, see `BlockTables`.
  std::span<const std::span<const DirtyRange>> table_deltas;
  /// Copy-on-write, in this order, before the step's tokens are written.
  std::span<const BlockCopy> copies;
  std::span<const Preemption> preempted;
  /// Requests that ended (finished or aborted) since the last plan.
  std::span<const RequestId> ended;
  AdmissionBlock admission_block = AdmissionBlock::kNone;
};

enum class FinishReason : std::uint8_t {
  kStop,    ///< a stop token was sampled
  kLength,  ///< max_output_tokens, or the manager's max_sequence_tokens
};

struct FinishedRequest {
  RequestId id = {};
  FinishReason reason = FinishReason::kLength;
  TokenCount num_output_tokens = {};
};

/// Continuous batching: decides which sequences run in each step and how many
/// tokens each computes, who waits, and who is preempted when the pool runs
/// out. Decisions equal those of vLLM's v1 scheduler.
///
/// A step: running sequences first, each as many tokens as it lacks and the
/// budget allows; if blocks lack, the last admitted (or, by priority, the least
/// important) is preempted by recompute. Then waiting requests in order, up to
/// the first that does not fit; none in a step that preempted.
///
/// Progress: a request is refused at submission if it could not finish alone;
/// the first running sequence is never preempted for another. So some admitted
/// request always finishes.
///
/// A step costs O(scheduled sequences + their new blocks), whatever waits, runs
/// or lies in the pool, and allocates no memory once warm. Thread-compatible.
class Scheduler {
 public:
  /// InvalidArgument, naming the option, if one is out of its range. `cache`
  /// must outlive the scheduler; sequences in it that are not the scheduler's
  /// are left alone.
  static absl::StatusOr<Scheduler> Create(const SchedulerOptions& options,
                                          KvCacheManager& cache);
  Scheduler(Scheduler&&) noexcept;
  Scheduler& operator=(Scheduler&&) noexcept;
  ~Scheduler();

  /// Queues a request. InvalidArgument for a length out of range, AlreadyExists
  /// for an id that is live, FailedPrecondition, with the numbers, for a
  /// request that could never finish in this pool.
  absl::Status Submit(const Request& request);

  /// Ends a request at once, waiting or running, and frees its blocks.
  /// NotFound.
  absl::Status Abort(RequestId id);

  /// Plans the next step, and takes the copies and dirty ranges that the cache
  /// has gathered into the plan. FailedPrecondition if the last plan was not
  /// reported.
  absl::StatusOr<StepPlan> Schedule();

  /// Reports the last plan as done: its tokens count as computed. `sampled` has
  /// one token for each scheduled sequence that samples, in the plan's order
  /// (any value for one that was aborted since); it may be empty while no live
  /// request has stop tokens or `prompt_tokens`.
  /// Returns the requests that finished, valid until the next call.
  /// FailedPrecondition without a plan, InvalidArgument for a wrong length.
  absl::StatusOr<std::span<const FinishedRequest>> Update(
      std::span<const TokenId> sampled = {});

  /// The sequence of a request that runs; nullopt for any other.
  [[nodiscard]] std::optional<SequenceId> SequenceOf(RequestId id) const;
  [[nodiscard]] std::int32_t num_running() const;
  [[nodiscard]] std::int32_t num_waiting() const;
  /// In order of admission. O(num_running).
  [[nodiscard]] std::vector<RequestId> Running() const;
  /// In the order in which they would be admitted. O(n log n).
  [[nodiscard]] std::vector<RequestId> Waiting() const;

  /// Internal, naming the request, if queues, states and the manager's
  /// sequences disagree. O(everything).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  class Impl;
  explicit Scheduler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_SCHEDULER_H_
