// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_ROUTER_H_
#define SIM_REPLAY_ROUTER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/block_hash.h"
#include "pagedkv/kv_events.h"
#include "pagedkv/kv_index_view.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"
#include "sim/replay/fleet_options.h"
#include "sim/trace/trace_request.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {

/// What a router sees of a replica that is up.
struct ReplicaLoad {
  std::size_t replica = 0;
  std::int64_t requests = 0;        ///< waiting and running
  std::int64_t waiting_tokens = 0;  ///< prompts of those that wait
};

/// "round-robin", "random", "least-loaded", "power-of-two", "prefix-aware".
[[nodiscard]] std::string_view RouterName(RouterKind kind);
/// The reverse; InvalidArgument lists the known names.
[[nodiscard]] absl::StatusOr<RouterKind> ParseRouter(std::string_view name);

/// How replicas and their router name contents.
[[nodiscard]] ContentHashOptions FleetContentHash();

/// Chooses where requests go, by what is known when they arrive: a step that is
/// under way counts as done. Deterministic. Thread-compatible.
class Router {
 public:
  /// Replicas have blocks of `block_size`, and name contents as
  /// `FleetContentHash` says; block ids of requests are of `trace_block`.
  Router(const FleetOptions& options, BlockSize block_size,
         BlockSize trace_block);

  /// Whether it needs the replicas' events.
  [[nodiscard]] static bool NeedsEvents(RouterKind kind) {
    return kind == RouterKind::kPrefixAware;
  }

  /// One of `loads`, of which there is at least one, in order of the replicas.
  /// Internal if the events of a replica contradict each other.
  absl::StatusOr<std::size_t> Route(const TraceRequest& request,
                                    std::span<const ReplicaLoad> loads,
                                    std::int64_t now_ns);
  /// What happened in the cache of a replica until `now_ns`.
  void OnEvents(std::size_t replica, std::int64_t now_ns, KvEventBatch batch);

 private:
  struct Published {
    std::int64_t known_ns = 0;
    KvEventBatch batch;
  };
  struct Knowledge {
    KvIndexView view;
    std::deque<Published> published;  // and not known yet
  };

  using RankOf = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  [[nodiscard]] RankOf Rank(const ReplicaLoad& load,
                            std::int64_t to_compute) const;
  absl::StatusOr<std::size_t> Choose(const TraceRequest& request,
                                     std::span<const ReplicaLoad> loads,
                                     std::int64_t now_ns);
  absl::StatusOr<std::size_t> FewestToCompute(
      const TraceRequest& request, std::span<const ReplicaLoad> loads,
      std::int64_t now_ns);
  void HashPrompt(const TraceRequest& request);
  // Leading tokens of the hashed prompt that the replica has, as far as is
  // known by now.
  absl::StatusOr<std::int64_t> KnownTokens(std::size_t replica,
                                           std::int64_t now_ns);

  FleetOptions options_;
  BlockSize block_size_;
  BlockSize trace_block_;
  BlockHasher hasher_;
  Random random_;
  std::size_t next_ = 0;  // in turn
  std::int64_t num_routed_ = 0;
  std::vector<std::int64_t> last_routed_;  // by replica: `num_routed_` then
  std::vector<Knowledge> knowledge_;       // by replica
  std::vector<TokenId> tokens_;
  std::vector<std::uint64_t> hashes_;  // of the prompt's full blocks
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_ROUTER_H_
