// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/scheduler.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "scheduler/scheduler_impl.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxTokensPerStep = std::int64_t{1} << 30;
constexpr std::int32_t kMaxSequencesPerStep = 1 << 20;
constexpr std::int32_t kMaxGroupWidth =
    std::numeric_limits<std::int16_t>::max();

absl::Status OutOfRange(const char* option, std::int64_t value,
                        std::int64_t least, std::int64_t most) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is %d; it must be from %d to %d", option, value, least, most));
}

}  // namespace

std::int64_t Scheduler::Impl::StateAlignmentOf(const KvCacheManager& cache) {
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
  const std::int32_t width = std::max(request.num_samples, request.beam_width);
  const BlockCount needed =
      BlocksToFinish(width, request.num_prompt_tokens, end,
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
    DropStale(request(slot).is_swapped ? swapped_ : waiting_);
  } else {
    running_.erase(std::find(running_.begin(), running_.end(), slot));
    std::replace(scheduled_slots_.begin(), scheduled_slots_.end(), slot,
                 kAborted);
  }
  End(slot);
  return absl::OkStatus();
}

WaitingEntry Scheduler::Impl::EnterQueue(Slot slot) {
  LiveRequest& live = request(slot);
  live.state = RequestState::kWaiting;
  live.ticket = next_ticket_++;
  ++num_waiting_;
  if (options_.announce_waiting && !live.is_swapped) Announce(details(slot));
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

void Scheduler::Impl::DropStaleFronts() {
  for (WaitingQueue* queue : {&swapped_, &waiting_}) {
    while (!queue->empty() && IsStale(queue->front())) queue->PopFront();
  }
}

// Once there are too many.
void Scheduler::Impl::DropStale(WaitingQueue& queue) {
  if (queue.size() <= 2 * static_cast<std::size_t>(num_waiting_) + 64) return;
  queue.EraseIf([this](const WaitingEntry& entry) { return IsStale(entry); });
}

// Gives back all that the request holds. The queues are the caller's business.
void Scheduler::Impl::End(Slot slot) {
  LiveRequest& live = request(slot);
  if (live.state == RequestState::kRunning) {
    num_running_sequences_ -= NumPlaces(live);
    Leave(live);
  } else if (live.is_swapped) {
    Leave(live);
    live.is_swapped = false;
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
  for (const WaitingQueue* queue : {&swapped_, &waiting_}) {
    for (const WaitingEntry& entry : queue->InOrder()) {
      if (!IsStale(entry)) ids.push_back(entry.id);
    }
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
        runs != (live.state == RequestState::kRunning) ||
        (runs && live.is_swapped)) {
      return absl::InternalError(absl::StrFormat(
          "request %d in slot %d holds request %d and is%s in the running list"
          "%s",
          id.value(), slot, live.id.value(), runs ? "" : " not",
          live.is_swapped ? ", swapped out" : ""));
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
  const bool has_sequences = runs || live.is_swapped;
  if (IsGroup(live)) {
    const absl::Status status =
        group(live).CheckInvariants(cache_, has_sequences);
    if (!status.ok()) {
      return absl::InternalError(absl::StrFormat(
          "request %d: %s", live.id.value(), std::string(status.message())));
    }
    for (const SequenceGroup::Member& member : group(live).members()) {
      if (member.sequence != SequenceId()) sequences.push_back(member.sequence);
    }
  } else if (has_sequences) {
    sequences.push_back(live.sequence);
  }
  const std::int32_t ahead = in_flight_ ? num_steps_ - 1 : 0;
  for (SequenceId sequence : sequences) {
    if (cache_.IsLive(sequence) &&
        cache_.IsSwapped(sequence) == live.is_swapped &&
        cache_.num_tokens(sequence) <= TokenCount(live.num_tokens + ahead)) {
      continue;
    }
    return absl::InternalError(absl::StrFormat(
        "request %d %s with %d tokens, and its sequence is %s", live.id.value(),
        runs ? "runs" : "is swapped out", live.num_tokens,
        cache_.IsLive(sequence) ? "longer, or elsewhere" : "not live"));
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
  if (options.preemption == PreemptionMode::kSwap &&
      cache.num_swap_blocks() == BlockCount(0)) {
    return absl::InvalidArgumentError(
        "preemption is kSwap, and the manager has no swap space: give it "
        "num_swap_blocks");
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
absl::Status Scheduler::BeginShrink(BlockCount num_blocks) {
  return impl_->BeginShrink(num_blocks);
}
absl::StatusOr<BlockCount> Scheduler::Drain(BlockCount max_copies) {
  return impl_->Drain(max_copies);
}
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
