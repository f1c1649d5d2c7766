// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/sim_command.h"

#include <unistd.h>

#include <cstddef>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "pagedkv/eviction_policy.h"
#include "sim/cli/read_options.h"
#include "sim/cli/sweep_points.h"
#include "sim/cli/terminal.h"
#include "sim/report/causes_plot.h"
#include "sim/report/report_json.h"
#include "sim/report/summary_table.h"
#include "sim/report/sweep_report.h"
#include "sim/study/interrupt.h"
#include "sim/study/option_checks.h"
#include "sim/study/sim_plan.h"
#include "sim/study/sim_run.h"
#include "sim/study/sweep.h"
#include "sim/study/sweep_values.h"

namespace pagedkv::sim {
namespace {

struct State {
  SimOptions options;
  std::string format = "table";
  std::optional<std::string> out;
  std::optional<std::string> chrome_trace;
  std::optional<std::string> admission_log;
  bool timing = false;
  std::size_t num_threads = 0;
  std::vector<std::string> sweep;
};

/// A result in the formats that all have.
template <typename Result>
struct Renders {
  std::string (*table)(const Result&);
  std::string (*json)(const Result&);
  std::string (*csv)(const Result&);
  std::string (*md)(const Result&);

  [[nodiscard]] auto For(const std::string& format) const {
    if (format == "json") return json;
    if (format == "csv") return csv;
    if (format == "md") return md;
    return table;
  }
};
std::string TableWithPlot(const Report& report) {
  return SummaryToText(report) + '\n' +
         CausesPlot(report, GlyphsOfStandardOutput());
}

constexpr Renders<Report> kReportRenders = {TableWithPlot, ReportToJson,
                                            SummaryToCsv, SummaryToMarkdown};
constexpr Renders<SweepReport> kSweepRenders = {SweepToText, SweepToJson,
                                                SweepToCsv, SweepToMarkdown};

int ReportFailure(const absl::Status& status) {
  return absl::IsCancelled(status) ? ReportInterrupted()
                                   : ReportBadInput(status);
}

/// Prints what a run found out, and its warnings.
template <typename Result>
int Conclude(const Result& result, const Renders<Result>& renders,
             const std::string& format) {
  for (const std::string& warning : result.Warnings()) {
    std::cerr << "pagedkv: warning: " << warning << '\n';
  }
  return Print(renders.For(format)(result));
}

int RunOne(const State& state) {
  if (!state.out) {
    absl::Status refused =
        Refuse({{"--map-from", state.options.map_from.has_value()},
                {"--map-span", state.options.map_span.has_value()}},
               "is of the memory map in report.html: give --out");
    if (!refused.ok()) return ReportBadInput(refused);
  }
  const absl::StatusOr<SimPlan> plan = MakeSimPlan(state.options);
  if (!plan.ok()) return ReportBadInput(plan.status());
  SimRunOptions options;
  options.out = state.out;
  options.chrome_trace = state.chrome_trace;
  options.admission_log = state.admission_log;
  options.timing = state.timing;
  options.progress = isatty(STDERR_FILENO) != 0;
  options.num_threads = state.num_threads;
  const absl::StatusOr<Report> report = RunSimPlan(*plan, options);
  if (!report.ok()) return ReportFailure(report.status());
  return Conclude(*report, kReportRenders, state.format);
}

int RunMany(const State& state, const CLI::App& command) {
  std::vector<SweepParameter> parameters;
  for (const std::string& text : state.sweep) {
    absl::StatusOr<SweepParameter> parameter = ParseSweepParameter(text);
    if (!parameter.ok()) return ReportBadInput(parameter.status());
    parameters.push_back(*std::move(parameter));
  }
  const absl::StatusOr<std::vector<SweepPoint>> points =
      MakeSweepPoints(command, parameters);
  if (!points.ok()) return ReportBadInput(points.status());
  SweepOptions options;
  options.out = state.out;
  options.timing = state.timing;
  options.study.progress = isatty(STDERR_FILENO) != 0;
  options.study.num_threads = state.num_threads;
  const absl::StatusOr<SweepReport> sweep =
      RunSweep(std::move(parameters), *points, options);
  if (!sweep.ok()) return ReportFailure(sweep.status());
  return Conclude(*sweep, kSweepRenders, state.format);
}

int Run(const State& state, const CLI::App& command) {
  EndOnInterrupt();
  for (const char* known : {"table", "json", "csv", "md"}) {
    if (state.format != known) continue;
    return state.sweep.empty() ? RunOne(state) : RunMany(state, command);
  }
  return ReportBadInput(absl::InvalidArgumentError(absl::StrFormat(
      "unknown --format '%s': use table, json, csv or md", state.format)));
}

void AddWorkloadOptions(CLI::App& sim, SimOptions& options) {
  const std::string group = "Workload (one of --trace, --workload)";
  sim.add_option("--trace", options.trace,
                 "A trace file; its format is detected")
      ->group(group);
  sim.add_option("--workload", options.workload,
                 absl::StrCat("A workload that needs no file (",
                              absl::StrJoin(WorkloadNames(), ", "),
                              ") or a description that ends with .json"))
      ->group(group);
  sim.add_option("--requests", options.requests,
                 "The first N requests (default: all)")
      ->group(group);
  sim.add_option("--rate", options.rate,
                 "Mean arrivals per second (default: as recorded)")
      ->group(group);
  sim.add_option("--seed", options.seed,
                 "Of all that is drawn: workloads, intervals")
      ->capture_default_str()
      ->group(group);
  AddSessionsOption(sim, options.sessions)->group(group);
  sim.add_flag("--skip-malformed", options.skip_malformed,
               "Count malformed rows of a trace instead of stopping")
      ->group(group);
  sim.add_flag("--strict", options.strict,
               "Refuse block ids of a trace that contradict each other")
      ->group(group);
  sim.add_flag("--sort", options.sort,
               "Sort a trace by arrival instead of dropping rows out of order")
      ->group(group);
}

void AddModelOptions(CLI::App& sim, SimOptions& options) {
  const std::string group =
      "Model (one of --model, --config, --kv-bytes-per-token)";
  sim.add_option("--model", options.model, "A model of the catalogue")
      ->group(group);
  sim.add_option("--config", options.config, "A config.json of Hugging Face")
      ->group(group);
  sim.add_option("--kv-bytes-per-token", options.kv_bytes_per_token,
                 "Bytes of one token in all layers")
      ->group(group);
  sim.add_option(
         "--dtype", options.dtype,
         "fp32, fp16, bf16, fp8, fp8_e5m2, int8, int4 or int2 (default: the "
         "model's)")
      ->group(group);
  sim.add_option("--max-seq-len", options.max_seq_len,
                 "Tokens of the longest sequence; longer requests are dropped "
                 "and counted (default: the model's context)")
      ->group(group);
}

void AddPoolOptions(CLI::App& sim, SimOptions& options) {
  const std::string group =
      "Pool (one of --memory, --num-blocks, --gpu, --demand)";
  sim.add_option("--memory", options.memory,
                 "For KV on each GPU, such as 12GiB or 24GB")
      ->group(group);
  sim.add_option("--num-blocks", options.num_blocks,
                 "Blocks, the null block included; every policy gets their "
                 "slots")
      ->group(group);
  sim.add_option("--block-size", options.block_size,
                 "Tokens in each of --num-blocks (default: as the first paged "
                 "policy, else 16)")
      ->group(group);
  sim.add_option("--gpu", options.gpu,
                 "What a GPU of the catalogue has left; with the roofline also "
                 "beside the others, for its speed")
      ->group(group);
  sim.add_flag("--demand", options.demand,
               "Unbounded: how much would be needed (with --clock fixed or "
               "model)")
      ->group(group);
  sim.add_option("--gpu-memory-utilization", options.gpu_memory_utilization,
                 absl::StrFormat("Share of --gpu to use (default: %g)",
                                 kDefaultGpuMemoryUtilization))
      ->group(group);
  sim.add_option("--weights", options.weights,
                 "Of the whole model, beside KV on --gpu (default: those of "
                 "the checkpoint)")
      ->group(group);
  sim.add_option("--activations", options.activations,
                 "On each --gpu, with all else but weights and KV (default: 0)")
      ->group(group);
  sim.add_option("--tp", options.tensor_parallel,
                 "Tensor-parallel ranks (default: 1)")
      ->check(CLI::PositiveNumber)
      ->group(group);
  sim.add_option("--pp", options.pipeline_parallel,
                 "Pipeline stages (default: 1)")
      ->check(CLI::PositiveNumber)
      ->group(group);
}

void AddSchedulingOptions(CLI::App& sim, SimOptions& options) {
  const SimulationOptions defaults;
  const std::string group = "Policies and scheduling";
  sim.add_option("--policies", options.policies,
                 "paged-<block size>, contiguous-max, contiguous-pow2, "
                 "contiguous-oracle, contiguous-max-exact, concat; the first "
                 "is the baseline")
      ->capture_default_str()
      ->group(group);
  sim.add_option(
         "--clock", options.clock,
         "iteration: time counts steps, the queue is saturated; fixed: "
         "each step takes --step-time, arrivals at their own times; model: "
         "a step takes what --step-time-preset says of its work")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--step-time", options.step_time,
                 "Of --clock fixed, such as 20ms")
      ->group(group);
  sim.add_option("--step-time-preset", options.step_time_preset,
                 "Of --clock model: roofline (of --model on --gpu), "
                 "splitwise-h100-tp8-llama-2-70b, "
                 "splitwise-a100-tp8-llama-2-70b, or a file of pagedkv fit")
      ->group(group);
  sim.add_option("--compute-efficiency", options.compute_efficiency,
                 "Share of the peak FLOP/s that the roofline reaches (default: "
                 "1, the bound)")
      ->group(group);
  sim.add_option("--bandwidth-efficiency", options.bandwidth_efficiency,
                 "Share of the peak bandwidth that the roofline reaches "
                 "(default: 1, the bound)")
      ->group(group);
  sim.add_flag("--saturate", options.saturate,
               "Ignore arrival times: the queue is never empty (implied by "
               "--clock iteration)")
      ->group(group);
  sim.add_option("--max-num-seqs", options.max_num_seqs,
                 absl::StrFormat("Sequences in a step (default: %d)",
                                 defaults.max_num_seqs))
      ->group(group);
  sim.add_option("--max-num-batched-tokens", options.max_num_batched_tokens,
                 absl::StrFormat("Tokens in a step (default: %d)",
                                 defaults.max_num_batched_tokens.value()))
      ->group(group);
  sim.add_option("--watermark", options.watermark,
                 absl::StrFormat("Share of the blocks that paged policies keep "
                                 "free on admission (default: %g)",
                                 defaults.watermark))
      ->group(group);
  sim.add_option("--prefix-cache", options.prefix_cache,
                 "on or off: paged policies share blocks of equal content, "
                 "where the workload tells it")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--preemption", options.preemption,
                 "recompute, or swap: paged policies move what a preempted "
                 "request has computed to the host and back, where there is "
                 "room for it")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--swap-space", options.swap_space,
                 "Of --preemption swap: on the host, for each GPU (default: "
                 "4GiB)")
      ->group(group);
  sim.add_option("--num-swap-blocks", options.num_swap_blocks,
                 "The same in blocks of the size of --num-blocks")
      ->group(group);
  sim.add_option("--link-bandwidth", options.link_bandwidth,
                 "Between each GPU and the host, per second, such as 25GB; "
                 "what is moved is added to the steps of --clock model "
                 "(default: 80 % of the link's peak in one direction, of --gpu "
                 "or else PCIe 4.0 x16: 25.2GB)")
      ->group(group);
  sim.add_option("--eviction", options.eviction,
                 "With --prefix-cache on, which idle block goes first: " +
                     absl::StrJoin(EvictionPolicyNames(), ", ") +
                     " (default: lru)")
      ->group(group);
}

void AddFleetOptions(CLI::App& sim, SimOptions& options) {
  const std::string group = "Fleet";
  sim.add_option("--replicas", options.replicas,
                 "Equal engines, each with a pool of its own")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--router", options.router,
                 "round-robin, random, least-loaded, power-of-two or "
                 "prefix-aware (default: round-robin)")
      ->group(group);
  sim.add_option("--router-delay", options.router_delay,
                 "Age of what a prefix-aware router knows of the caches, such "
                 "as 200ms (default: 0s)")
      ->group(group);
  sim.add_option("--outage", options.outages,
                 "A replica that fails and comes back, such as 0@60s..90s; its "
                 "requests are routed anew. May be repeated")
      ->group(group);
}

void AddMeanOptions(CLI::App& sim, SimOptions& options) {
  const std::string group = "Report";
  sim.add_option("--weight", options.weight,
                 "What means are taken over: time or iteration")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--window", options.window,
                 "busy: while a sequence is resident; saturated: while a "
                 "request waits; both without warm-up and drain; all: the "
                 "whole run (default: saturated where the queue is, else busy)")
      ->group(group);
  sim.add_option("--slo-ttft", options.slo_ttft,
                 "Goodput counts requests with their first token within this "
                 "time of arrival, such as 500ms")
      ->group(group);
  sim.add_option("--slo-tpot", options.slo_tpot,
                 "Goodput counts requests with at most this time per later "
                 "token, such as 50ms")
      ->group(group);
  sim.add_option("--usd-per-gpu-hour", options.usd_per_gpu_hour,
                 "For what the waste costs, where the clock models time")
      ->group(group);
}

void AddOutputOptions(CLI::App& sim, State& state) {
  const std::string group = "Report";
  sim.add_option("--format", state.format,
                 "On standard output: table, json, csv or md")
      ->capture_default_str()
      ->group(group);
  sim.add_option("--out", state.out,
                 "A folder for report.html, report.json, report.md, "
                 "timeseries.csv and requests.csv; with --sweep for "
                 "sweep.html, sweep.json, sweep.csv and sweep.md")
      ->group(group);
  sim.add_option("--chrome-trace", state.chrome_trace,
                 "A file for the schedules, which Perfetto and "
                 "chrome://tracing open")
      ->group(group);
  sim.add_option("--admission-log", state.admission_log,
                 "A CSV of why requests were not admitted: who was next in "
                 "line, when, for how long, and what was free")
      ->group(group);
  sim.add_option("--map-from", state.options.map_from,
                 "When the memory map of report.html begins, such as 600s "
                 "(a step of --clock iteration is 1s; default: the start)")
      ->group(group);
  sim.add_option("--map-span", state.options.map_span,
                 "How long it is, such as 30s (default: 1920 steps where the "
                 "queue is saturated, otherwise the whole run)")
      ->group(group);
  sim.add_flag("--timing", state.timing,
               "Record the wall time in the report, which then differs from "
               "run to run")
      ->group(group);
}

void AddManyRunsOptions(CLI::App& sim, State& state) {
  const std::string group = "Many runs";
  sim.add_option("--sweep", state.sweep,
                 "NAME=VALUES: any option above that takes a value, such as "
                 "max-seq-len=2048,4096, memory=1GiB..8GiB+1GiB or "
                 "block-size=8..256*2 (of the paged policies). Given several "
                 "times: every combination; a ; between values that have "
                 "commas in them")
      ->allow_extra_args(false)
      ->group(group);
  sim.add_option("--threads", state.num_threads,
                 "At most; the figures do not depend on it (default: as many "
                 "as there are processors)")
      ->check(PositiveInteger())
      ->group(group);
}

}  // namespace

void AddSimOptions(CLI::App& command, SimOptions& options) {
  AddWorkloadOptions(command, options);
  AddModelOptions(command, options);
  AddPoolOptions(command, options);
  AddSchedulingOptions(command, options);
  AddFleetOptions(command, options);
  AddMeanOptions(command, options);
}

void AddSimCommand(CLI::App& app, int& exit_code) {
  CLI::App* sim = app.add_subcommand(
      "sim", "Replay a workload: waste, batch and preemptions by policy");
  const auto state = std::make_shared<State>();
  AddSimOptions(*sim, state->options);
  AddManyRunsOptions(*sim, *state);
  AddOutputOptions(*sim, *state);
  sim->callback([state, sim, &exit_code] { exit_code = Run(*state, *sim); });
}

}  // namespace pagedkv::sim
