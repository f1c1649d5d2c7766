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

/// What becomes of what a request has computed when its blocks are taken away.
enum class PreemptionMode : std::uint8_t {
  kRecompute,  ///< it is lost, and computed again
  kSwap,       ///< it moves to the swap space, if that has room; else as above
};

struct SchedulerOptions {
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  /// kSwap needs a manager with `num_swap_blocks`.
  PreemptionMode preemption = PreemptionMode::kRecompute;
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
  /// Write `StepPlan::slot_mapping`. Who computes no KV (a simulator), or finds
  /// slots in the block tables, can do without.
  bool fill_slot_mapping = true;
};

/// What a client submits: a prompt, and how far to go on from it.
///
/// With `num_samples` or `beam_width` the request is a group of sequences: they
/// share the prompt's blocks and are admitted, scheduled, preempted and aborted
/// together. All that have not ended have the same length and sample in the
/// same steps. One of them computes the prompt; the others are forked from it.
/// After a preemption by recompute the prompt is computed once more, and each
/// sequence computes its own output again, as far as the prefix cache does not
/// have it.
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
  /// `num_prompt_tokens`, and `tag` with the id.
  SequenceOptions sequence = {};
  /// Answers wanted, sampled independently of one another: from 1 to
  /// max_num_seqs. Each ends by its own stop token, or by length.
  std::int32_t num_samples = 1;
  /// From 1 to max_num_seqs: a beam search of at most so many hypotheses, where
  /// the client says after each step which go on (`BeamUpdate`), and which stop
  /// tokens end one; `stop_tokens` must be empty. 0: no beam search.
  std::int32_t beam_width = 0;
  std::int32_t priority = 0;  ///< smaller runs first; kPriority only
  std::int64_t arrival = 0;   ///< any clock of the client; kPriority only
};

/// One sequence of a step: compute `num_tokens` tokens of it, those at
/// positions num_computed, num_computed + 1, ... What is computed of a sequence
/// that is admitted was found in the prefix cache, or comes from the swap
/// space.
///
/// The sequences of a group stand side by side, by index. While its prompt is
/// computed, it has one. That one becomes several where it samples: index i,
/// from the next step on, continues the i-th token that was sampled.
///
/// In a plan of several steps `num_tokens` is 1, and step s computes the token
/// at position num_computed + s.
struct ScheduledSequence {
  enum class Kind : std::uint8_t {
    kRunning,  ///< its request was in an earlier step and went on
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
  /// Which sequence of its request: from 0 to num_samples - 1, the same from
  /// its first to its last step; of a beam search, the place among the
  /// survivors that the client named last.
  std::int16_t sequence_index = 0;
  /// Tokens of it that `Update` takes for each step of the plan: 1 if it
  /// samples, `Request::num_samples` where a group's prompt ends, 0 for a beam
  /// search.
  std::int32_t num_samples = 0;
};

/// Running work that lost its blocks in this step: a request, with all of its
/// sequences. It waits again, before all others, those aside that are swapped
/// out, and recomputes its tokens when it is readmitted; or it is swapped in,
/// and goes on.
struct Preemption {
  RequestId request = {};
  /// The request for which there were not enough blocks.
  RequestId on_behalf_of = {};
  BlockCount blocks_needed = {};  ///< by that request, at the time
  BlockCount blocks_free = {};    ///< in the pool, before the preemption
  /// Computed before, to be computed again: of a group the prompt once, and
  /// the output of each sequence. By swap none.
  TokenCount tokens_lost = {};
  PreemptionMode mode = PreemptionMode::kRecompute;
};

/// Why the first waiting request was not admitted in this step.
enum class AdmissionBlock : std::uint8_t {
  kNone,         ///< nothing waits
  kBlocks,       ///< the pool has too few free blocks
  kWatermark,    ///< the blocks would suffice but for the watermark
  kTokenBudget,  ///< the step's tokens are used up
  kSequences,    ///< max_num_seqs, or the manager's rows, leave no room
  kPreempted,    ///< nothing is admitted in a step that preempted
};

/// What one step of the engine is to do, or several. The scheduler executes
/// nothing: do `swap_out`, then `swap_in`, then `copies`, upload the dirty
/// ranges of the tables, compute, sample, and report with `Scheduler::Update`.
/// All views are valid until the next call of `Schedule`.
///
/// By `Update`, what the plan moves has arrived: the next plan may write to any
/// block that it was moved from. Within the plan, blocks of the pool that
/// `swap_out` reads may be written by all that follows; swap blocks that
/// `swap_in` reads are not written.
struct StepPlan {
  /// More than 1 only if `Schedule` was allowed more: `scheduled` stands for
  /// each of so many steps, in which every sequence computes one token and
  /// samples the next. Copies, and blocks for all steps, come before the first.
  std::int32_t num_steps = 1;
  /// Running sequences first, in order of their requests' admission, then the
  /// admitted. Empty if no request is live; by priority also where the first
  /// that runs was the least important and gave its blocks up.
  std::span<const ScheduledSequence> scheduled;
  TokenCount num_tokens = {};  ///< of one step: the sum over `scheduled`
  /// [groups][num_steps * num_tokens]: where each step's tokens are written,
  /// step by step, in each sequence by sequence. Empty for cross-attention (the
  /// slots of a new sequence's encoder are those of its block table), and
  /// without `SchedulerOptions::fill_slot_mapping`.
  std::span<const std::vector<std::int64_t>> slot_mapping;
  /// [groups]: the entries of the block tables to upload, see `BlockTables`.
  std::span<const std::span<const DirtyRange>> table_deltas;
  /// From the pool to the swap space: of requests that are preempted.
  std::span<const BlockSwap> swap_out;
  /// From the swap space to the pool: of requests that are resumed.
  std::span<const BlockSwap> swap_in;
  /// Copy-on-write, in this order, before the step's tokens are written.
  std::span<const BlockCopy> copies;
  /// Blocks newly taken for the step, to be cleaned before it writes, as
  /// `StepMoves::fresh`. Empty without
  /// `KvCacheManagerOptions::list_fresh_blocks`.
  std::span<const FreshBlock> fresh_blocks = {};
  std::span<const Preemption> preempted;
  /// Requests that ended (finished or aborted) since the last plan.
  std::span<const RequestId> ended;
  /// The same in each step of the plan.
  AdmissionBlock admission_block = AdmissionBlock::kNone;
};

enum class FinishReason : std::uint8_t {
  kStop,    ///< a stop token was sampled
  kLength,  ///< max_output_tokens, or the manager's max_sequence_tokens
};

/// A sequence that ended, and its request with it, but for groups: parallel
/// samples are reported one by one as they end, and the last of them ends the
/// request. A beam search is reported once, at its end.
struct FinishedRequest {
  RequestId id = {};
  FinishReason reason = FinishReason::kLength;
  TokenCount num_output_tokens = {};  ///< of this sequence; of each beam
  /// As in `ScheduledSequence`; of a beam search 0.
  std::int32_t sequence_index = 0;
  bool ends_request = true;
};

/// One hypothesis with which a beam search goes on.
struct BeamSurvivor {
  /// The `sequence_index` that it continues: 0 where the prompt ends.
  std::int32_t parent = 0;
  TokenId token = 0;
};

/// What becomes of a beam search after a step in which it sampled.
struct BeamUpdate {
  RequestId request = {};
  /// At most `beam_width`; survivor i has index i in the next step. Sequences
  /// without a survivor end and give back blocks that no other holds; of those
  /// with several, all but the first are forks. Fewer than before are allowed
  /// (hypotheses that are complete are the client's), and more again later.
  /// None: the search is over, and the request finishes (kStop).
  std::span<const BeamSurvivor> survivors;
};

/// Continuous batching: decides which sequences run in each step and how many
/// tokens each computes, who waits, and who is preempted when the pool runs
/// out. Decisions equal those of vLLM's v1 scheduler.
///
/// A step: running sequences first, each as many tokens as it lacks and the
/// budget allows; if blocks lack, the last admitted (or, by priority, the least
/// important) is preempted. Then waiting requests in order, up to the first
/// that does not fit; none in a step that preempted. Requests that are swapped
/// out come before all others, also by priority: the swap space is scarce, and
/// they hold rows of the manager. One is swapped in when there are blocks for
/// what it had and for its next tokens, some of which it computes at once.
///
/// A group is in every respect one request with several sequences. It takes
/// part in a step as a whole, or, while it computes again what a preemption
/// took, with as many of its sequences as the budget allows; where the budget
/// has too few tokens left for all to sample, it sits the step out.
///
/// Progress: a request is refused at submission if it could not finish alone,
/// and so is a shrink in which one could not; the first running request is
/// never preempted for another. So some admitted request always finishes.
/// Swapping out frees the same blocks as preemption by recompute, and a swap-in
/// takes no more than it freed: where nothing runs, the first that is swapped
/// out fits, has its rows, and goes on.
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

  /// Queues a request. InvalidArgument for a length or a number of sequences
  /// out of range, AlreadyExists for an id that is live, FailedPrecondition,
  /// with the numbers, for a request that could never finish in this pool: with
  /// all sequences of a group at their greatest length, and only the full
  /// blocks of its prompt shared.
  absl::Status Submit(const Request& request);

  /// Ends a request at once, waiting or running, and frees its blocks.
  /// NotFound.
  absl::Status Abort(RequestId id);

  /// Plans the next step, and takes the copies and dirty ranges that the cache
  /// has gathered into the plan. FailedPrecondition if the last plan was not
  /// reported.
  ///
  /// Plans up to `max_steps` (>= 1) steps at once, for multi-step decoding, if
  /// in each of them, planned by itself, nothing would happen but that every
  /// running sequence computes and samples one token. So nobody is preempted or
  /// admitted in them, the cause why the first that waits is not admitted stays
  /// the same, and by length requests finish only with the last. What cannot be
  /// known in advance is not waited for: a stop token on the way, after which a
  /// single step would have had room for others, and requests submitted in the
  /// meantime. Always one step: while a beam search runs, and while a request
  /// with `prompt_tokens` waits for blocks and may find some in the prefix
  /// cache. O(scheduled sequences + their new blocks + steps), the slot mapping
  /// aside.
  absl::StatusOr<StepPlan> Schedule(std::int32_t max_steps = 1);

  /// Reports the last plan as done: its tokens count as computed. `sampled` has
  /// `num_samples` tokens for each scheduled sequence, in the plan's order (any
  /// value for one that was aborted since); it may be empty while no live
  /// request has stop tokens or `prompt_tokens`. Of a plan of several steps it
  /// has the tokens of all steps of the first sequence, then of the next; those
  /// behind a stop token are ignored, and the sequence ends there. `beams` has
  /// an entry for each beam search that samples, in the plan's order (any
  /// survivors for one that was aborted since). Returns what finished, in the
  /// plan's order, valid until the next call. FailedPrecondition without a
  /// plan, InvalidArgument for a wrong length, or survivors that cannot be;
  /// then nothing has changed.
  absl::StatusOr<std::span<const FinishedRequest>> Update(
      std::span<const TokenId> sampled = {},
      std::span<const BeamUpdate> beams = {});

  /// `KvCacheManager::BeginShrink`, if each live request could still finish
  /// alone in a pool of `num_blocks`: else FailedPrecondition, naming the one
  /// that needs the most, and how many blocks it takes. FailedPrecondition too
  /// while a plan is in flight: shrink between `Update` and `Schedule`. What is
  /// submitted afterwards must fit in the smaller pool. O(live requests +
  /// num_blocks).
  absl::Status BeginShrink(BlockCount num_blocks);
  /// `KvCacheManager::Drain`: the copies come with the next plan.
  /// FailedPrecondition while a plan is in flight.
  absl::StatusOr<BlockCount> Drain(BlockCount max_copies);

  /// The sequence with this index of a request that runs; nullopt for any
  /// other, for one that has ended, and while a group computes its prompt for
  /// all but the one that does.
  [[nodiscard]] std::optional<SequenceId> SequenceOf(
      RequestId id, std::int32_t sequence_index = 0) const;
  /// Requests; `num_running_sequences` counts each sequence of a group, as
  /// `max_num_seqs` does: those that have not ended, of a beam search its
  /// width.
  [[nodiscard]] std::int32_t num_running() const;
  [[nodiscard]] std::int32_t num_running_sequences() const;
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
