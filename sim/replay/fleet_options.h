// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPLAY_FLEET_OPTIONS_H_
#define SIM_REPLAY_FLEET_OPTIONS_H_

#include <cstdint>
#include <vector>

namespace pagedkv::sim {

/// How a router chooses the replica of a request as it arrives.
enum class RouterKind : std::uint8_t {
  kRoundRobin,
  kRandom,
  kLeastLoaded,  ///< fewest requests; of equals, its last request is oldest
  kPowerOfTwo,   ///< the less loaded of two that are drawn
  /// Fewest tokens to compute before its first: prompts that wait there, and
  /// what of its own prompt is not in the prefix cache there. Of equals, as
  /// kLeastLoaded.
  kPrefixAware,
};

/// A replica that is gone for a while: it loses its requests, which are routed
/// anew, and its cache. It fails between two steps.
struct Outage {
  std::int32_t replica = 0;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// Equal engines behind a router, each with a pool of its own.
struct FleetOptions {
  std::int32_t num_replicas = 1;
  RouterKind router = RouterKind::kRoundRobin;
  /// kPrefixAware: what a router knows of a cache is so old. It follows the
  /// cache's events; those of a step are published at its end.
  std::int64_t knowledge_delay_ns = 0;
  std::uint64_t seed = 0;  ///< of what is drawn
  std::vector<Outage> outages = {};
};

}  // namespace pagedkv::sim

#endif  // SIM_REPLAY_FLEET_OPTIONS_H_
