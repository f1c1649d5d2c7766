// SPDX-License-Identifier: Apache-2.0
#ifndef SCHEDULER_SCHEDULER_IMPL_H_
#define SCHEDULER_SCHEDULER_IMPL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "base/check.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"
#include "scheduler/decode_horizon.h"
#include "scheduler/sequence_group.h"
#include "scheduler/waiting_queue.h"

namespace pagedkv {

/// What a `Scheduler` is: requests and queues (scheduler.cc), the plan of a
/// step (scheduler_plan.cc), who goes to the swap space and comes back
/// (scheduler_swap.cc), what is made of a step's report (scheduler_update.cc),
/// and pools of another size (scheduler_resize.cc).
class Scheduler::Impl {
 public:
  Impl(const SchedulerOptions& options, KvCacheManager& cache)
      : options_(options),
        cache_(cache),
        waiting_(options.policy),
        swapped_(options.policy),
        state_alignment_(StateAlignmentOf(cache)),
        horizon_(cache),
        slot_mapping_(static_cast<std::size_t>(cache.num_groups())),
        dirty_ranges_(static_cast<std::size_t>(cache.num_groups())),
        table_deltas_(static_cast<std::size_t>(cache.num_groups())) {}

  absl::Status Submit(const Request& request);
  absl::Status Abort(RequestId id);
  absl::StatusOr<StepPlan> Schedule(std::int32_t max_steps);
  absl::StatusOr<std::span<const FinishedRequest>> Update(
      std::span<const TokenId> sampled, std::span<const BeamUpdate> beams);

  absl::Status BeginShrink(BlockCount num_blocks);
  absl::StatusOr<BlockCount> Drain(BlockCount max_copies);

  [[nodiscard]] std::optional<SequenceId> SequenceOf(
      RequestId id, std::int32_t sequence_index) const;
  [[nodiscard]] std::int32_t num_running() const {
    return static_cast<std::int32_t>(running_.size());
  }
  [[nodiscard]] std::int32_t num_running_sequences() const {
    return num_running_sequences_;
  }
  [[nodiscard]] std::int32_t num_waiting() const { return num_waiting_; }
  [[nodiscard]] std::vector<RequestId> Running() const;
  [[nodiscard]] std::vector<RequestId> Waiting() const;
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  using Slot = std::int32_t;
  static constexpr Slot kAborted = -1;
  static constexpr std::int32_t kNoGroup = -1;
  static constexpr std::int32_t kNever =
      std::numeric_limits<std::int32_t>::max();

  enum class RequestState : std::uint8_t { kNone, kWaiting, kRunning };

  // A live request. Its tokens are those of the prompt and those sampled; how
  // many of them are computed is the length of its sequence in the cache. Every
  // step reads and writes this much of each request, and no more. The sequences
  // of a group are in its `SequenceGroup`; all have `num_tokens` tokens.
  struct LiveRequest {
    RequestId id;
    SequenceId sequence = {};  // while running; none of a group
    std::int32_t num_tokens = 0;
    std::int32_t end_tokens = 0;      // finishes when num_tokens gets here
    std::int32_t stop_from = kNever;  // num_tokens from which stop tokens count
    std::uint32_t ticket = 0;         // of its last stay in the waiting queue
    RequestState state = RequestState::kNone;
    bool was_preempted = false;
    bool needs_samples = false;     // it looks at its sampled tokens
    bool is_swapped = false;        // waits, with its sequences in the cache
    std::int32_t group = kNoGroup;  // of groups_
  };
  static_assert(sizeof(LiveRequest) == 40);

  // The rest of it.
  struct RequestDetails {
    std::int32_t num_prompt_tokens = 0;
    std::int32_t priority = 0;
    std::int64_t arrival = 0;
    std::vector<TokenId> stop_tokens;
    // Prompt and output, of a group only the prompt, where the client said what
    // they are.
    std::vector<TokenId> tokens;
    SequenceOptions sequence;
    std::vector<BlockId> announced;  // to the eviction policy, while it waits

    [[nodiscard]] bool IsStop(TokenId token) const {
      return std::find(stop_tokens.begin(), stop_tokens.end(), token) !=
             stop_tokens.end();
    }
  };

  LiveRequest& request(Slot slot) {
    return requests_[static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] const LiveRequest& request(Slot slot) const {
    return requests_[static_cast<std::size_t>(slot)];
  }
  RequestDetails& details(Slot slot) {
    return details_[static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] const RequestDetails& details(Slot slot) const {
    return details_[static_cast<std::size_t>(slot)];
  }
  [[nodiscard]] static std::int64_t StateAlignmentOf(
      const KvCacheManager& cache);
  [[nodiscard]] static bool IsGroup(const LiveRequest& live) {
    return live.group != kNoGroup;
  }
  SequenceGroup& group(const LiveRequest& live) {
    return groups_[static_cast<std::size_t>(live.group)];
  }
  [[nodiscard]] const SequenceGroup& group(const LiveRequest& live) const {
    return groups_[static_cast<std::size_t>(live.group)];
  }
  // How many sequences it counts for where it runs.
  [[nodiscard]] std::int32_t NumPlaces(const LiveRequest& live) const {
    return IsGroup(live) ? group(live).num_places() : 1;
  }
  [[nodiscard]] absl::Status CheckSequences(const Request& request) const;
  [[nodiscard]] BlockCount BlocksToFinish(std::int32_t width,
                                          TokenCount num_prompt_tokens,
                                          std::int64_t end_tokens,
                                          TokenCount num_encoder_tokens) const;
  [[nodiscard]] absl::Status CheckSequencesOf(const LiveRequest& live,
                                              bool runs) const;
  [[nodiscard]] TokenCount ChunkOf(TokenCount lacking, TokenCount budget) const;
  [[nodiscard]] TokenCount ChunkFrom(TokenCount computed, TokenCount all,
                                     TokenCount budget) const;

  void ScheduleRunning();
  [[nodiscard]] bool TryAppend(SequenceId sequence, TokenCount count,
                               std::span<const TokenId> tokens) {
    const absl::StatusOr<bool> granted =
        cache_.TryAppend(sequence, count, tokens);
    PAGEDKV_CHECK(granted.ok());
    return *granted;
  }
  [[nodiscard]] std::optional<std::size_t> TryMakeRoom(
      std::size_t index, SequenceId sequence, TokenCount count,
      std::span<const TokenId> tokens);
  [[nodiscard]] std::optional<std::size_t> TryScheduleGroup(std::size_t index);
  using ScheduleChunk = absl::FunctionRef<bool(
      const SequenceGroup::Member&, TokenCount, std::span<const TokenId>)>;
  bool ForEachChunk(Slot slot, const TokenCount& budget,
                    ScheduleChunk schedule);
  AdmissionBlock ScheduleWaiting();
  [[nodiscard]] SequenceId TryEnter(Slot slot);
  void Leave(LiveRequest& live);
  AdmissionBlock TryAdmit(Slot slot, SequenceId sequence);
  void StartRunning(Slot slot);
  void GatherSequences(const LiveRequest& live);
  [[nodiscard]] bool TrySwapOut(const LiveRequest& live);
  AdmissionBlock TrySwapIn(Slot slot);
  bool ChooseResumedChunks(Slot slot);
  void AddResumedToPlan(Slot slot);
  [[nodiscard]] BlockCount BlocksLacking(const RequestDetails& details,
                                         TokenCount covered) const;
  void AddToPlan(Slot slot, const LiveRequest& live, TokenCount num_computed,
                 TokenCount num_tokens, ScheduledSequence::Kind kind) {
    const bool samples =
        num_computed + num_tokens == TokenCount(live.num_tokens);
    scheduled_.push_back(
        {.request = live.id,
         .sequence = live.sequence,
         .num_computed = static_cast<std::int32_t>(num_computed.value()),
         .num_tokens = static_cast<std::int32_t>(num_tokens.value()),
         .kind = kind,
         .samples = samples,
         .num_samples = samples ? 1 : 0});
    scheduled_slots_.push_back(slot);
  }
  void AddMemberToPlan(Slot slot, const SequenceGroup::Member& member,
                       TokenCount num_computed, TokenCount num_tokens,
                       ScheduledSequence::Kind kind);
  [[nodiscard]] std::size_t EndOfEntries(std::size_t first) const;
  void AddSteps(std::int32_t most, AdmissionBlock block);
  [[nodiscard]] std::optional<BlockCount> FreeBlocksToKeep(
      AdmissionBlock block) const;
  void FillSlotMapping();
  void TakeDeltas();

  [[nodiscard]] std::size_t VictimIndex() const;
  void Preempt(std::size_t running_index, RequestId on_behalf_of,
               BlockCount blocks_needed);
  [[nodiscard]] TokenCount NumComputed(Slot slot) const;
  [[nodiscard]] WaitingEntry EnterQueue(Slot slot);
  void Announce(RequestDetails& details);
  void TakeBackAnnouncement(RequestDetails& details);
  [[nodiscard]] bool IsStale(const WaitingEntry& entry) const;
  void DropStaleFronts();
  void DropStale(WaitingQueue& queue);

  // What the client reported of a step, and how far that was taken in.
  struct Report {
    std::span<const TokenId> sampled;
    std::span<const BeamUpdate> beams;
    std::size_t next_entry = 0;  // of the plan
    std::size_t next_sample = 0;
    std::size_t next_beam = 0;
  };
  [[nodiscard]] absl::Status CheckSampled(
      std::span<const TokenId> sampled) const;
  [[nodiscard]] absl::Status CheckBeams(
      std::span<const BeamUpdate> beams) const;
  Report UpdateGroup(std::size_t first, Report report);
  void UpdateSamples(Slot slot, std::span<const TokenId> sampled);
  void UpdateBeams(Slot slot, std::span<const BeamSurvivor> survivors);
  // Known tokens of a sequence after a step, and whether the last is a stop.
  struct Length {
    std::int32_t num_tokens = 0;
    bool stops = false;
  };
  [[nodiscard]] bool Stops(Slot slot, std::int32_t num_tokens,
                           TokenId last) const;
  [[nodiscard]] Length TakeSampled(Slot slot, SequenceId sequence,
                                   std::vector<TokenId>& tokens,
                                   std::span<const TokenId> sampled);
  void Finish(Slot slot, Length length, std::int32_t sequence_index,
              bool ends_request);
  void End(Slot slot);

  SchedulerOptions options_;
  KvCacheManager& cache_;

  std::vector<LiveRequest> requests_;    // by slot
  std::vector<RequestDetails> details_;  // by slot
  std::vector<Slot> free_slots_;
  std::vector<SequenceGroup> groups_;
  std::vector<std::int32_t> free_groups_;
  absl::flat_hash_map<RequestId, Slot> slot_of_;
  std::vector<Slot> running_;     // in order of admission
  WaitingQueue waiting_;          // with stale entries of aborted requests
  WaitingQueue swapped_;          // likewise; served first
  PrefixMatch match_;             // of the admission under way
  std::int64_t state_alignment_;  // block size of state-space layers; or 0
  DecodeHorizon horizon_;
  std::int32_t num_running_sequences_ = 0;
  std::int32_t num_waiting_ = 0;
  std::int32_t num_needing_samples_ = 0;
  std::int32_t num_beam_searches_ = 0;  // live
  std::uint32_t next_ticket_ = 0;

  // The plan, and what it is made of.
  bool in_flight_ = false;
  TokenCount budget_{0};       // left of the step that is being planned
  TokenCount plan_tokens_{0};  // of one of its steps
  std::int32_t num_steps_ = 1;
  // Where the watermark kept the first that waits out: with fewer free blocks
  // than these it would have been for want of blocks.
  BlockCount blocks_refused_{0};
  std::vector<ScheduledSequence> scheduled_;
  std::vector<Slot> scheduled_slots_;  // of scheduled_, or kAborted
  std::vector<std::vector<std::int64_t>> slot_mapping_;
  std::vector<std::vector<DirtyRange>> dirty_ranges_;      // [groups]
  std::vector<std::span<const DirtyRange>> table_deltas_;  // of dirty_ranges_
  std::vector<BlockSwap> swap_outs_;
  std::vector<BlockSwap> swap_ins_;
  std::vector<BlockCopy> copies_;
  std::vector<FreshBlock> fresh_blocks_;
  std::vector<Preemption> preempted_;
  std::vector<RequestId> plan_ended_;
  std::vector<RequestId> ended_;  // since the plan
  std::vector<FinishedRequest> finished_;
  std::vector<BeamSurvivor> survivors_;  // scratch
  // Scratch: the sequences of a request that is swapped, and how many tokens
  // each computes, and lacks, when it comes back.
  std::vector<SequenceId> swap_sequences_;
  std::vector<TokenCount> swap_counts_;
  std::vector<TokenCount> swap_lacking_;
};

}  // namespace pagedkv

#endif  // SCHEDULER_SCHEDULER_IMPL_H_
