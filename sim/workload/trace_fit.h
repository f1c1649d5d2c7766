// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_TRACE_FIT_H_
#define SIM_WORKLOAD_TRACE_FIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/trace/trace_request.h"
#include "sim/workload/workload_match.h"
#include "sim/workload/workload_source.h"
#include "sim/workload/workload_spec.h"

namespace pagedkv::sim {

/// A description of a workload like a trace, with what was found in it.
struct TraceFit {
  struct Fact {
    std::string name;
    std::string finding;
  };

  WorkloadSpec spec;
  std::vector<Fact> facts;  ///< for people, in order
  WorkloadMatch match;      ///< the trace beside `spec` as generated
};

/// Fits one class of sessions to a trace; the same trace gives the same bytes.
///
/// Lengths, turns and think times become quantiles; what an answer's length
/// owes to its prompt's is kept by ranges of the prompt where their rank
/// correlation is 0.1 or more, and a session's number of turns by ranges of its
/// first prompt where there are sessions enough. Turns are counted in the
/// sessions of the trace's first half, since its end cuts off later ones.
/// Sessions are those that the trace tells, or that its block ids show
/// (`FindSessions`); their first prompts begin with texts that are drawn as
/// often together as the trace has it. Starts are Poisson, gamma or constant by
/// the variation of their gaps, with a profile of the day where the trace is
/// longer than one; where recorded times are rounded so much that gaps say
/// little, that of the counts counts. The rate is then set so that as many
/// requests take as long.
///
/// Not kept: what the turns of a session have to do with each other otherwise,
/// classes within a trace, and changes over the trace but the day's.
/// `seed` is that of the comparison. InvalidArgument for fewer than 10
/// requests.
absl::StatusOr<TraceFit> FitTrace(const LoadedWorkload& trace,
                                  std::uint64_t seed);

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_TRACE_FIT_H_
