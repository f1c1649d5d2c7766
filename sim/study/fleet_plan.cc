// SPDX-License-Identifier: Apache-2.0
#include "sim/study/fleet_plan.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

#include "sim/replay/router.h"
#include "sim/replay/simulation.h"
#include "sim/study/option_checks.h"
#include "sim/study/sim_options.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

constexpr std::int32_t kMaxReplicas = 1024;

/// "<replica>@<begin>..<end>", such as "0@60s..90s".
absl::StatusOr<Outage> ParseOutage(const std::string& text,
                                   std::int32_t num_replicas) {
  const auto error = [&text](std::string_view what) {
    return OptionError(absl::StrFormat(
        "--outage '%s': %s; write it as 0@60s..90s", text, what));
  };
  const std::size_t at = text.find('@');
  const std::size_t dots = text.find("..", at == std::string::npos ? 0 : at);
  if (at == std::string::npos || dots == std::string::npos) {
    return error("replica, begin and end are needed");
  }
  Outage outage;
  if (!absl::SimpleAtoi(text.substr(0, at), &outage.replica) ||
      outage.replica < 0 || outage.replica >= num_replicas) {
    return error(
        absl::StrFormat("replicas are from 0 to %d", num_replicas - 1));
  }
  const absl::StatusOr<std::int64_t> begin =
      ParseDurationNs(text.substr(at + 1, dots - at - 1));
  const absl::StatusOr<std::int64_t> end =
      ParseDurationNs(text.substr(dots + 2));
  if (!begin.ok() || !end.ok()) return error("begin and end are times");
  if (*end <= *begin) return error("it must end after it begins");
  outage.begin_ns = *begin;
  outage.end_ns = *end;
  return outage;
}

}  // namespace

absl::StatusOr<FleetOptions> PlanFleet(const SimOptions& options,
                                       const SimulationOptions& simulation) {
  FleetOptions fleet;
  fleet.seed = static_cast<std::uint64_t>(options.seed);
  absl::Status status =
      CheckRange("--replicas", options.replicas, 1, kMaxReplicas);
  if (!status.ok()) return status;
  fleet.num_replicas = options.replicas;
  if (fleet.num_replicas == 1) {
    status = Refuse({{"--router", options.router.has_value()},
                     {"--router-delay", options.router_delay.has_value()}},
                    "needs --replicas of 2 or more");
    if (!status.ok()) return status;
  } else if (simulation.demand || IsSaturated(simulation)) {
    return OptionError(
        "--replicas needs arrival times and a pool: give --clock fixed or "
        "model, and neither --saturate nor --demand");
  }
  if (!options.outages.empty() && IsSaturated(simulation)) {
    return OptionError("--outage needs arrival times: give --clock fixed");
  }
  if (options.router) {
    const absl::StatusOr<RouterKind> router = ParseRouter(*options.router);
    if (!router.ok()) return InOption("--router", router.status());
    fleet.router = *router;
    if (Router::NeedsEvents(fleet.router) && !simulation.prefix_cache) {
      return OptionError(
          "--router prefix-aware needs --prefix-cache on: there is nothing to "
          "know otherwise");
    }
  }
  if (options.router_delay) {
    if (!Router::NeedsEvents(fleet.router)) {
      return OptionError("--router-delay needs --router prefix-aware");
    }
    const absl::StatusOr<std::int64_t> delay =
        ParseDurationNs(*options.router_delay);
    if (!delay.ok()) return InOption("--router-delay", delay.status());
    fleet.knowledge_delay_ns = *delay;
  }
  for (const std::string& text : options.outages) {
    absl::StatusOr<Outage> outage = ParseOutage(text, fleet.num_replicas);
    if (!outage.ok()) return outage.status();
    for (const Outage& other : fleet.outages) {
      if (other.replica == outage->replica && outage->begin_ns < other.end_ns &&
          other.begin_ns < outage->end_ns) {
        return OptionError(absl::StrFormat(
            "--outage '%s': that replica is down then already", text));
      }
    }
    fleet.outages.push_back(*outage);
  }
  std::sort(
      fleet.outages.begin(), fleet.outages.end(),
      [](const Outage& a, const Outage& b) { return a.begin_ns < b.begin_ns; });
  return fleet;
}

}  // namespace pagedkv::sim
