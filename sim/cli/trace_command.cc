// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/trace_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

#include "pagedkv/types.h"
#include "sim/cli/fit_report.h"
#include "sim/cli/read_options.h"
#include "sim/cli/trace_inspection.h"
#include "sim/report/atomic_file.h"
#include "sim/report/decimal.h"
#include "sim/study/interrupt.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_reader.h"
#include "sim/trace/trace_request.h"
#include "sim/trace/trace_writer.h"
#include "sim/workload/trace_fit.h"
#include "sim/workload/workload_source.h"
#include "sim/workload/workload_spec_json.h"

namespace pagedkv::sim {
namespace {

using Render = std::string (*)(const TraceInspection&);

void AddRateOptions(CLI::App& command, WorkloadOptions& options,
                    const std::string& as_it_is) {
  command
      .add_option("--rate", options.rate,
                  "Mean arrivals per second (default: " + as_it_is + ")")
      ->check(CLI::Range(1e-6, 1e9));
  command.add_option("--seed", options.seed, "Of all that is drawn")
      ->capture_default_str();
}

int Inspect(const WorkloadOptions& options, Render render) {
  const absl::StatusOr<TraceInspection> inspection = InspectTrace(
      options.trace, {.skip_malformed = options.skip_malformed,
                      .strict = options.strict,
                      .keep_out_of_order = options.sort,
                      .max_sequence_tokens = options.max_sequence_tokens,
                      .max_requests = options.requests,
                      .block_tokens = options.trace_block_tokens,
                      .sessions = options.sessions});
  if (!inspection.ok()) return ReportBadInput(inspection.status());
  return Print(render(*inspection));
}

/// Writes all requests of `source` as a trace.
absl::Status WriteAll(RequestSource& source,
                      const TraceWriter::Options& options,
                      const std::string& path) {
  absl::StatusOr<TraceWriter> writer = TraceWriter::ForPath(path, options);
  if (!writer.ok()) return writer.status();
  const DeferInterrupts deferred;
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  constexpr std::size_t kPiece = std::size_t{1} << 16;
  std::string text(writer->header());
  bool has_ids = false;
  TraceRequest request;
  for (;;) {
    const absl::StatusOr<bool> more = source.Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (Interrupted()) return absl::CancelledError("interrupted");
    writer->Append(request, text);
    has_ids = has_ids || !request.block_ids.empty();
    if (text.size() >= kPiece) {
      file->Append(text);
      text.clear();
    }
  }
  file->Append(text);
  if (absl::Status done = file->Commit(); !done.ok()) return done;
  if (has_ids && !writer->keeps_block_ids()) {
    std::cerr << "pagedkv: warning: CSV has no place for block ids; write "
                 ".jsonl to keep them\n";
  }
  return absl::OkStatus();
}

/// Writes the workload that `options` name as a trace, with blocks of
/// `out_block` tokens; 0: as they are. As it is read or generated, where that
/// is possible.
absl::StatusOr<TraceSummary> Write(const WorkloadOptions& options,
                                   const std::string& path,
                                   std::int32_t out_block) {
  // The name is looked at before the trace is read.
  if (absl::Status known = TraceWriter::ForPath(path, {}).status();
      !known.ok()) {
    return known;
  }
  const auto writer_options = [out_block](const TraceSummary& summary) {
    const std::int32_t block = summary.trace_block_tokens;
    return TraceWriter::Options{.block = BlockSize(block > 0 ? block : 1),
                                .out_block = BlockSize(out_block > 0 ? out_block
                                                       : block > 0   ? block
                                                                     : 1)};
  };
  const absl::StatusOr<std::unique_ptr<WorkloadSource>> source =
      OpenWorkload(options, /*identify=*/false);
  if (source.ok()) {
    absl::Status done =
        WriteAll(**source, writer_options((*source)->summary()), path);
    if (!done.ok()) return done;
    return (*source)->summary();
  }
  if (!absl::IsFailedPrecondition(source.status())) return source.status();
  const absl::StatusOr<LoadedWorkload> loaded = LoadWorkload(options);
  if (!loaded.ok()) return loaded.status();
  TraceWriter::Options of_loaded = writer_options(loaded->summary);
  of_loaded.sessions =
      std::any_of(loaded->requests.begin(), loaded->requests.end(),
                  [](const TraceRequest& each) { return each.follows >= 0; });
  SpanSource span(loaded->requests);
  if (absl::Status done = WriteAll(span, of_loaded, path); !done.ok()) {
    return done;
  }
  return loaded->summary;
}

int WriteAndTell(const WorkloadOptions& options, const std::string& path,
                 std::int32_t out_block) {
  EndOnInterrupt();
  const absl::StatusOr<TraceSummary> summary = Write(options, path, out_block);
  if (!summary.ok()) {
    return absl::IsCancelled(summary.status())
               ? ReportInterrupted()
               : ReportBadInput(summary.status());
  }
  return Print(absl::StrFormat(
      "%s: %s requests over %s s (%.3f/s), %s prompt and %s output tokens; %s "
      "of %s rows dropped\n",
      path, Grouped(summary->kept), NanosecondsToSeconds(summary->span_ns),
      summary->rate(), Grouped(summary->prompt_tokens),
      Grouped(summary->output_tokens), Grouped(summary->dropped.total()),
      Grouped(summary->rows)));
}

struct State {
  WorkloadOptions options;
  std::string format = "table";
  std::string out;
  std::int32_t out_block_tokens = 0;
};

void AddOutBlockSize(CLI::App& command, State& state) {
  command
      .add_option("--block-size", state.out_block_tokens,
                  "Tokens per block id in a .jsonl; others' tools expect 512 "
                  "(default: as they are)")
      ->check(CLI::Range(1, 1 << 20));
}

void AddInspect(CLI::App& trace, int& exit_code) {
  CLI::App* command = trace.add_subcommand(
      "inspect", "Format, rows kept and dropped, lengths, reuse of a trace");
  const auto state = std::make_shared<State>();
  command->add_option("file", state->options.trace, "The trace")->required();
  AddReadOptions(*command, state->options);
  const std::map<std::string, Render> renders = {{"table", InspectionToText},
                                                 {"json", InspectionToJson},
                                                 {"md", InspectionToMarkdown}};
  command->add_option("--format", state->format, "table, json or md")
      ->check(CLI::IsMember(renders))
      ->capture_default_str();
  command->callback([state, renders, &exit_code] {
    exit_code = Inspect(state->options, renders.at(state->format));
  });
}

void AddGenerate(CLI::App& trace, int& exit_code) {
  CLI::App* command =
      trace.add_subcommand("generate", "Write a generated workload as a trace");
  const auto state = std::make_shared<State>();
  std::string names;
  for (const std::string& name : WorkloadNames()) {
    absl::StrAppendFormat(&names, "%s%s", names.empty() ? "" : ", ", name);
  }
  command
      ->add_option("name", state->options.workload,
                   names + ", or a description that ends with .json")
      ->required();
  command
      ->add_option("--requests", state->options.requests,
                   "How many (default: as the workload has)")
      ->check(CLI::PositiveNumber);
  AddRateOptions(*command, state->options, "as published");
  command
      ->add_option("--out", state->out,
                   "The file: .csv as Azure, .jsonl as Mooncake")
      ->required();
  AddOutBlockSize(*command, *state);
  command->callback([state, &exit_code] {
    exit_code =
        WriteAndTell(state->options, state->out, state->out_block_tokens);
  });
}

void AddConvert(CLI::App& trace, int& exit_code) {
  CLI::App* command =
      trace.add_subcommand("convert", "Write a trace in another format");
  const auto state = std::make_shared<State>();
  command->add_option("in", state->options.trace, "The trace to read")
      ->required();
  command
      ->add_option("out", state->out,
                   "The trace to write: .csv as Azure, .jsonl as Mooncake")
      ->required();
  AddReadOptions(*command, state->options);
  AddRateOptions(*command, state->options, "as recorded");
  AddOutBlockSize(*command, *state);
  command->callback([state, &exit_code] {
    exit_code =
        WriteAndTell(state->options, state->out, state->out_block_tokens);
  });
}

int Fit(const WorkloadOptions& options, const std::string& out) {
  const absl::StatusOr<LoadedWorkload> trace = LoadWorkload(options);
  if (!trace.ok()) return ReportBadInput(trace.status());
  const absl::StatusOr<TraceFit> fit = FitTrace(*trace, options.seed);
  if (!fit.ok()) return ReportBadInput(fit.status());
  if (!out.empty()) {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(out);
    if (!file.ok()) return ReportBadInput(file.status());
    file->Append(WorkloadSpecToJson(fit->spec));
    if (absl::Status done = file->Commit(); !done.ok()) {
      return ReportBadInput(done);
    }
  }
  return Print(FitToText(*fit));
}

void AddFit(CLI::App& trace, int& exit_code) {
  CLI::App* command = trace.add_subcommand(
      "fit", "Describe a workload like a trace, and how like it is");
  const auto state = std::make_shared<State>();
  command->add_option("file", state->options.trace, "The trace")->required();
  AddReadOptions(*command, state->options);
  command
      ->add_option("--seed", state->options.seed,
                   "Of the workload that is compared")
      ->capture_default_str();
  command->add_option("--out", state->out,
                      "The description, for --workload: a file that ends with "
                      ".json");
  command->callback([state, &exit_code] {
    if (!state->out.empty() && !absl::EndsWith(state->out, ".json")) {
      exit_code = ReportBadInput(absl::InvalidArgumentError(
          state->out + ": end its name with .json, as --workload needs it"));
      return;
    }
    exit_code = Fit(state->options, state->out);
  });
}

}  // namespace

void AddTraceCommand(CLI::App& app, int& exit_code) {
  CLI::App* trace =
      app.add_subcommand("trace", "Inspect, generate, convert and fit traces");
  trace->require_subcommand(1);
  AddInspect(*trace, exit_code);
  AddGenerate(*trace, exit_code);
  AddConvert(*trace, exit_code);
  AddFit(*trace, exit_code);
}

}  // namespace pagedkv::sim
