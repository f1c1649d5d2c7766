// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/trace_structure.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_map.h"

namespace pagedkv::sim {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

/// Finds the turn that each request goes on from.
class TurnFinder {
 public:
  TurnFinder(std::span<const TraceRequest> requests, BlockSize block)
      : requests_(requests), block_(block), session_(requests.size(), kNone) {}

  /// REQUIRES: called for each request in order.
  std::size_t Before(std::size_t at) {
    const TraceRequest& request = requests_[at];
    by_id_[request.id] = at;
    std::size_t before = kNone;
    told_ = false;
    if (request.follows >= 0) {
      const auto found = by_id_.find(request.follows);
      if (found != by_id_.end()) before = found->second;
      told_ = before != kNone;
    }
    if (before == kNone) before = ByContent(request);
    session_[at] = before == kNone ? at : session_[before];
    if (before != kNone) gone_on_[before] = true;
    for (const std::uint64_t id : request.block_ids) {
      Use& use =
          uses_.try_emplace(id, Use{.session = session_[at]}).first->second;
      use.latest = at;
    }
    return before;
  }

  /// Whether the trace itself told the latest answer.
  [[nodiscard]] bool told() const { return told_; }

 private:
  struct Use {
    std::size_t session = kNone;  // of its first use
    std::size_t latest = kNone;
  };

  std::size_t ByContent(const TraceRequest& request) const {
    const Use* last = nullptr;
    std::int64_t seen = 0;
    for (const std::uint64_t id : request.block_ids) {
      const auto found = uses_.find(id);
      if (found == uses_.end()) break;
      last = &found->second;
      ++seen;
    }
    if (last == nullptr) return kNone;
    const std::size_t before = last->latest;
    const TraceRequest& turn = requests_[before];
    const std::int64_t full =
        block_.FullBlocks(TokenCount(turn.prompt_tokens)).value();
    if (full == 0 || seen < full || gone_on_.contains(before) ||
        request.prompt_tokens < turn.prompt_tokens) {
      return kNone;
    }
    const std::uint64_t id = turn.block_ids[static_cast<std::size_t>(full - 1)];
    return uses_.at(id).session == session_[before] ? before : kNone;
  }

  std::span<const TraceRequest> requests_;
  BlockSize block_;
  bool told_ = false;
  std::vector<std::size_t> session_;  // its first request
  absl::flat_hash_map<std::int64_t, std::size_t> by_id_;
  absl::flat_hash_map<std::uint64_t, Use> uses_;
  absl::flat_hash_map<std::size_t, bool> gone_on_;
};

}  // namespace

TraceSessions FindSessions(std::span<const TraceRequest> requests,
                           BlockSize block) {
  TraceSessions found;
  TurnFinder finder(requests, block);
  std::vector<std::vector<std::size_t>> next(requests.size());
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::size_t before = finder.Before(i);
    if (before == kNone) {
      starts.push_back(i);
      continue;
    }
    next[before].push_back(i);
    (finder.told() ? found.waiting : found.inferred) += 1;
  }
  // A session goes on with the first request that others go on from, or else
  // with the first; what else goes on and is gone on from is a session.
  for (std::size_t s = 0; s < starts.size(); ++s) {
    std::vector<std::size_t>& turns = found.sessions.emplace_back();
    for (std::size_t at = starts[s]; at != kNone;) {
      turns.push_back(at);
      const std::vector<std::size_t>& all = next[at];
      const auto on = std::find_if(
          all.begin(), all.end(),
          [&next](std::size_t request) { return !next[request].empty(); });
      const std::size_t main =
          all.empty() ? kNone : (on == all.end() ? all.front() : *on);
      for (const std::size_t other : all) {
        if (other == main) continue;
        if (next[other].empty()) {
          found.branches.push_back({.turn = at, .request = other});
        } else {
          starts.push_back(other);
        }
      }
      at = main;
    }
  }
  std::sort(found.sessions.begin(), found.sessions.end());
  return found;
}

SharedPrefixes FindSharedPrefixes(std::span<const TraceRequest> requests,
                                  const TraceSessions& sessions,
                                  BlockSize block) {
  SharedPrefixes shared;
  absl::flat_hash_map<std::uint64_t, std::int64_t> users;  // sessions
  const auto first = [&](const std::vector<std::size_t>& turns) {
    const TraceRequest& request = requests[turns.front()];
    const std::int64_t inner =
        block.FullBlocks(TokenCount(request.prompt_tokens - 1)).value();
    return std::span(request.block_ids)
        .first(std::min(request.block_ids.size(),
                        static_cast<std::size_t>(inner)));
  };
  for (const auto& turns : sessions.sessions) {
    for (const std::uint64_t id : first(turns)) ++users[id];
  }
  const auto num_sessions = static_cast<std::int64_t>(sessions.sessions.size());
  if (num_sessions < 2) {
    shared.blocks.assign(sessions.sessions.size(), 0);
    return shared;
  }
  for (const std::uint64_t id : first(sessions.sessions.front())) {
    if (users[id] < num_sessions) break;
    ++shared.common_blocks;
  }
  absl::flat_hash_map<std::uint64_t, std::size_t> groups;
  for (const auto& turns : sessions.sessions) {
    std::int64_t blocks = 0;
    std::uint64_t last = 0;
    for (const std::uint64_t id : first(turns)) {
      if (users[id] < 2) break;
      ++blocks;
      last = id;
    }
    shared.blocks.push_back(blocks);
    if (blocks == shared.common_blocks) continue;
    const auto [group, added] = groups.try_emplace(last, shared.groups.size());
    if (added) {
      shared.groups.push_back({.blocks = blocks - shared.common_blocks});
    }
    ++shared.groups[group->second].sessions;
  }
  return shared;
}

}  // namespace pagedkv::sim
