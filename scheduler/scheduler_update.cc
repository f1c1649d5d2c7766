// SPDX-License-Identifier: Apache-2.0
//
// What a step's report makes of the requests: longer, branched or finished.
#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

#include "base/check.h"
#include "scheduler/scheduler_impl.h"

namespace pagedkv {

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

}  // namespace pagedkv
