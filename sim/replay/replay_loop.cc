// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/replay_loop.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "sim/replay/arrival_queue.h"
#include "sim/replay/replica.h"
#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kNever = Replica::kNever;

}  // namespace

ReplayLoop::ReplayLoop(const SimulationOptions& options, RequestSource& source,
                       std::span<Replica> replicas, Router& router,
                       SimulationObserver& observer)
    : options_(options),
      saturated_(IsSaturated(options)),
      events_(options.prefix_cache &&
              Router::NeedsEvents(options.fleet.router)),
      arrivals_(source, options.closed_loop && !saturated_),
      replicas_(replicas),
      router_(router),
      observer_(observer),
      is_down_(replicas.size(), false),
      routed_(replicas.size()) {
  for (const Outage& outage : options.fleet.outages) {
    const auto replica = static_cast<std::size_t>(outage.replica);
    changes_.push_back({outage.begin_ns, replica, /*goes_down=*/true});
    changes_.push_back({outage.end_ns, replica, /*goes_down=*/false});
  }
  // A replica may fail as it comes back: up first.
  std::sort(changes_.begin(), changes_.end(),
            [](const Change& a, const Change& b) {
              return std::tuple(a.at_ns, a.goes_down, a.replica) <
                     std::tuple(b.at_ns, b.goes_down, b.replica);
            });
}

absl::Status ReplayLoop::Run() {
  for (;;) {
    if (observer_.ShouldStop()) {
      return absl::CancelledError("the simulation was stopped");
    }
    absl::Status status = saturated_ ? OfferSaturated() : arrivals_.Advance();
    if (!status.ok()) return status;
    const std::optional<std::size_t> runner = NextToRun();
    const std::int64_t run_ns = runner ? replicas_[*runner].now_ns() : kNever;
    const std::int64_t arrive_ns =
        arrivals_.has_next() && !saturated_ ? arrivals_.arrival_ns() : kNever;
    if (run_ns == kNever && arrive_ns == kNever && parked_.empty()) {
      return absl::OkStatus();
    }
    const std::int64_t change_ns =
        next_change_ < changes_.size() ? changes_[next_change_].at_ns : kNever;
    if (change_ns <= std::min(run_ns, arrive_ns)) {
      status = Apply(changes_[next_change_++]);
    } else if (arrive_ns <= run_ns) {
      status = OfferNext();
    } else {
      status = RunSteps(*runner, std::min(arrive_ns, change_ns));
    }
    if (!status.ok()) return status;
  }
}

std::optional<std::size_t> ReplayLoop::NextToRun() const {
  std::optional<std::size_t> next;
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (replicas_[i].busy() &&
        (!next || replicas_[i].now_ns() < replicas_[*next].now_ns())) {
      next = i;
    }
  }
  return next;
}

absl::Status ReplayLoop::OfferSaturated() {
  Replica& replica = replicas_.front();
  const Batcher& batcher = replica.batcher();
  for (;;) {
    if (absl::Status status = arrivals_.Advance(); !status.ok()) return status;
    // More than one step could admit, so that the queue outlasts the step.
    const std::int32_t admissible =
        options_.max_num_seqs - batcher.num_running();
    if (!arrivals_.has_next() || batcher.num_waiting() > admissible) {
      return absl::OkStatus();
    }
    absl::Status status = replica.Offer(arrivals_.Pop());
    if (!status.ok()) return status;
  }
}

// The next request goes to a replica that is up.
absl::Status ReplayLoop::OfferNext() {
  const std::int64_t now_ns = arrivals_.arrival_ns();
  TraceRequest request = arrivals_.Pop();
  loads_.clear();
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (is_down_[i]) continue;
    const Batcher& batcher = replicas_[i].batcher();
    loads_.push_back({.replica = i,
                      .requests = std::int64_t{batcher.num_running()} +
                                  batcher.num_waiting(),
                      .waiting_tokens = replicas_[i].waiting_tokens()});
  }
  if (loads_.empty()) {
    parked_.push_back(std::move(request));
    return absl::OkStatus();
  }
  std::size_t chosen = loads_.front().replica;
  if (replicas_.size() > 1) {
    const absl::StatusOr<std::size_t> routed =
        router_.Route(request, loads_, now_ns);
    if (!routed.ok()) return routed.status();
    chosen = *routed;
  }
  Replica& replica = replicas_[chosen];
  // One that was idle begins as the request arrives.
  if (!replica.busy() && replica.now_ns() < now_ns) {
    absl::Status status = replica.WaitUntil(now_ns);
    if (!status.ok()) return status;
  }
  ++routed_[chosen].routed;
  routed_[chosen].routed_prompt_tokens += request.prompt_tokens;
  absl::Status status = replica.Offer(std::move(request));
  TellEnded(replica);
  return status;
}

// Of a fleet one step at a time: what ends in it may be followed by a turn that
// goes to another replica.
absl::Status ReplayLoop::RunSteps(std::size_t index, std::int64_t until_ns) {
  if (replicas_.size() > 1) until_ns = replicas_[index].now_ns();
  absl::Status status = replicas_[index].RunSteps(until_ns);
  TellEnded(replicas_[index]);
  TellEvents(index);
  return status;
}

absl::Status ReplayLoop::Apply(const Change& change) {
  Replica& replica = replicas_[change.replica];
  const std::int64_t now_ns = std::max(change.at_ns, replica.now_ns());
  is_down_[change.replica] = change.goes_down;
  if (!change.goes_down) {
    for (TraceRequest& request : parked_) {
      arrivals_.Return(std::move(request), now_ns);
    }
    parked_.clear();
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<TraceRequest>> lost = replica.Fail();
  if (!lost.ok()) return lost.status();
  routed_[change.replica].lost += static_cast<std::int64_t>(lost->size());
  for (TraceRequest& request : *lost) {
    arrivals_.Return(std::move(request), now_ns);
  }
  TellEvents(change.replica);
  return absl::OkStatus();
}

void ReplayLoop::TellEnded(const Replica& replica) {
  for (const EndedRequest& ended : replica.ended()) {
    arrivals_.OnEnded(ended.id, ended.end_ns);
  }
}

void ReplayLoop::TellEvents(std::size_t index) {
  if (!events_) return;
  router_.OnEvents(index, replicas_[index].now_ns(),
                   replicas_[index].batcher().TakeEvents());
}

}  // namespace pagedkv::sim
