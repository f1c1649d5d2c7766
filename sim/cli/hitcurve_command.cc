// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_command.h"

#include <cstdint>
#include <filesystem>
#include <map>
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

#include "sim/cli/hitcurve_page.h"
#include "sim/cli/hitcurve_plot.h"
#include "sim/cli/hitcurve_report.h"
#include "sim/cli/read_options.h"
#include "sim/hitcurve/block_trace.h"
#include "sim/hitcurve/hit_curve.h"
#include "sim/report/atomic_file.h"
#include "sim/study/interrupt.h"
#include "sim/workload/workload_source.h"

namespace pagedkv::sim {
namespace {

constexpr char kConvention[] =
    R"(Hits: the blocks of a prompt, up to the first that is not cached when the
request arrives. A partial last block is a block, and weighs its own tokens.
Weights: block (blocks found / asked for), token (tokens found / prompt tokens),
request (mean over requests of tokens found / prompt tokens).
lru: exact, by stack distances; a request touches its blocks from the last to
the first. optimum: evicts, between requests, the block whose next request is
farthest; where block ids stand for prefixes (as --strict checks), no policy has
more hits by blocks. Others: simulated; what the request at hand uses is no
victim, and a leaf goes instead of a block that others continue, unless the
policy evicts parents.)";

using Render = std::string (*)(const HitcurveReport&,
                               const std::vector<HitWeight>&);

std::string TableWithPlot(const HitcurveReport& report,
                          const std::vector<HitWeight>& weights) {
  return HitcurveToText(report, weights) + '\n' +
         HitcurvePlot(report, weights.front());
}

const std::map<std::string, Render>& Renders() {
  static const auto& renders =
      *new std::map<std::string, Render>{{"table", TableWithPlot},
                                         {"json", HitcurveToJson},
                                         {"csv", HitcurveToCsv},
                                         {"md", HitcurveToMarkdown}};
  return renders;
}

const std::map<std::string, HitWeight>& Weights() {
  static const auto& weights =
      *new std::map<std::string, HitWeight>{{"block", HitWeight::kBlock},
                                            {"token", HitWeight::kToken},
                                            {"request", HitWeight::kRequest}};
  return weights;
}

struct State {
  WorkloadOptions workload;
  std::vector<std::int64_t> sizes;
  std::vector<std::string> policies;
  std::optional<std::string> weight;
  std::string format = "table";
  std::optional<std::string> out;
};

absl::StatusOr<HitcurveReport> MakeReport(const State& state) {
  absl::StatusOr<LoadedWorkload> workload = LoadWorkload(state.workload);
  if (!workload.ok()) return workload.status();
  const absl::StatusOr<BlockTrace> trace = BlockTrace::Create(
      workload->requests, workload->summary.trace_block_tokens);
  if (!trace.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(state.workload.trace.empty() ? state.workload.workload
                                                  : state.workload.trace,
                     ": ", std::string(trace.status().message())));
  }
  workload->requests = {};  // the trace has what is needed of them
  HitCurveOptions options;
  for (const std::int64_t size : state.sizes) options.sizes.emplace_back(size);
  if (!state.policies.empty()) options.policies = state.policies;
  absl::StatusOr<HitCurve> curve = ComputeHitCurve(*trace, options);
  if (!curve.ok()) return curve.status();
  return HitcurveReport{.trace = std::move(workload->summary),
                        .num_contents = trace->num_contents(),
                        .curve = *std::move(curve)};
}

absl::Status WriteFiles(const std::filesystem::path& folder,
                        const HitcurveReport& report,
                        const std::vector<HitWeight>& weights) {
  const DeferInterrupts deferred;
  absl::StatusOr<AtomicFile> csv = AtomicFile::Create(folder / "hitcurve.csv");
  if (!csv.ok()) return csv.status();
  absl::StatusOr<AtomicFile> json =
      AtomicFile::Create(folder / "hitcurve.json");
  if (!json.ok()) return json.status();
  absl::StatusOr<AtomicFile> html =
      AtomicFile::Create(folder / "hitcurve.html");
  if (!html.ok()) return html.status();
  csv->Append(HitcurveToCsv(report, weights));
  html->Append(HitcurvePage(report, weights));
  json->Append(HitcurveToJson(report, weights));
  if (absl::Status status = csv->Commit(); !status.ok()) return status;
  if (absl::Status status = html->Commit(); !status.ok()) return status;
  return json->Commit();
}

int Run(const State& state) {
  EndOnInterrupt();
  // Before the long work, so that it is not in vain.
  if (state.out) {
    if (absl::Status status = MakeOutFolder(*state.out); !status.ok()) {
      return ReportBadInput(status);
    }
  }
  const absl::StatusOr<HitcurveReport> report = MakeReport(state);
  if (!report.ok()) return ReportBadInput(report.status());

  // People read one table; programs pick from all there is.
  const bool for_people = state.format == "table" || state.format == "md";
  const std::vector<HitWeight> all = {HitWeight::kBlock, HitWeight::kToken,
                                      HitWeight::kRequest};
  std::vector<HitWeight> printed = all;
  if (state.weight || for_people) {
    printed = {Weights().at(state.weight.value_or("block"))};
  }
  if (state.out) {
    const absl::Status status =
        WriteFiles(*state.out, *report, state.weight ? printed : all);
    if (!status.ok()) return ReportBadInput(status);
  }
  return Print(Renders().at(state.format)(*report, printed));
}

}  // namespace

void AddHitcurveCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "hitcurve", "Hit rate of a prefix cache against its size, by policy");
  const auto state = std::make_shared<State>();
  command->footer(kConvention);
  command->add_option("--trace", state->workload.trace,
                      "A trace file with block ids; its format is detected");
  command->add_option("--workload", state->workload.workload,
                      "A built-in workload with block ids: "
                      "mooncake-conversation");
  command->add_option("--seed", state->workload.seed, "Of --workload")
      ->capture_default_str();
  AddReadOptions(*command, state->workload);
  command
      ->add_option("--sizes", state->sizes,
                   "Blocks of the cache, in blocks of the trace, such as "
                   "1000,5000,10000 (default: steps of 1, 2 and 5 up to the "
                   "need of lru)")
      ->delimiter(',')
      ->check(PositiveInteger());
  command
      ->add_option(
          "--policies", state->policies,
          absl::StrCat(absl::StrJoin(HitCurveNames(), ","), " (default: all)"))
      ->delimiter(',');
  command
      ->add_option("--weight", state->weight,
                   "block, token or request (default: block in tables, all "
                   "three in json and csv)")
      ->check(CLI::IsMember(Weights()));
  command
      ->add_option("--format", state->format,
                   "On standard output: table, json, csv or md")
      ->check(CLI::IsMember(Renders()))
      ->capture_default_str();
  command->add_option("--out", state->out,
                      "A folder for hitcurve.html, hitcurve.json and "
                      "hitcurve.csv");
  command->callback([state, &exit_code] { exit_code = Run(*state); });
}

}  // namespace pagedkv::sim
