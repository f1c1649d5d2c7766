// SPDX-License-Identifier: Apache-2.0
#include "sim/replay/router.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

#include "pagedkv/block_hash.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"
#include "sim/replay/fleet_options.h"
#include "sim/trace/content.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kRouterStream = 0x726F757465;  // of the random numbers

constexpr std::array kRouters = {
    std::pair{RouterKind::kRoundRobin, std::string_view("round-robin")},
    std::pair{RouterKind::kRandom, std::string_view("random")},
    std::pair{RouterKind::kLeastLoaded, std::string_view("least-loaded")},
    std::pair{RouterKind::kPowerOfTwo, std::string_view("power-of-two")},
    std::pair{RouterKind::kPrefixAware, std::string_view("prefix-aware")},
};

// One of `count`, by multiplication: no bias that matters below 2^16.
std::size_t Draw(Random& random, std::size_t count) {
  return static_cast<std::size_t>((std::uint64_t{random.Word()} * count) >> 32);
}

}  // namespace

std::string_view RouterName(RouterKind kind) {
  return std::find_if(kRouters.begin(), kRouters.end(),
                      [kind](const auto& each) { return each.first == kind; })
      ->second;
}

absl::StatusOr<RouterKind> ParseRouter(std::string_view name) {
  std::string known;
  for (const auto& [kind, its_name] : kRouters) {
    if (its_name == name) return kind;
    known += absl::StrFormat("%s%s", known.empty() ? "" : ", ", its_name);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown router '%s': use %s", name, known));
}

ContentHashOptions FleetContentHash() {
  return {.algorithm = BlockHashAlgorithm::kKeyed128, .seed = "fleet"};
}

Router::Router(const FleetOptions& options, BlockSize block_size,
               BlockSize trace_block)
    : options_(options),
      block_size_(block_size),
      trace_block_(trace_block),
      hasher_(FleetContentHash().algorithm, FleetContentHash().seed),
      random_(options.seed, kRouterStream),
      last_routed_(static_cast<std::size_t>(options.num_replicas), 0),
      knowledge_(static_cast<std::size_t>(options.num_replicas)) {}

absl::StatusOr<std::size_t> Router::Route(const TraceRequest& request,
                                          std::span<const ReplicaLoad> loads,
                                          std::int64_t now_ns) {
  const absl::StatusOr<std::size_t> replica = Choose(request, loads, now_ns);
  if (replica.ok()) last_routed_[*replica] = ++num_routed_;
  return replica;
}

absl::StatusOr<std::size_t> Router::Choose(const TraceRequest& request,
                                           std::span<const ReplicaLoad> loads,
                                           std::int64_t now_ns) {
  switch (options_.router) {
    case RouterKind::kRoundRobin: {
      // The next one in turn that is up.
      const auto found = std::find_if(
          loads.begin(), loads.end(),
          [this](const ReplicaLoad& load) { return load.replica >= next_; });
      const std::size_t replica =
          found == loads.end() ? loads.front().replica : found->replica;
      next_ = replica + 1;
      return replica;
    }
    case RouterKind::kRandom:
      return loads[Draw(random_, loads.size())].replica;
    case RouterKind::kLeastLoaded:
      return std::min_element(loads.begin(), loads.end(),
                              [this](const auto& a, const auto& b) {
                                return Rank(a, 0) < Rank(b, 0);
                              })
          ->replica;
    case RouterKind::kPowerOfTwo: {
      if (loads.size() == 1) return loads.front().replica;
      const std::size_t first = Draw(random_, loads.size());
      std::size_t second = Draw(random_, loads.size() - 1);
      if (second >= first) ++second;
      const bool second_is_less =
          loads[second].requests < loads[first].requests;
      return loads[second_is_less ? second : first].replica;
    }
    case RouterKind::kPrefixAware:
      break;
  }
  return FewestToCompute(request, loads, now_ns);
}

// The least goes first; of equals, the one whose last request is oldest.
Router::RankOf Router::Rank(const ReplicaLoad& load,
                            std::int64_t to_compute) const {
  return {to_compute, load.requests, last_routed_[load.replica]};
}

absl::StatusOr<std::size_t> Router::FewestToCompute(
    const TraceRequest& request, std::span<const ReplicaLoad> loads,
    std::int64_t now_ns) {
  HashPrompt(request);
  std::optional<std::pair<RankOf, std::size_t>> best;
  for (const ReplicaLoad& load : loads) {
    const absl::StatusOr<std::int64_t> known =
        KnownTokens(load.replica, now_ns);
    if (!known.ok()) return known.status();
    const std::int64_t to_compute =
        load.waiting_tokens + request.prompt_tokens - *known;
    const std::pair candidate(Rank(load, to_compute), load.replica);
    if (!best || candidate < *best) best = candidate;
  }
  return best->second;
}

void Router::OnEvents(std::size_t replica, std::int64_t now_ns,
                      KvEventBatch batch) {
  if (batch.events.empty()) return;
  knowledge_[replica].published.push_back(
      {.known_ns = now_ns + options_.knowledge_delay_ns,
       .batch = std::move(batch)});
}

void Router::HashPrompt(const TraceRequest& request) {
  PromptTokens(request, trace_block_, tokens_);
  hashes_.clear();
  const auto size = static_cast<std::size_t>(block_size_.value());
  BlockHash parent;
  for (std::size_t begin = 0; begin + size <= tokens_.size(); begin += size) {
    parent = hasher_.Hash(parent, std::span(tokens_).subspan(begin, size));
    hashes_.push_back(parent.ToInt());
  }
}

absl::StatusOr<std::int64_t> Router::KnownTokens(std::size_t replica,
                                                 std::int64_t now_ns) {
  Knowledge& knowledge = knowledge_[replica];
  while (!knowledge.published.empty() &&
         knowledge.published.front().known_ns <= now_ns) {
    absl::Status applied =
        knowledge.view.Apply(knowledge.published.front().batch);
    if (!applied.ok()) return applied;
    knowledge.published.pop_front();
  }
  std::int64_t blocks = 0;
  for (const std::uint64_t hash : hashes_) {
    if (knowledge.view.Count(/*group=*/0, "GPU", hash) == 0) break;
    ++blocks;
  }
  return block_size_.Slots(BlockCount(blocks)).value();
}

}  // namespace pagedkv::sim
