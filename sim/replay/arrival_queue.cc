// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/arrival_queue.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

absl::Status CheckRequest(const TraceRequest& request, std::int64_t index,
                          std::int64_t last_arrival_ns) {
  if (request.prompt_tokens < 1 || request.output_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d has %d prompt and %d output tokens; both must be at "
        "least 1",
        index, request.prompt_tokens, request.output_tokens));
  }
  if (request.arrival_ns < last_arrival_ns) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "request %d arrives at %d ns, before %d ns: requests must be in order "
        "of arrival, from 0 on",
        index, request.arrival_ns, last_arrival_ns));
  }
  return absl::OkStatus();
}

absl::Status ArrivalQueue::Advance() {
  while (!has_read_ && !ended_) {
    if (absl::Status status = ReadNext(); !status.ok()) return status;
  }
  has_next_ = has_read_ || !ready_.empty();
  return absl::OkStatus();
}

// Reads one request, which may have to wait for another.
absl::Status ArrivalQueue::ReadNext() {
  TraceRequest request;
  const absl::StatusOr<bool> more = source_.Next(request);
  if (!more.ok()) return more.status();
  if (!*more) {
    ended_ = true;
    return absl::OkStatus();
  }
  const std::int64_t index = num_read_++;
  absl::Status checked = CheckRequest(request, index, last_arrival_ns_);
  if (!checked.ok()) return checked;
  last_arrival_ns_ = request.arrival_ns;
  const std::int64_t follows = request.follows;
  Turn turn{.arrival_ns = request.arrival_ns,
            .order = index,
            .request = std::move(request)};
  if (!closed_loop_ || follows < 0) {
    read_ = std::move(turn);
    has_read_ = true;
  } else if (const auto ended = ended_ns_.find(follows);
             ended != ended_ns_.end()) {
    AddTurn(std::move(turn), ended->second);
  } else {
    held_back_[follows].push_back(std::move(turn));
  }
  return absl::OkStatus();
}

// The turn before it has ended at `ended_ns`.
void ArrivalQueue::AddTurn(Turn turn, std::int64_t ended_ns) {
  turn.arrival_ns = ended_ns + turn.request.delay_ns;
  turn.request.arrival_ns = turn.arrival_ns;
  AddReady(std::move(turn));
}

void ArrivalQueue::Return(TraceRequest request, std::int64_t now_ns) {
  AddReady({.arrival_ns = now_ns,
            .order = num_read_++,
            .request = std::move(request)});
}

void ArrivalQueue::AddReady(Turn turn) {
  ready_.push_back(std::move(turn));
  std::push_heap(ready_.begin(), ready_.end());
}

std::int64_t ArrivalQueue::arrival_ns() const {
  return ReadyIsFirst() ? ready_.front().arrival_ns : read_.arrival_ns;
}

TraceRequest ArrivalQueue::Pop() {
  TraceRequest request;
  if (ReadyIsFirst()) {
    std::pop_heap(ready_.begin(), ready_.end());
    request = std::move(ready_.back().request);
    ready_.pop_back();
  } else {
    request = std::move(read_.request);
    has_read_ = false;
  }
  return request;
}

void ArrivalQueue::OnEnded(std::int64_t id, std::int64_t now_ns) {
  if (!closed_loop_) return;
  ended_ns_.emplace(id, now_ns);
  const auto held = held_back_.find(id);
  if (held == held_back_.end()) return;
  for (Turn& turn : held->second) {
    AddTurn(std::move(turn), now_ns);
  }
  held_back_.erase(held);
}

}  // namespace pagedkv::sim
