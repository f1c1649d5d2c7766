// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SIM_OPTIONS_H_
#define SIM_STUDY_SIM_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/trace/trace_reader.h"

namespace pagedkv::sim {

/// The share of a GPU's memory that is used where nothing else is said.
inline constexpr double kDefaultGpuMemoryUtilization = 0.9;

/// What was asked for, as on the command line. An option that was not given is
/// missing: nothing that was given may be ignored.
struct SimOptions {
  // Workload.
  std::optional<std::string> trace;
  std::optional<std::string> workload;
  std::optional<std::int64_t> requests;
  std::optional<double> rate;
  std::int64_t seed = 0;
  bool skip_malformed = false;
  bool strict = false;
  bool sort = false;
  SessionLoop sessions = SessionLoop::kRecorded;

  // Policies, separated by commas; the first is the baseline.
  std::string policies =
      "contiguous-max,contiguous-pow2,contiguous-oracle,paged-16";

  // Model.
  std::optional<std::string> model;
  std::optional<std::string> config;
  std::optional<std::int64_t> kv_bytes_per_token;
  std::optional<std::string> dtype;
  std::optional<std::int64_t> max_seq_len;

  // Pool.
  std::optional<std::string> memory;
  std::optional<std::int64_t> num_blocks;
  std::optional<std::int32_t> block_size;  ///< of `num_blocks`
  std::optional<std::string> gpu;
  bool demand = false;
  std::optional<double> gpu_memory_utilization;
  std::optional<std::string> weights;
  std::optional<std::string> activations;
  std::optional<std::int32_t> tensor_parallel;
  std::optional<std::int32_t> pipeline_parallel;

  // Scheduling.
  std::string clock = "iteration";
  std::optional<std::string> step_time;         ///< of the fixed clock
  std::optional<std::string> step_time_preset;  ///< of the model clock
  std::optional<double> compute_efficiency;     ///< of the roofline
  std::optional<double> bandwidth_efficiency;   ///< of the roofline
  bool saturate = false;
  std::optional<std::int32_t> max_num_seqs;
  std::optional<std::int64_t> max_num_batched_tokens;
  std::optional<double> watermark;
  std::string prefix_cache = "off";
  std::optional<std::string> eviction;
  std::string preemption = "recompute";
  std::optional<std::string> swap_space;
  std::optional<std::int64_t> num_swap_blocks;
  std::optional<std::string> link_bandwidth;

  // Fleet.
  std::int32_t replicas = 1;
  std::optional<std::string> router;
  std::optional<std::string> router_delay;
  std::vector<std::string> outages = {};  ///< as "0@60s..90s"

  // Report.
  std::string weight = "time";
  std::optional<std::string> window;
  std::optional<std::string> map_from;
  std::optional<std::string> map_span;
  std::optional<std::string> slo_ttft;
  std::optional<std::string> slo_tpot;
  std::optional<double> usd_per_gpu_hour;
};

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SIM_OPTIONS_H_
