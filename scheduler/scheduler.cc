// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/scheduler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_format.h"

#include "base/check.h"
#include "scheduler/waiting_queue.h"

namespace pagedkv {
namespace {

using Slot = std::int32_t;
constexpr Slot kAborted = -1;

constexpr std::int64_t kMaxTokensPerStep = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequencesPerStep = 1 << 20;

enum class RequestState : std::uint8_t { kNone, kWaiting, kRunning };

constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();

// A live request. Its tokens are those of the prompt and those sampled; how
// many of them are computed is the length of its sequence in the cache. Every
// step reads and writes this much of each request, and no more.
struct LiveRequest {
  RequestId id;
  SequenceId sequence = {};  // while running
  std::int32_t num_tokens = 0;
  std::int32_t end_tokens = 0;      // finishes when num_tokens gets here
  std::int32_t stop_from = kNever;  // num_tokens from which stop tokens count
  std::uint32_t ticket = 0;         // of its last stay in the waiting queue
  RequestState state = RequestState::kNone;
  bool was_preempted = false;
  bool needs_samples = false;  // it looks at its sampled tokens
};

// The rest of it.
struct RequestDetails {
  std::int32_t num_prompt_tokens = 0;
  std::int32_t priority = 0;
  std::int64_t arrival = 0;
  std::vector<TokenId> stop_tokens;
  // Prompt and output, where the client said what they are.
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
        slot_mapping_(static_cast<std::size_t>(cache.num_groups())),
        dirty_ranges_(static_cast<std::size_t>(cache.num_groups())),
        table_deltas_(static_cast<std::size_t>(cache.num_groups())) {}

  absl::Status Submit(const Request& request);
  absl::Status Abort(RequestId id);
  absl::StatusOr<StepPlan> Schedule();
  absl::StatusOr<std::span<const FinishedRequest>> Update(
      std::span<const TokenId> sampled);

  [[nodiscard]] std::optional<SequenceId> SequenceOf(RequestId id) const {
    const auto found = slot_of_.find(id);
    if (found == slot_of_.end() ||
        request(found->second).state != RequestState::kRunning) {
      return std::nullopt;
    }
    return request(found->second).sequence;
  }
  [[nodiscard]] std::int32_t num_running() const {
    return static_cast<std::int32_t>(running_.size());
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
  [[nodiscard]] TokenCount ChunkOf(TokenCount lacking, TokenCount budget) const;
  [[nodiscard]] TokenCount ChunkFrom(TokenCount computed, TokenCount all,
                                     TokenCount budget) const;

  void ScheduleRunning(TokenCount& budget);
  AdmissionBlock ScheduleWaiting(TokenCount& budget);
  AdmissionBlock TryAdmit(SequenceId sequence, const RequestDetails& details,
                          TokenCount all, TokenCount budget);
  [[nodiscard]] BlockCount BlocksLacking(const RequestDetails& details,
                                         TokenCount covered) const;
  void AddToPlan(Slot slot, TokenCount num_computed, TokenCount num_tokens,
                 ScheduledSequence::Kind kind) {
    const LiveRequest& live = request(slot);
    scheduled_.push_back(
        {.request = live.id,
         .sequence = live.sequence,
         .num_computed = static_cast<std::int32_t>(num_computed.value()),
         .num_tokens = static_cast<std::int32_t>(num_tokens.value()),
         .kind = kind,
         .samples = num_computed + num_tokens == TokenCount(live.num_tokens)});
    scheduled_slots_.push_back(slot);
  }
  void FillSlotMapping();
  void TakeDeltas();

  [[nodiscard]] std::size_t VictimIndex() const;
  void Preempt(std::size_t running_index, RequestId on_behalf_of,
               BlockCount blocks_needed, TokenCount& budget);
  [[nodiscard]] WaitingEntry EnterQueue(Slot slot);
  void Announce(RequestDetails& details);
  void TakeBackAnnouncement(RequestDetails& details);
  [[nodiscard]] bool IsStale(const WaitingEntry& entry) const;
  void DropStaleFront();
  void End(Slot slot);

  SchedulerOptions options_;
  KvCacheManager& cache_;

  std::vector<LiveRequest> requests_;    // by slot
  std::vector<RequestDetails> details_;  // by slot
  std::vector<Slot> free_slots_;
  absl::flat_hash_map<RequestId, Slot> slot_of_;
  std::vector<Slot> running_;     // in order of admission
  WaitingQueue waiting_;          // with stale entries of aborted requests
  PrefixMatch match_;             // of the admission under way
  std::int64_t state_alignment_;  // block size of state-space layers; or 0
  std::int32_t num_waiting_ = 0;
  std::int32_t num_needing_samples_ = 0;
  std::uint32_t next_ticket_ = 0;

  // The plan, and what it is made of.
  bool in_flight_ = false;
  TokenCount plan_tokens_{0};
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
  if (absl::Status status = cache_.CheckSequence(request.sequence);
      !status.ok()) {
    return status;
  }
  if (slot_of_.contains(request.id)) {
    return absl::AlreadyExistsError(
        absl::StrFormat("request %d is live already", request.id.value()));
  }
  const std::int64_t end = prompt + std::min(output, max_tokens - prompt);
  // The last token that is sampled is never computed.
  const BlockCount needed = cache_.BlocksFor(
      TokenCount(end - 1), request.sequence.num_encoder_tokens);
  const BlockCount usable = cache_.pool().num_blocks() - BlockCount(1);
  if (needed > usable) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "request %d can never finish: %d prompt and %d output tokens need %d "
        "blocks, the pool has %d",
        request.id.value(), prompt, end - prompt, needed.value(),
        usable.value()));
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
  if (!request.stop_tokens.empty()) {
    live.stop_from = static_cast<std::int32_t>(
        prompt + std::max<std::int64_t>(request.min_output_tokens.value(), 1));
  }
  live.needs_samples =
      !request.stop_tokens.empty() || !request.prompt_tokens.empty();
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

absl::StatusOr<StepPlan> Scheduler::Impl::Schedule() {
  if (in_flight_) {
    return absl::FailedPreconditionError(
        "the last plan was not reported: call Update before Schedule");
  }
  scheduled_.clear();
  scheduled_slots_.clear();
  preempted_.clear();
  plan_ended_.swap(ended_);
  ended_.clear();

  TokenCount budget = options_.max_num_batched_tokens;
  ScheduleRunning(budget);
  const AdmissionBlock block = ScheduleWaiting(budget);
  plan_tokens_ = options_.max_num_batched_tokens - budget;
  FillSlotMapping();
  TakeDeltas();
  in_flight_ = true;
  return StepPlan{.scheduled = scheduled_,
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

void Scheduler::Impl::ScheduleRunning(TokenCount& budget) {
  for (std::size_t i = 0; i < running_.size() && budget > TokenCount(0); ++i) {
    const Slot slot = running_[i];
    const LiveRequest& live = request(slot);
    const TokenCount computed = cache_.num_tokens(live.sequence);
    const TokenCount count =
        ChunkFrom(computed, TokenCount(live.num_tokens), budget);
    for (;;) {
      const absl::StatusOr<bool> granted =
          cache_.TryAppend(live.sequence, count, details(slot).tokens);
      PAGEDKV_CHECK(granted.ok());
      if (*granted) break;
      const std::size_t victim = VictimIndex();
      const BlockCount needed =
          cache_.BlocksToCover(live.sequence, computed + count);
      Preempt(victim, live.id, needed, budget);
      if (victim == i) return;
      if (victim < i) --i;
    }
    budget -= count;
    AddToPlan(slot, computed, count, ScheduledSequence::Kind::kRunning);
  }
}

AdmissionBlock Scheduler::Impl::ScheduleWaiting(TokenCount& budget) {
  for (DropStaleFront(); !waiting_.empty(); DropStaleFront()) {
    if (!preempted_.empty()) return AdmissionBlock::kPreempted;
    if (budget == TokenCount(0)) return AdmissionBlock::kTokenBudget;
    if (num_running() >= options_.max_num_seqs) {
      return AdmissionBlock::kSequences;
    }
    const Slot slot = waiting_.front().slot;
    LiveRequest& live = request(slot);
    const RequestDetails& details = this->details(slot);
    const TokenCount all(live.num_tokens);
    const absl::StatusOr<SequenceId> sequence =
        cache_.AddSequence(details.sequence);
    if (!sequence.ok()) return AdmissionBlock::kSequences;
    const AdmissionBlock block = TryAdmit(*sequence, details, all, budget);
    if (block != AdmissionBlock::kNone) {
      PAGEDKV_CHECK(cache_.Release(*sequence).ok());
      return block;
    }
    const TokenCount count = cache_.num_tokens(*sequence) - match_.num_tokens;
    waiting_.PopFront();
    --num_waiting_;
    TakeBackAnnouncement(this->details(slot));
    live.state = RequestState::kRunning;
    live.sequence = *sequence;
    running_.push_back(slot);
    budget -= count;
    AddToPlan(slot, match_.num_tokens, count,
              live.was_preempted ? ScheduledSequence::Kind::kResumed
                                 : ScheduledSequence::Kind::kNew);
  }
  return AdmissionBlock::kNone;
}

// Gives the empty sequence what the cache has of it, which `match_` then says,
// and blocks for its first chunk; or says what is in the way.
AdmissionBlock Scheduler::Impl::TryAdmit(SequenceId sequence,
                                         const RequestDetails& details,
                                         TokenCount all, TokenCount budget) {
  match_.num_tokens = TokenCount(0);
  if (!details.tokens.empty()) {
    PAGEDKV_CHECK(cache_.Match(sequence, details.tokens, match_).ok());
  }
  const TokenCount lacking = all - match_.num_tokens;
  if (!options_.chunked_prefill && ChunkOf(lacking, lacking) > budget) {
    return AdmissionBlock::kTokenBudget;
  }
  const TokenCount must_fit =
      options_.reserve_full_prompt ? all : TokenCount(0);
  const TokenCount count = ChunkFrom(match_.num_tokens, all, budget);
  const absl::StatusOr<bool> granted =
      cache_.TryAppend(sequence, count,
                       {.must_fit = must_fit,
                        .keep_watermark = !running_.empty(),
                        .tokens = details.tokens,
                        .match = details.tokens.empty() ? nullptr : &match_});
  PAGEDKV_CHECK(granted.ok());
  if (*granted) return AdmissionBlock::kNone;
  return BlocksLacking(details, std::max(must_fit, match_.num_tokens + count)) >
                 cache_.pool().num_free()
             ? AdmissionBlock::kBlocks
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

void Scheduler::Impl::FillSlotMapping() {
  for (int group = 0; group < cache_.num_groups(); ++group) {
    std::vector<std::int64_t>& slots =
        slot_mapping_[static_cast<std::size_t>(group)];
    if (cache_.group_options(group).kind == AttentionKind::kCross) continue;
    slots.resize(static_cast<std::size_t>(plan_tokens_.value()));
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
                              BlockCount blocks_needed, TokenCount& budget) {
  const Slot slot = running_[running_index];
  LiveRequest& live = request(slot);
  TokenCount lost = cache_.num_tokens(live.sequence);
  const auto planned =
      std::find(scheduled_slots_.begin(), scheduled_slots_.end(), slot);
  if (planned != scheduled_slots_.end()) {  // by priority: earlier in this step
    const auto entry =
        scheduled_.begin() + (planned - scheduled_slots_.begin());
    budget += TokenCount(entry->num_tokens);
    lost -= TokenCount(entry->num_tokens);
    scheduled_.erase(entry);
    scheduled_slots_.erase(planned);
  }
  preempted_.push_back({.request = live.id,
                        .on_behalf_of = on_behalf_of,
                        .blocks_needed = blocks_needed,
                        .blocks_free = cache_.pool().num_free(),
                        .tokens_lost = lost});
  // What this step was to compute never will be: nobody may find it.
  if (lost < cache_.num_tokens(live.sequence) && !cache_.vllm_compatible()) {
    PAGEDKV_CHECK(cache_.Retract(live.sequence, lost).ok());
  }
  PAGEDKV_CHECK(cache_.Release(live.sequence).ok());
  live.sequence = SequenceId();
  live.was_preempted = true;
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(running_index));
  waiting_.PushFront(EnterQueue(slot));
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

absl::StatusOr<std::span<const FinishedRequest>> Scheduler::Impl::Update(
    std::span<const TokenId> sampled) {
  if (!in_flight_) {
    return absl::FailedPreconditionError(
        "there is no plan to report: call Schedule before Update");
  }
  if (!sampled.empty() || num_needing_samples_ > 0) {
    const auto samples = std::count_if(
        scheduled_.begin(), scheduled_.end(),
        [](const ScheduledSequence& entry) { return entry.samples; });
    if (std::cmp_not_equal(sampled.size(), samples)) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%d tokens were reported, the plan samples %d",
                          sampled.size(), samples));
    }
  }

  in_flight_ = false;
  finished_.clear();
  std::size_t sample = 0;
  for (std::size_t i = 0; i < scheduled_.size(); ++i) {
    if (!scheduled_[i].samples) continue;
    const std::size_t sample_index = sample++;
    const Slot slot = scheduled_slots_[i];
    if (slot == kAborted) continue;
    LiveRequest& live = request(slot);
    ++live.num_tokens;
    if (!details(slot).tokens.empty()) {
      details(slot).tokens.push_back(sampled[sample_index]);
    }
    const bool stops = live.num_tokens >= live.stop_from &&
                       details(slot).IsStop(sampled[sample_index]);
    if (stops || live.num_tokens == live.end_tokens) {
      finished_.push_back(
          {.id = live.id,
           .reason = stops ? FinishReason::kStop : FinishReason::kLength,
           .num_output_tokens =
               TokenCount(live.num_tokens - details(slot).num_prompt_tokens)});
      End(slot);
    }
  }
  if (!finished_.empty()) {
    std::erase_if(running_, [this](Slot slot) {
      return request(slot).state != RequestState::kRunning;
    });
  }
  return finished_;
}

// Gives back all that the request holds. The queues are the caller's business.
void Scheduler::Impl::End(Slot slot) {
  LiveRequest& live = request(slot);
  if (live.state == RequestState::kRunning) {
    PAGEDKV_CHECK(cache_.Release(live.sequence).ok());
  }
  live.state = RequestState::kNone;
  num_needing_samples_ -= live.needs_samples ? 1 : 0;
  slot_of_.erase(live.id);
  ended_.push_back(live.id);
  free_slots_.push_back(slot);
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
    if (!runs) continue;
    if (!cache_.IsLive(live.sequence) ||
        cache_.num_tokens(live.sequence) > TokenCount(live.num_tokens)) {
      return absl::InternalError(absl::StrFormat(
          "request %d runs with %d tokens, and its sequence is %s", id.value(),
          live.num_tokens,
          cache_.IsLive(live.sequence) ? "longer" : "not live"));
    }
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
absl::StatusOr<StepPlan> Scheduler::Schedule() { return impl_->Schedule(); }
absl::StatusOr<std::span<const FinishedRequest>> Scheduler::Update(
    std::span<const TokenId> sampled) {
  return impl_->Update(sampled);
}
std::optional<SequenceId> Scheduler::SequenceOf(RequestId id) const {
  return impl_->SequenceOf(id);
}
std::int32_t Scheduler::num_running() const { return impl_->num_running(); }
std::int32_t Scheduler::num_waiting() const { return impl_->num_waiting(); }
std::vector<RequestId> Scheduler::Running() const { return impl_->Running(); }
std::vector<RequestId> Scheduler::Waiting() const { return impl_->Waiting(); }
absl::Status Scheduler::CheckInvariants() const {
  return impl_->CheckInvariants();
}

}  // namespace pagedkv
