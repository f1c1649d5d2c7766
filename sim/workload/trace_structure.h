// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_TRACE_STRUCTURE_H_
#define SIM_WORKLOAD_TRACE_STRUCTURE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// The sessions of a trace: requests by their index, in order of arrival.
struct TraceSessions {
  std::vector<std::vector<std::size_t>> sessions;  ///< the turns of each
  /// Requests that go on from a turn beside its next one, and end there; with
  /// the turn.
  struct Branch {
    std::size_t turn = 0;
    std::size_t request = 0;
  };
  std::vector<Branch> branches;
  std::int64_t waiting = 0;   ///< turns that the trace itself says follow one
  std::int64_t inferred = 0;  ///< turns that only their block ids tell
};

/// Puts requests into sessions: those that follow another, and those whose
/// prompt begins with all full blocks of an earlier one, if the last of these
/// is of that one's session only. `requests` are in order of arrival; `block`
/// is of no matter where there are no block ids. O(block ids).
TraceSessions FindSessions(std::span<const TraceRequest> requests,
                           BlockSize block);

/// What the first prompts of sessions have in common.
struct SharedPrefixes {
  std::int64_t common_blocks = 0;  ///< that all begin with
  /// Sessions that share more than that with another one, by the longest such
  /// prefix.
  struct Group {
    std::int64_t blocks = 0;  ///< beyond the common ones
    std::int64_t sessions = 0;
  };
  std::vector<Group> groups;
  std::vector<std::int64_t> blocks;  ///< shared in all, of each session
};

/// Only blocks that the prompts fill and go beyond count. O(block ids).
SharedPrefixes FindSharedPrefixes(std::span<const TraceRequest> requests,
                                  const TraceSessions& sessions,
                                  BlockSize block);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_TRACE_STRUCTURE_H_
