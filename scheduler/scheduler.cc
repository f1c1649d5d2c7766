// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/scheduler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

#include "base/check.h"
#include "scheduler/decode_horizon.h"
#include "scheduler/sequence_group.h"
#include "scheduler/waiting_queue.h"

namespace pagedkv {
namespace {

using Slot = std::int32_t;
constexpr Slot kAborted = -1;

constexpr std::int64_t kMaxTokensPerStep = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequencesPerStep = 1 << 20;
constexpr std::int32_t kMaxGroupWidth =
    std::numeric_limits<std::int16_t>::max();

enum class RequestState : std::uint8_t { kNone, kWaiting, kRunning };

constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
constexpr std::int32_t kNoGroup = -1;

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

absl::Status OutOfRange(const char* option, std::int64_t value,
                        std::int64_t least, std::int64_t most) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is %d; it must be from %d to %d", option, value, least, most));
}

std::int64_t StateAlignment(const KvCacheManager& cache) {
  std::int64_t alignment = 0;
  for (int group = 0; group < cache.num_groups(); ++group) {
    const KvCacheGroupOptions& options = cache.group_options(group);
    if (options.kind == AttentionKind::kStateSpace) {
      alignment = std::lcm(std::max<std::int64_t>(alignment, 1),
                           std::int64_t{options.block_size.value()});
    }
  }
  return alignment;
}

}  // namespace

class Scheduler::Impl {
 public:
  Impl(const SchedulerOptions& options, KvCacheManager& cache)
      : options_(options),
        cache_(cache),
        waiting_(options.policy),
        state_alignment_(StateAlignment(cache)),
        horizon_(cache),
        slot_mapping_(static_cast<std::size_t>(cache.num_groups())),
        dirty_ranges_(static_cast<std::size_t>(cache.num_groups())),
        table_deltas_(static_cast<std::size_t>(cache.num_groups())) {}

  absl::Status Submit(const Request& request);
  absl::Status Abort(RequestId id);
  absl::StatusOr<StepPlan> Schedule(std::int32_t max_steps);
  absl::StatusOr<std::span<const FinishedRequest>> Update(
      std::span<const TokenId> sampled, std::span<const BeamUpdate> beams);

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
  AdmissionBlock ScheduleWaiting();
  [[nodiscard]] SequenceId TryEnter(Slot slot);
  void Leave(LiveRequest& live);
  AdmissionBlock TryAdmit(Slot slot, SequenceId sequence);
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
  void DropStaleFront();

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
  std::vector<BlockCopy> copies_;
  std::vector<Preemption> preempted_;
  std::vector<RequestId> plan_ended_;
  std::vector<RequestId> ended_;  // since the plan
  std::vector<FinishedRequest> finished_;
  std::vector<BeamSurvivor> survivors_;  // scratch
};

absl::Status Scheduler::Impl::Submit(const Request& request) {
  const std::int64_t prompt = request.num_prompt_tokens.value();
  const std::int64_t output = request.max_output_tokens.value();
  const std::int64_t max_tokens = cache_.max_sequence_tokens().value();
  if (prompt < 1 || prompt >= max_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d has a prompt of %d tokens; it must be from 1 to %d, one "
        "less than max_sequence_tokens",
        request.id.value(), prompt, max_tokens - 1));
  }
  if (output < 1 || request.min_output_tokens.value() < 0 ||
      request.min_output_tokens.value() > output) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d wants %d to %d output tokens; the least must be 0 or more, "
        "the most at least that and 1",
        request.id.value(), request.min_output_tokens.value(), output));
  }
  if (!request.prompt_tokens.empty() &&
      std::cmp_not_equal(request.prompt_tokens.size(), prompt)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d has a prompt of %d tokens, and %d prompt_tokens",
        request.id.value(), prompt, request.prompt_tokens.size()));
  }
  absl::Status status = CheckSequences(request);
  if (status.ok()) status = cache_.CheckSequence(request.sequence);
  if (!status.ok()) return status;
  if (slot_of_.contains(request.id)) {
    return absl::AlreadyExistsError(
        absl::StrFormat("request %d is live already", request.id.value()));
  }
  const std::int64_t end = prompt + std::min(output, max_tokens - prompt);
  // The last token that is sampled is never computed.
  const std::int32_t width = std::max(request.num_samples, request.beam_width);
  const BlockCount needed = cache_.BlocksForForks(
      width, request.num_prompt_tokens, TokenCount(end - 1),
      request.sequence.num_encoder_tokens);
  const BlockCount usable = cache_.pool().num_blocks() - BlockCount(1);
  if (needed > usable) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "request %d can never finish: %d prompt and %d output tokens%s need %d "
        "blocks, the pool has %d",
        request.id.value(), prompt, end - prompt,
        width > 1 ? absl::StrFormat(" for each of %d sequences", width) : "",
        needed.value(), usable.value()));
  }

  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<Slot>(requests_.size()));
    requests_.emplace_back();
    details_.emplace_back();
  }
  const Slot slot = free_slots_.back();
  free_slots_.pop_back();
  LiveRequest& live = this->request(slot);
  live = {.id = request.id,
          .num_tokens = static_cast<std::int32_t>(prompt),
          .end_tokens = static_cast<std::int32_t>(end)};
  if (request.num_samples > 1 || request.beam_width > 0) {
    if (free_groups_.empty()) {
      free_groups_.push_back(static_cast<std::int32_t>(groups_.size()));
      groups_.emplace_back(request);
    } else {
      groups_[static_cast<std::size_t>(free_groups_.back())] =
          SequenceGroup(request);
    }
    live.group = free_groups_.back();
    free_groups_.pop_back();
  }
  if (!request.stop_tokens.empty()) {
    live.stop_from = static_cast<std::int32_t>(
        prompt + std::max<std::int64_t>(request.min_output_tokens.value(), 1));
  }
  live.needs_samples =
      request.beam_width == 0 &&
      (!request.stop_tokens.empty() || !request.prompt_tokens.empty());
  num_beam_searches_ += request.beam_width > 0 ? 1 : 0;
  num_needing_samples_ += live.needs_samples ? 1 : 0;
  RequestDetails& details = this->details(slot);
  details.num_prompt_tokens = live.num_tokens;
  details.tokens.assign(request.prompt_tokens.begin(),
                        request.prompt_tokens.end());
  details.sequence = request.sequence;
  details.sequence.num_prompt_tokens = request.num_prompt_tokens;
  details.sequence.tag = request.id.value();
  details.priority = request.priority;
  details.arrival = request.arrival;
  details.stop_tokens.assign(request.stop_tokens.begin(),
                             request.stop_tokens.end());
  slot_of_.emplace(request.id, slot);
  waiting_.PushBack(EnterQueue(slot));
  return absl::OkStatus();
}

absl::Status Scheduler::Impl::CheckSequences(const Request& request) const {
  const bool is_beam = request.beam_width != 0;
  if (request.num_samples == 1 && !is_beam) return absl::OkStatus();
  const std::int64_t most = std::min<std::int64_t>(
      {kMaxGroupWidth, options_.max_num_seqs, cache_.max_sequences(),
       options_.max_num_batched_tokens.value()});
  if (request.num_samples < 1 || request.num_samples > most ||
      request.beam_width < 0 || request.beam_width > most) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d wants %d samples and beams of width %d; they must be from "
        "1 and from 0 to %d, the least of max_num_seqs, max_num_batched_tokens "
        "and the manager's max_sequences",
        request.id.value(), request.num_samples, request.beam_width, most));
  }
  if (is_beam && (request.num_samples > 1 || !request.stop_tokens.empty())) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d has a beam_width, and %s: the client says which beams go "
        "on, so it must have neither num_samples nor stop_tokens",
        request.id.value(),
        request.num_samples > 1 ? "num_samples" : "stop_tokens"));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::Impl::Abort(RequestId id) {
  const auto found = slot_of_.find(id);
  if (found == slot_of_.end()) {
    return absl::NotFoundError(
        absl::StrFormat("request %d is not live", id.value()));
  }
  const Slot slot = found->second;
  if (request(slot).state == RequestState::kWaiting) {
    --num_waiting_;  // its entry in the queue is stale from here on
    request(slot).state = RequestState::kNone;
    TakeBackAnnouncement(details(slot));
    if (waiting_.size() > 2 * static_cast<std::size_t>(num_waiting_) + 64) {
      waiting_.EraseIf(
          [this](const WaitingEntry& entry) { return IsStale(entry); });
    }
  } else {
    running_.erase(std::find(running_.begin(), running_.end(), slot));
    std::replace(scheduled_slots_.begin(), scheduled_slots_.end(), slot,
                 kAborted);
  }
  End(slot);
  return absl::OkStatus();
}

absl::StatusOr<StepPlan> Scheduler::Impl::Schedule(std::int32_t max_steps) {
  if (max_steps < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_steps is %d; it must be at least 1", max_steps));
  }
  if (in_flight_) {
    return absl::FailedPreconditionError(
        "the last plan was not reported: call Update before Schedule");
  }
  scheduled_.clear();
  scheduled_slots_.clear();
  preempted_.clear();
  plan_ended_.swap(ended_);
  ended_.clear();

  budget_ = options_.max_num_batched_tokens;
  ScheduleRunning();
  const AdmissionBlock block = ScheduleWaiting();
  plan_tokens_ = options_.max_num_batched_tokens - budget_;
  num_steps_ = 1;
  if (max_steps > 1) AddSteps(max_steps - 1, block);
  if (options_.fill_slot_mapping) FillSlotMapping();
  TakeDeltas();
  in_flight_ = true;
  return StepPlan{.num_steps = num_steps_,
                  .scheduled = scheduled_,
                  .num_tokens = plan_tokens_,
                  .slot_mapping = slot_mapping_,
                  .table_deltas = table_deltas_,
                  .copies = copies_,
                  .preempted = preempted_,
                  .ended = plan_ended_,
                  .admission_block = block};
}

TokenCount Scheduler::Impl::ChunkOf(TokenCount lacking,
                                    TokenCount budget) const {
  const TokenCount threshold = options_.long_prefill_token_threshold;
  if (threshold > TokenCount(0)) lacking = std::min(lacking, threshold);
  return std::min(lacking, budget);
}

// The next chunk of a sequence of `all` tokens. With state-space layers it ends
// at a multiple of their block size, so that the state there can be shared.
TokenCount Scheduler::Impl::ChunkFrom(TokenCount computed, TokenCount all,
                                      TokenCount budget) const {
  const TokenCount count = ChunkOf(all - computed, budget);
  if (state_alignment_ == 0 || computed + count == all) return count;
  const TokenCount end((computed + count).value() / state_alignment_ *
                       state_alignment_);
  return end > computed ? end - computed : count;
}

void Scheduler::Impl::ScheduleRunning() {
  TokenCount budget = budget_;
  for (std::size_t i = 0; i < running_.size() && budget > TokenCount(0); ++i) {
    const Slot slot = running_[i];
    const LiveRequest& live = request(slot);
    if (IsGroup(live)) {
      budget_ = budget;
      const std::optional<std::size_t> place = TryScheduleGroup(i);
      if (!place.has_value()) return;
      i = *place;
      budget = budget_;
      continue;
    }
    const TokenCount computed = cache_.num_tokens(live.sequence);
    const TokenCount all(live.num_tokens);
    const TokenCount count = all - computed == TokenCount(1)
                                 ? TokenCount(1)
                                 : ChunkFrom(computed, all, budget);
    // Most steps of most requests do not look at their details.
    std::span<const TokenId> tokens;
    if (live.needs_samples) tokens = details(slot).tokens;
    if (!TryAppend(live.sequence, count, tokens)) {
      budget_ = budget;
      const std::optional<std::size_t> place =
          TryMakeRoom(i, live.sequence, count, tokens);
      if (!place.has_value()) return;
      i = *place;
      budget = budget_;
    }
    budget -= count;
    AddToPlan(slot, live, computed, count, ScheduledSequence::Kind::kRunning);
  }
  budget_ = budget;
}

// Preempts requests for the one at `index`, until there are blocks for what its
// sequence appends. Returns where the request runs then; nullopt if it had to
// give way itself.
std::optional<std::size_t> Scheduler::Impl::TryMakeRoom(
    std::size_t index, SequenceId sequence, TokenCount count,
    std::span<const TokenId> tokens) {
  do {
    const std::size_t victim = VictimIndex();
    const BlockCount needed =
        cache_.BlocksToCover(sequence, cache_.num_tokens(sequence) + count);
    Preempt(victim, request(running_[index]).id, needed);
    if (victim == index) return std::nullopt;
    if (victim < index) --index;
  } while (!TryAppend(sequence, count, tokens));
  return index;
}

// The next tokens of the prompt of the group at `index`, or of each of its
// sequences. Returns as `TryMakeRoom`.
std::optional<std::size_t> Scheduler::Impl::TryScheduleGroup(
    std::size_t index) {
  const Slot slot = running_[index];
  const LiveRequest& live = request(slot);
  const SequenceGroup& group = this->group(live);
  const auto schedule = [&](const SequenceGroup::Member& member,
                            TokenCount count, std::span<const TokenId> tokens) {
    const TokenCount computed = cache_.num_tokens(member.sequence);
    if (!TryAppend(member.sequence, count, tokens)) {
      const std::optional<std::size_t> place =
          TryMakeRoom(index, member.sequence, count, tokens);
      if (!place.has_value()) return false;
      index = *place;
    }
    budget_ -= count;
    AddMemberToPlan(slot, member, computed, count,
                    ScheduledSequence::Kind::kRunning);
    return true;
  };
  if (!group.has_spread()) {
    const SequenceGroup::Member& first = group.members().front();
    const TokenCount count =
        ChunkFrom(cache_.num_tokens(first.sequence),
                  TokenCount(details(slot).num_prompt_tokens), budget_);
    if (!schedule(first, count, details(slot).tokens)) return std::nullopt;
    return index;
  }
  // They sample together or not at all. Else each goes up to its last token.
  const TokenCount all(live.num_tokens);
  TokenCount lacking(0);
  bool is_cut = false;
  for (const SequenceGroup::Member& member : group.members()) {
    const TokenCount missing = all - cache_.num_tokens(member.sequence);
    lacking += missing;
    is_cut |= ChunkOf(missing, missing) < missing;
  }
  const bool samples = lacking <= budget_ && !is_cut;
  const TokenCount end = samples ? all : all - TokenCount(1);
  for (const SequenceGroup::Member& member : group.members()) {
    const TokenCount computed = cache_.num_tokens(member.sequence);
    if (computed == end) continue;
    const TokenCount whole = ChunkFrom(computed, end, end - computed);
    if (budget_ == TokenCount(0) ||
        (!options_.chunked_prefill && whole > budget_)) {
      break;
    }
    const TokenCount count =
        samples ? end - computed : ChunkFrom(computed, end, budget_);
    if (!schedule(member, count, member.tokens)) return std::nullopt;
  }
  return index;
}

void Scheduler::Impl::AddMemberToPlan(Slot slot,
                                      const SequenceGroup::Member& member,
                                      TokenCount num_computed,
                                      TokenCount num_tokens,
                                      ScheduledSequence::Kind kind) {
  AddToPlan(slot, request(slot), num_computed, num_tokens, kind);
  ScheduledSequence& entry = scheduled_.back();
  entry.sequence = member.sequence;
  entry.sequence_index = static_cast<std::int16_t>(member.index);
  const SequenceGroup& group = this->group(request(slot));
  if (group.is_beam()) {
    entry.num_samples = 0;
  } else if (entry.samples && !group.has_branched()) {
    entry.num_samples = group.width();
  }
}

AdmissionBlock Scheduler::Impl::ScheduleWaiting() {
  for (DropStaleFront(); !waiting_.empty(); DropStaleFront()) {
    if (!preempted_.empty()) return AdmissionBlock::kPreempted;
    if (budget_ == TokenCount(0)) return AdmissionBlock::kTokenBudget;
    const Slot slot = waiting_.front().slot;
    LiveRequest& live = request(slot);
    if (num_running_sequences_ + NumPlaces(live) > options_.max_num_seqs) {
      return AdmissionBlock::kSequences;
    }
    const SequenceId sequence = TryEnter(slot);
    if (sequence == SequenceId()) return AdmissionBlock::kSequences;
    const AdmissionBlock block = TryAdmit(slot, sequence);
    if (block != AdmissionBlock::kNone) {
      Leave(live);
      return block;
    }
    const TokenCount count = cache_.num_tokens(sequence) - match_.num_tokens;
    waiting_.PopFront();
    --num_waiting_;
    TakeBackAnnouncement(details(slot));
    live.state = RequestState::kRunning;
    num_running_sequences_ += NumPlaces(live);
    running_.push_back(slot);
    budget_ -= count;
    const auto kind = live.was_preempted ? ScheduledSequence::Kind::kResumed
                                         : ScheduledSequence::Kind::kNew;
    if (IsGroup(live)) {
      AddMemberToPlan(slot, group(live).members().front(), match_.num_tokens,
                      count, kind);
    } else {
      AddToPlan(slot, live, match_.num_tokens, count, kind);
    }
  }
  return AdmissionBlock::kNone;
}

// An empty sequence for the request, and what else of the cache's rows it will
// need; the default id if there are too few.
SequenceId Scheduler::Impl::TryEnter(Slot slot) {
  LiveRequest& live = request(slot);
  const SequenceOptions& options = details(slot).sequence;
  if (IsGroup(live)) {
    SequenceGroup& group = this->group(live);
    return group.TryEnter(cache_, options) ? group.members().front().sequence
                                           : SequenceId();
  }
  const absl::StatusOr<SequenceId> added = cache_.AddSequence(options);
  if (added.ok()) live.sequence = *added;
  return added.ok() ? *added : SequenceId();
}

// Gives back all that the request has in the cache.
void Scheduler::Impl::Leave(LiveRequest& live) {
  if (IsGroup(live)) {
    group(live).Leave(cache_);
    return;
  }
  PAGEDKV_CHECK(cache_.Release(live.sequence).ok());
  live.sequence = SequenceId();
}

// Gives the empty sequence what the cache has of it, which `match_` then says,
// and blocks for its first chunk; or says what is in the way. The first of a
// group's sequences only computes the prompt.
AdmissionBlock Scheduler::Impl::TryAdmit(Slot slot, SequenceId sequence) {
  const LiveRequest& live = request(slot);
  const RequestDetails& details = this->details(slot);
  const TokenCount all(IsGroup(live) ? details.num_prompt_tokens
                                     : live.num_tokens);
  match_.num_tokens = TokenCount(0);
  if (!details.tokens.empty()) {
    PAGEDKV_CHECK(cache_.Match(sequence, details.tokens, match_).ok());
  }
  const TokenCount lacking = all - match_.num_tokens;
  if (!options_.chunked_prefill && ChunkOf(lacking, lacking) > budget_) {
    return AdmissionBlock::kTokenBudget;
  }
  const TokenCount must_fit =
      options_.reserve_full_prompt ? all : TokenCount(0);
  const TokenCount count = ChunkFrom(match_.num_tokens, all, budget_);
  blocks_refused_ = BlockCount(0);
  if (IsGroup(live) && options_.reserve_full_prompt) {
    // What its sequences had before they were preempted, too.
    const TokenCount encoder = details.sequence.num_encoder_tokens;
    const BlockCount needed =
        BlocksLacking(details, all) - cache_.BlocksFor(all, encoder) +
        cache_.BlocksForForks(
            static_cast<std::int32_t>(group(live).members().size()), all,
            TokenCount(live.num_tokens), encoder);
    blocks_refused_ = needed;
    const BlockCount free = cache_.pool().num_free();
    if (needed > free) return AdmissionBlock::kBlocks;
    if (!running_.empty() && needed + cache_.pool().watermark_blocks() > free) {
      return AdmissionBlock::kWatermark;
    }
  }
  const absl::StatusOr<bool> granted =
      cache_.TryAppend(sequence, count,
                       {.must_fit = must_fit,
                        .keep_watermark = !running_.empty(),
                        .tokens = details.tokens,
                        .match = details.tokens.empty() ? nullptr : &match_});
  PAGEDKV_CHECK(granted.ok());
  if (*granted) return AdmissionBlock::kNone;
  const BlockCount lacking_blocks =
      BlocksLacking(details, std::max(must_fit, match_.num_tokens + count));
  blocks_refused_ = std::max(blocks_refused_, lacking_blocks);
  return lacking_blocks > cache_.pool().num_free() ? AdmissionBlock::kBlocks
                                                   : AdmissionBlock::kWatermark;
}

// Free blocks that it takes to admit `covered` tokens after `match_`, whose
// blocks are free themselves where nobody uses them.
BlockCount Scheduler::Impl::BlocksLacking(const RequestDetails& details,
                                          TokenCount covered) const {
  BlockCount lacking =
      cache_.BlocksFor(covered, details.sequence.num_encoder_tokens);
  if (match_.num_tokens == TokenCount(0)) return lacking;
  for (const std::vector<BlockId>& hit : match_.blocks) {
    lacking -=
        BlockCount(std::count_if(hit.begin(), hit.end(), [this](BlockId block) {
          return block == kNullBlock || cache_.pool().ref_count(block) > 0;
        }));
  }
  return lacking;
}

// Lets the plan go on for up to `most` steps more, as far as nothing else would
// happen in them. The first step is planned, and what it says holds for all.
void Scheduler::Impl::AddSteps(std::int32_t most, AdmissionBlock block) {
  if (!preempted_.empty() ||
      std::cmp_not_equal(scheduled_.size(), num_running_sequences_) ||
      plan_tokens_ != TokenCount(num_running_sequences_)) {
    return;
  }
  const std::optional<BlockCount> reserve = FreeBlocksToKeep(block);
  if (!reserve.has_value()) return;
  for (std::size_t i = 0; i < scheduled_.size(); ++i) {
    const ScheduledSequence& entry = scheduled_[i];
    if (entry.kind != ScheduledSequence::Kind::kRunning ||
        entry.num_samples != 1) {
      return;
    }
    const LiveRequest& live = request(scheduled_slots_[i]);
    most = std::min(most, live.end_tokens - live.num_tokens - 1);
  }
  if (most <= 0 || scheduled_.empty()) return;
  horizon_.Reset(most);
  for (const ScheduledSequence& entry : scheduled_) {
    horizon_.Add(entry.sequence);
  }
  const std::int32_t steps = horizon_.NumSteps(*reserve);
  if (steps == 0) return;
  for (const ScheduledSequence& entry : scheduled_) {
    PAGEDKV_CHECK(TryAppend(entry.sequence, TokenCount(steps), {}));
  }
  num_steps_ += steps;
}

// How many free blocks further steps must leave so that the first that waits is
// not admitted for the same cause as in this one, while nobody finishes;
// nullopt if that cannot be said.
std::optional<BlockCount> Scheduler::Impl::FreeBlocksToKeep(
    AdmissionBlock block) const {
  const bool may_find = !waiting_.empty() && cache_.pool().prefix_caching() &&
                        !details(waiting_.front().slot).tokens.empty();
  switch (block) {
    case AdmissionBlock::kNone:
    case AdmissionBlock::kSequences:
      return BlockCount(0);
    case AdmissionBlock::kTokenBudget:
      if (may_find && budget_ > TokenCount(0)) return std::nullopt;
      return BlockCount(0);
    case AdmissionBlock::kBlocks:
      if (may_find) return std::nullopt;
      return BlockCount(0);
    case AdmissionBlock::kWatermark:
      if (may_find) return std::nullopt;
      return blocks_refused_;
    case AdmissionBlock::kPreempted:
      break;
  }
  return std::nullopt;
}

void Scheduler::Impl::FillSlotMapping() {
  for (int group = 0; group < cache_.num_groups(); ++group) {
    std::vector<std::int64_t>& slots =
        slot_mapping_[static_cast<std::size_t>(group)];
    if (cache_.group_options(group).kind == AttentionKind::kCross) continue;
    slots.resize(static_cast<std::size_t>(plan_tokens_.value() * num_steps_));
    if (num_steps_ > 1) {
      const std::size_t stride = scheduled_.size();
      for (std::size_t i = 0; i < stride; ++i) {
        const ScheduledSequence& entry = scheduled_[i];
        std::size_t next = i;
        for (std::int32_t step = 0; step < num_steps_; ++step, next += stride) {
          slots[next] =
              cache_.Slot(entry.sequence, entry.num_computed + step, group);
        }
      }
      continue;
    }
    std::int64_t* next = slots.data();
    for (const ScheduledSequence& entry : scheduled_) {
      if (entry.num_tokens == 1) {
        *next++ = cache_.Slot(entry.sequence, entry.num_computed, group);
        continue;
      }
      const auto count = static_cast<std::size_t>(entry.num_tokens);
      cache_.FillSlotMapping(entry.sequence, entry.num_computed, {next, count},
                             group);
      next += count;
    }
  }
}

// Takes over what the engine has to upload and copy, so that what changes while
// the plan is in flight (an abort, a fork by the client) comes with the next.
void Scheduler::Impl::TakeDeltas() {
  for (std::size_t group = 0; group < dirty_ranges_.size(); ++group) {
    const std::span<const DirtyRange> dirty =
        cache_.tables(static_cast<int>(group)).dirty_ranges();
    dirty_ranges_[group].assign(dirty.begin(), dirty.end());
    table_deltas_[group] = dirty_ranges_[group];
  }
  copies_.assign(cache_.copies().begin(), cache_.copies().end());
  cache_.ClearDirty();
  cache_.ClearCopies();
}

// The last admitted, or the least important; among equals the first admitted.
std::size_t Scheduler::Impl::VictimIndex() const {
  if (options_.policy == SchedulingPolicy::kFcfs) return running_.size() - 1;
  const auto less_important = [this](Slot a, Slot b) {
    return std::pair(details(a).priority, details(a).arrival) <
           std::pair(details(b).priority, details(b).arrival);
  };
  return static_cast<std::size_t>(
      std::max_element(running_.begin(), running_.end(), less_important) -
      running_.begin());
}

void Scheduler::Impl::Preempt(std::size_t running_index, RequestId on_behalf_of,
                              BlockCount blocks_needed) {
  const Slot slot = running_[running_index];
  LiveRequest& live = request(slot);
  const BlockCount blocks_free = cache_.pool().num_free();
  TokenCount lost = NumComputed(slot);
  // What was planned of it earlier in this step is not computed, and never will
  // be: nobody may find it.
  const auto planned =
      std::find(scheduled_slots_.begin(), scheduled_slots_.end(), slot);
  if (planned != scheduled_slots_.end()) {
    const auto first =
        static_cast<std::size_t>(planned - scheduled_slots_.begin());
    const std::size_t end = EndOfEntries(first);
    for (std::size_t i = first; i < end; ++i) {
      const ScheduledSequence& entry = scheduled_[i];
      budget_ += TokenCount(entry.num_tokens);
      lost -= TokenCount(entry.num_tokens);
      if (cache_.vllm_compatible()) continue;
      PAGEDKV_CHECK(
          cache_.Retract(entry.sequence, TokenCount(entry.num_computed)).ok());
    }
    const auto from = static_cast<std::ptrdiff_t>(first);
    const auto to = static_cast<std::ptrdiff_t>(end);
    scheduled_.erase(scheduled_.begin() + from, scheduled_.begin() + to);
    scheduled_slots_.erase(scheduled_slots_.begin() + from,
                           scheduled_slots_.begin() + to);
  }
  preempted_.push_back({.request = live.id,
                        .on_behalf_of = on_behalf_of,
                        .blocks_needed = blocks_needed,
                        .blocks_free = blocks_free,
                        .tokens_lost = lost});
  Leave(live);
  live.was_preempted = true;
  num_running_sequences_ -= NumPlaces(live);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_index));
  waiting_.PushFront(EnterQueue(slot));
}

// Behind the entries of the plan that are of the same request as the first.
std::size_t Scheduler::Impl::EndOfEntries(std::size_t first) const {
  std::size_t end = first + 1;
  while (end < scheduled_.size() &&
         scheduled_[end].request == scheduled_[first].request) {
    ++end;
  }
  return end;
}

TokenCount Scheduler::Impl::NumComputed(Slot slot) const {
  const LiveRequest& live = request(slot);
  if (!IsGroup(live)) return cache_.num_tokens(live.sequence);
  return group(live).NumComputed(cache_,
                                 TokenCount(details(slot).num_prompt_tokens));
}

WaitingEntry Scheduler::Impl::EnterQueue(Slot slot) {
  LiveRequest& live = request(slot);
  live.state = RequestState::kWaiting;
  live.ticket = next_ticket_++;
  ++num_waiting_;
  if (options_.announce_waiting) Announce(details(slot));
  return {.priority = details(slot).priority,
          .arrival = details(slot).arrival,
          .id = live.id,
          .slot = slot,
          .ticket = live.ticket};
}

void Scheduler::Impl::Announce(RequestDetails& details) {
  cache_.Match(details.tokens, details.sequence.keys, match_);
  for (const std::vector<BlockId>& hit : match_.blocks) {
    details.announced.insert(details.announced.end(), hit.begin(), hit.end());
  }
  cache_.Expect(details.announced, true);
}

void Scheduler::Impl::TakeBackAnnouncement(RequestDetails& details) {
  cache_.Expect(details.announced, false);
  details.announced.clear();
}

bool Scheduler::Impl::IsStale(const WaitingEntry& entry) const {
  const LiveRequest& live = request(entry.slot);
  return live.state != RequestState::kWaiting || live.ticket != entry.ticket;
}

void Scheduler::Impl::DropStaleFront() {
  while (!waiting_.empty() && IsStale(waiting_.front())) waiting_.PopFront();
}

absl::Status Scheduler::Impl::CheckSampled(
    std::span<const TokenId> sampled) const {
  if (sampled.empty() && num_needing_samples_ == 0) return absl::OkStatus();
  std::int64_t samples = 0;
  for (const ScheduledSequence& entry : scheduled_) {
    samples += std::int64_t{entry.num_samples} * num_steps_;
  }
  if (std::cmp_equal(sampled.size(), samples)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%d tokens were reported, the plan samples %d", sampled.size(), samples));
}

absl::Status Scheduler::Impl::CheckBeams(
    std::span<const BeamUpdate> beams) const {
  std::size_t next = 0;
  for (std::size_t i = 0; i < scheduled_.size();) {
    const std::size_t first = i;
    if (!scheduled_[first].samples || scheduled_[first].num_samples > 0) {
      ++i;
      continue;
    }
    i = EndOfEntries(first);
    const std::uint64_t id = scheduled_[first].request.value();
    if (next == beams.size() || beams[next].request.value() != id) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the plan samples the beams of request %d, and beams[%d] has %s", id,
          next,
          next == beams.size()
              ? "nothing"
              : absl::StrFormat("request %d", beams[next].request.value())));
    }
    const std::span<const BeamSurvivor> survivors = beams[next++].survivors;
    if (scheduled_slots_[first] == kAborted) continue;
    const std::int32_t width = group(request(scheduled_slots_[first])).width();
    if (std::cmp_greater(survivors.size(), width)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("request %d has %d survivors; its beam_width is %d",
                          id, survivors.size(), width));
    }
    for (const BeamSurvivor& survivor : survivors) {
      if (survivor.parent >= 0 && std::cmp_less(survivor.parent, i - first)) {
        continue;
      }
      return absl::InvalidArgumentError(absl::StrFormat(
          "a survivor of request %d has the parent %d; it has the sequences 0 "
          "to %d",
          id, survivor.parent, i - first - 1));
    }
  }
  if (next == beams.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("beams has %d entries, the plan samples %d beam searches",
                      beams.size(), next));
}

absl::StatusOr<std::span<const FinishedRequest>> Scheduler::Impl::Update(
    std::span<const TokenId> sampled, std::span<const BeamUpdate> beams) {
  if (!in_flight_) {
    return absl::FailedPreconditionError(
        "there is no plan to report: call Schedule before Update");
  }
  absl::Status status = CheckSampled(sampled);
  if (status.ok() && (num_beam_searches_ > 0 || !beams.empty())) {
    status = CheckBeams(beams);
  }
  if (!status.ok()) return status;

  in_flight_ = false;
  finished_.clear();
  Report report{.sampled = sampled, .beams = beams};
  const auto steps = static_cast<std::size_t>(num_steps_);
  for (std::size_t i = 0; i < scheduled_.size();) {
    const Slot slot = scheduled_slots_[i];
    if (slot == kAborted || IsGroup(request(slot))) {
      // By value, so that the loop has nothing in memory that a call may
      // change.
      report = UpdateGroup(i, report);
      i = report.next_entry;
      continue;
    }
    if (!scheduled_[i++].samples) continue;
    const std::size_t sample = report.next_sample;
    report.next_sample += steps;
    LiveRequest& live = request(slot);
    Length length{.num_tokens = live.num_tokens + num_steps_};
    if (live.needs_samples) {
      length = TakeSampled(slot, live.sequence, details(slot).tokens,
                           sampled.subspan(sample, steps));
    }
    live.num_tokens = length.num_tokens;
    if (length.stops || live.num_tokens == live.end_tokens) {
      Finish(slot, length, /*sequence_index=*/0, /*ends_request=*/true);
    }
  }
  if (!finished_.empty()) {
    std::erase_if(running_, [this](Slot slot) {
      return request(slot).state != RequestState::kRunning;
    });
  }
  return finished_;
}

// Takes what was reported for the entries of one request from `first` on: of a
// group, or of a request that was aborted since. Returns what is left.
Scheduler::Impl::Report Scheduler::Impl::UpdateGroup(std::size_t first,
                                                     Report report) {
  const ScheduledSequence& entry = scheduled_[first];
  const Slot slot = scheduled_slots_[first];
  std::size_t samples = 0;
  report.next_entry = EndOfEntries(first);
  for (std::size_t i = first; i < report.next_entry; ++i) {
    samples += static_cast<std::size_t>(scheduled_[i].num_samples) *
               static_cast<std::size_t>(num_steps_);
  }
  std::span<const TokenId> sampled;
  if (!report.sampled.empty()) {
    sampled = report.sampled.subspan(report.next_sample, samples);
  }
  report.next_sample += samples;
  std::span<const BeamSurvivor> survivors;
  if (entry.samples && samples == 0 && report.next_beam < report.beams.size()) {
    survivors = report.beams[report.next_beam++].survivors;
  }
  if (slot == kAborted) return report;

  SequenceGroup& group = this->group(request(slot));
  if (!entry.samples) {
    const TokenCount prompt(details(slot).num_prompt_tokens);
    if (!group.has_spread() && NumComputed(slot) == prompt) {
      group.Spread(cache_, details(slot).sequence, prompt, match_);
    }
  } else if (group.is_beam()) {
    UpdateBeams(slot, survivors);
  } else {
    UpdateSamples(slot, sampled);
  }
  return report;
}

bool Scheduler::Impl::Stops(Slot slot, std::int32_t num_tokens,
                            TokenId last) const {
  return num_tokens >= request(slot).stop_from && details(slot).IsStop(last);
}

// Takes in what was sampled for one sequence of a request that wants to know,
// in one step or several. `tokens` are all that are known of it, or none.
Scheduler::Impl::Length Scheduler::Impl::TakeSampled(
    Slot slot, SequenceId sequence, std::vector<TokenId>& tokens,
    std::span<const TokenId> sampled) {
  const bool knows_tokens = !tokens.empty();
  Length length{.num_tokens = request(slot).num_tokens};
  for (TokenId token : sampled) {
    ++length.num_tokens;
    if (knows_tokens) tokens.push_back(token);
    length.stops = Stops(slot, length.num_tokens, token);
    if (length.stops) break;
  }
  if (num_steps_ > 1 && knows_tokens && cache_.pool().prefix_caching()) {
    // What the steps have filled can be shared only from here on; what lies
    // behind a stop token is none of the sequence's.
    if (length.stops) {
      const TokenCount computed(length.num_tokens - 1);
      PAGEDKV_CHECK(cache_.Truncate(sequence, computed).ok());
    }
    const absl::StatusOr<bool> indexed = cache_.TryAppend(
        sequence, TokenCount(0), AppendOptions{.tokens = tokens});
    PAGEDKV_CHECK(indexed.ok() && *indexed);
  }
  return length;
}

void Scheduler::Impl::UpdateSamples(Slot slot,
                                    std::span<const TokenId> sampled) {
  LiveRequest& live = request(slot);
  SequenceGroup& group = this->group(live);
  const bool branches = !group.has_branched();
  if (branches) {
    survivors_.clear();
    for (std::size_t i = 0; std::cmp_less(i, group.width()); ++i) {
      survivors_.push_back({0, sampled.empty() ? TokenId(0) : sampled[i]});
    }
    group.Branch(cache_, survivors_);
  }
  const auto steps = static_cast<std::size_t>(num_steps_);
  const std::int32_t next_tokens = live.num_tokens + num_steps_;
  const std::size_t count = group.members().size();
  std::size_t position = 0;
  for (std::size_t i = 0; i < count; ++i) {
    SequenceGroup::Member& member = group.members()[position];
    Length length{.num_tokens = next_tokens};
    if (live.needs_samples && branches) {
      length.stops = Stops(slot, next_tokens, sampled[i]);
    } else if (live.needs_samples) {
      length = TakeSampled(slot, member.sequence, member.tokens,
                           sampled.subspan(i * steps, steps));
    }
    if (!length.stops && next_tokens != live.end_tokens) {
      ++position;
      continue;
    }
    const bool is_last = group.members().size() == 1;
    Finish(slot, length, member.index, /*ends_request=*/is_last);
    if (is_last) return;
    group.EndMember(cache_, position);
    --num_running_sequences_;
  }
  live.num_tokens = next_tokens;
}

void Scheduler::Impl::UpdateBeams(Slot slot,
                                  std::span<const BeamSurvivor> survivors) {
  LiveRequest& live = request(slot);
  ++live.num_tokens;
  if (survivors.empty() || live.num_tokens == live.end_tokens) {
    Finish(slot, {.num_tokens = live.num_tokens, .stops = survivors.empty()},
           /*sequence_index=*/0, /*ends_request=*/true);
    return;
  }
  group(live).Branch(cache_, survivors);
}

void Scheduler::Impl::Finish(Slot slot, Length length,
                             std::int32_t sequence_index, bool ends_request) {
  finished_.push_back(
      {.id = request(slot).id,
       .reason = length.stops ? FinishReason::kStop : FinishReason::kLength,
       .num_output_tokens =
           TokenCount(length.num_tokens - details(slot).num_prompt_tokens),
       .sequence_index = sequence_index,
       .ends_request = ends_request});
  if (ends_request) End(slot);
}

// Gives back all that the request holds. The queues are the caller's business.
void Scheduler::Impl::End(Slot slot) {
  LiveRequest& live = request(slot);
  if (live.state == RequestState::kRunning) {
    num_running_sequences_ -= NumPlaces(live);
    Leave(live);
  }
  if (IsGroup(live)) {
    num_beam_searches_ -= group(live).is_beam() ? 1 : 0;
    free_groups_.push_back(live.group);
    live.group = kNoGroup;
  }
  live.state = RequestState::kNone;
  num_needing_samples_ -= live.needs_samples ? 1 : 0;
  slot_of_.erase(live.id);
  ended_.push_back(live.id);
  free_slots_.push_back(slot);
}

std::optional<SequenceId> Scheduler::Impl::SequenceOf(
    RequestId id, std::int32_t sequence_index) const {
  const auto found = slot_of_.find(id);
  if (found == slot_of_.end()) return std::nullopt;
  const LiveRequest& live = request(found->second);
  if (live.state != RequestState::kRunning) return std::nullopt;
  if (!IsGroup(live)) {
    return sequence_index == 0 ? std::optional(live.sequence) : std::nullopt;
  }
  for (const SequenceGroup::Member& member : group(live).members()) {
    if (member.index == sequence_index && member.sequence != SequenceId()) {
      return member.sequence;
    }
  }
  return std::nullopt;
}

std::vector<RequestId> Scheduler::Impl::Running() const {
  std::vector<RequestId> ids;
  ids.reserve(running_.size());
  for (Slot slot : running_) ids.push_back(request(slot).id);
  return ids;
}

std::vector<RequestId> Scheduler::Impl::Waiting() const {
  std::vector<RequestId> ids;
  ids.reserve(static_cast<std::size_t>(num_waiting_));
  for (const WaitingEntry& entry : waiting_.InOrder()) {
    if (!IsStale(entry)) ids.push_back(entry.id);
  }
  return ids;
}

absl::Status Scheduler::Impl::CheckInvariants() const {
  if (absl::Status status = cache_.CheckInvariants(); !status.ok()) {
    return status;
  }
  if (std::cmp_not_equal(Waiting().size(), num_waiting_) ||
      running_.size() + static_cast<std::size_t>(num_waiting_) !=
          slot_of_.size() ||
      slot_of_.size() + free_slots_.size() != requests_.size()) {
    return absl::InternalError(absl::StrFormat(
        "%d requests run, %d wait (%d in the queue), %d are live, %d slots of "
        "%d are free",
        running_.size(), num_waiting_, Waiting().size(), slot_of_.size(),
        free_slots_.size(), requests_.size()));
  }
  std::int32_t places = 0;
  std::size_t num_groups = 0;
  for (const auto& [id, slot] : slot_of_) {
    const LiveRequest& live = request(slot);
    const bool runs =
        std::find(running_.begin(), running_.end(), slot) != running_.end();
    if (live.id != id || live.state == RequestState::kNone ||
        runs != (live.state == RequestState::kRunning)) {
      return absl::InternalError(absl::StrFormat(
          "request %d in slot %d holds request %d and is%s in the running list",
          id.value(), slot, live.id.value(), runs ? "" : " not"));
    }
    places += runs ? NumPlaces(live) : 0;
    num_groups += IsGroup(live) ? 1 : 0;
    absl::Status status = CheckSequencesOf(live, runs);
    if (!status.ok()) return status;
  }
  if (places != num_running_sequences_ ||
      num_groups + free_groups_.size() != groups_.size()) {
    return absl::InternalError(absl::StrFormat(
        "%d sequences run, %d are counted; %d groups are live and %d free of "
        "%d",
        places, num_running_sequences_, num_groups, free_groups_.size(),
        groups_.size()));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::Impl::CheckSequencesOf(const LiveRequest& live,
                                               bool runs) const {
  std::vector<SequenceId> sequences;
  if (IsGroup(live)) {
    const absl::Status status = group(live).CheckInvariants(cache_, runs);
    if (!status.ok()) {
      return absl::InternalError(absl::StrFormat(
          "request %d: %s", live.id.value(), std::string(status.message())));
    }
    for (const SequenceGroup::Member& member : group(live).members()) {
      if (member.sequence != SequenceId()) sequences.push_back(member.sequence);
    }
  } else if (runs) {
    sequences.push_back(live.sequence);
  }
  const std::int32_t ahead = in_flight_ ? num_steps_ - 1 : 0;
  for (SequenceId sequence : sequences) {
    if (cache_.IsLive(sequence) &&
        cache_.num_tokens(sequence) <= TokenCount(live.num_tokens + ahead)) {
      continue;
    }
    return absl::InternalError(absl::StrFormat(
        "request %d runs with %d tokens, and its sequence is %s",
        live.id.value(), live.num_tokens,
        cache_.IsLive(sequence) ? "longer" : "not live"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Scheduler> Scheduler::Create(const SchedulerOptions& options,
                                            KvCacheManager& cache) {
  const std::int64_t step_tokens = options.max_num_batched_tokens.value();
  if (step_tokens < 1 || step_tokens > kMaxTokensPerStep) {
    return OutOfRange("max_num_batched_tokens", step_tokens, 1,
                      kMaxTokensPerStep);
  }
  if (options.max_num_seqs < 1 || options.max_num_seqs > kMaxSequencesPerStep) {
    return OutOfRange("max_num_seqs", options.max_num_seqs, 1,
                      kMaxSequencesPerStep);
  }
  if (options.long_prefill_token_threshold < TokenCount(0)) {
    return OutOfRange("long_prefill_token_threshold",
                      options.long_prefill_token_threshold.value(), 0,
                      kMaxTokensPerStep);
  }
  if (!options.chunked_prefill &&
      options.max_num_batched_tokens < cache.max_sequence_tokens()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "max_num_batched_tokens is %d; without chunked_prefill it must be at "
        "least max_sequence_tokens, %d, or a long prompt would never run",
        step_tokens, cache.max_sequence_tokens().value()));
  }
  return Scheduler(std::make_unique<Impl>(options, cache));
}

Scheduler::Scheduler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Scheduler::Scheduler(Scheduler&&) noexcept = default;
Scheduler& Scheduler::operator=(Scheduler&&) noexcept = default;
Scheduler::~Scheduler() = default;

absl::Status Scheduler::Submit(const Request& request) {
  return impl_->Submit(request);
}
absl::Status Scheduler::Abort(RequestId id) { return impl_->Abort(id); }
absl::StatusOr<StepPlan> Scheduler::Schedule(std::int32_t max_steps) {
  return impl_->Schedule(max_steps);
}
absl::StatusOr<std::span<const FinishedRequest>> Scheduler::Update(
    std::span<const TokenId> sampled, std::span<const BeamUpdate> beams) {
  return impl_->Update(sampled, beams);
}
std::optional<SequenceId> Scheduler::SequenceOf(
    RequestId id, std::int32_t sequence_index) const {
  return impl_->SequenceOf(id, sequence_index);
}
std::int32_t Scheduler::num_running() const { return impl_->num_running(); }
std::int32_t Scheduler::num_running_sequences() const {
  return impl_->num_running_sequences();
}
std::int32_t Scheduler::num_waiting() const { return impl_->num_waiting(); }
std::vector<RequestId> Scheduler::Running() const { return impl_->Running(); }
std::vector<RequestId> Scheduler::Waiting() const { return impl_->Waiting(); }
absl::Status Scheduler::CheckInvariants() const {
  return impl_->CheckInvariants();
}

}  // namespace pagedkv
