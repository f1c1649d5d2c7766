// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_MEASURED_RUN_H_
#define SIM_STUDY_MEASURED_RUN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/clock/step_time.h"
#include "sim/replay/policy.h"
#include "sim/replay/simulation.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// When an engine gave a request its tokens.
struct MeasuredRequest {
  std::int64_t first_token_ns = 0;
  std::int64_t last_token_ns = 0;
  std::optional<std::int64_t> admitted_ns = {};  ///< first scheduled
};

/// What an engine said of itself at an instant.
struct MeasuredInstant {
  std::int64_t time_ns = 0;
  std::optional<double> running = {};
  std::optional<double> waiting = {};
  std::optional<double> kv_cache_pct =
      {};  ///< blocks in use, of those but the null
};

/// A run of an engine, with all that is needed to replay it. Times count from
/// the zero of the workload's arrivals.
struct MeasuredRun {
  std::string name;          ///< of the folder
  std::string engine;        ///< such as "vLLM 0.19.0"; empty: not said
  std::string model;         ///< as the run names it
  std::string gpu;           ///< likewise; empty: not said
  Policy policy;             ///< paged
  BlockCount num_blocks{0};  ///< the null block included
  /// The engine's settings. Clock and step times are left to the fit.
  SimulationOptions simulation;
  std::vector<TraceRequest> requests;  ///< in order of arrival, ids 0, 1, ...
  /// By the request's id; missing for a request that got no tokens.
  std::vector<std::optional<MeasuredRequest>> measured;
  std::vector<MeasuredInstant> series;  ///< may be empty
  /// Of model and GPU, where the catalogue has both.
  std::optional<StepTime> roofline;
  /// What the run does not say and was assumed, for people.
  std::vector<std::string> assumptions;
};

/// Reads a folder as the benchmark of LLMServingSim leaves it:
///
///   meta.json        the engine's settings: blocks and their size are required
///   workload.jsonl   the requests: lengths, arrivals and, for the prefix
///                    cache, token ids
///   requests.jsonl   for each request, or some: first_token_ts, last_token_ts
///                    in seconds, and if there are, arrival_time, queued_ts,
///                    scheduled_ts, output_toks
///   timeseries.csv   may be missing: t in seconds and any of running, waiting,
///                    kv_cache_pct
///
/// Rows of requests.jsonl belong to the row of the workload whose number ends
/// their request_id ("bench-17"), or where one has none, to the row of the same
/// line. Arrivals are those measured (arrival_time) if all have one. Where the
/// arrivals' clock is not that of the tokens, the two are matched by the
/// request that was queued soonest after it arrived.
///
/// NotFound or InvalidArgument in one line that names file, place and mistake.
absl::StatusOr<MeasuredRun> ReadMeasuredRun(const std::string& folder);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_MEASURED_RUN_H_
