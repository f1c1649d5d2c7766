// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_source.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "sim/trace/content.h"
#include "sim/trace/number.h"
#include "sim/trace/sha256.h"
#include "sim/trace/trace_reader.h"
#include "sim/workload/arrivals.h"
#include "sim/workload/builtin_workload.h"
#include "sim/workload/session_source.h"
#include "sim/workload/workload_spec_json.h"

namespace pagedkv::sim {
namespace {

bool ArrivesBefore(const TraceRequest& a, const TraceRequest& b) {
  return a.arrival_ns != b.arrival_ns ? a.arrival_ns < b.arrival_ns
                                      : a.id < b.id;
}

/// Span and token sums of the requests as they are now.
void SumUp(std::span<const TraceRequest> requests, TraceSummary& summary) {
  summary.kept = static_cast<std::int64_t>(requests.size());
  summary.span_ns = requests.empty() ? 0
                                     : requests.back().arrival_ns -
                                           requests.front().arrival_ns;
  summary.prompt_tokens = summary.output_tokens = 0;
  for (const TraceRequest& request : requests) {
    summary.prompt_tokens += request.prompt_tokens;
    summary.output_tokens += request.output_tokens;
  }
}

absl::Status NoneLeft(const WorkloadOptions& options,
                      const TraceSummary& summary) {
  const DroppedRows& dropped = summary.dropped;
  return absl::InvalidArgumentError(absl::StrCat(
      options.trace.empty() ? options.workload : options.trace,
      ": no request is left of ", summary.rows, " rows: ", dropped.malformed,
      " malformed, ", dropped.zero_output, " without output, ",
      dropped.out_of_order, " out of order, ", dropped.over_max_seq,
      " longer than ", options.max_sequence_tokens, " tokens"));
}

/// SHA-256 over id, arrival, lengths, number of block ids and these, and for
/// turns that wait for another its id and the delay; each as eight bytes, the
/// lowest first.
class RequestHash {
 public:
  void Add(const TraceRequest& request) {
    if (bytes_.size() >= kPiece) Flush();
    Append(static_cast<std::uint64_t>(request.id));
    Append(static_cast<std::uint64_t>(request.arrival_ns));
    Append(static_cast<std::uint64_t>(request.prompt_tokens));
    Append(static_cast<std::uint64_t>(request.output_tokens));
    Append(request.block_ids.size());
    for (const std::uint64_t id : request.block_ids) Append(id);
    if (request.follows >= 0) {
      Append(static_cast<std::uint64_t>(request.follows));
      Append(static_cast<std::uint64_t>(request.delay_ns));
    }
  }
  /// To be called once, in the end.
  std::string Finish() {
    Flush();
    return hash_.Finish();
  }

 private:
  static constexpr std::size_t kPiece = std::size_t{1} << 14;

  void Append(std::uint64_t word) {
    char bytes[sizeof(word)];
    for (std::size_t i = 0; i < sizeof(word); ++i) {
      bytes[i] = static_cast<char>((word >> (8 * i)) & 0xFF);
    }
    bytes_.append(bytes, sizeof(word));
  }
  void Flush() {
    hash_.Update(bytes_);
    bytes_.clear();
  }

  Sha256 hash_;
  std::string bytes_;
};

absl::StatusOr<std::unique_ptr<TraceReader>> OpenTrace(
    const WorkloadOptions& options, bool identify) {
  return TraceReader::Open(options.trace,
                           {.skip_malformed = options.skip_malformed,
                            .strict = options.strict,
                            .keep_out_of_order = options.sort,
                            .max_sequence_tokens = options.max_sequence_tokens,
                            .max_requests = options.requests,
                            .block_tokens = options.trace_block_tokens,
                            .identify = identify,
                            .token_ids = options.token_ids,
                            .sessions = options.sessions});
}

/// A trace whose rows are in order.
class TraceSource final : public WorkloadSource {
 public:
  TraceSource(const WorkloadOptions& options,
              std::unique_ptr<TraceReader> reader)
      : options_(options), reader_(std::move(reader)) {}

  absl::StatusOr<bool> Next(TraceRequest& request) override {
    absl::StatusOr<bool> more = reader_->Next(request);
    if (!more.ok() || *more || summary().kept > 0) return more;
    return NoneLeft(options_, summary());
  }
  [[nodiscard]] const TraceSummary& summary() const override {
    return reader_->summary();
  }

 private:
  WorkloadOptions options_;
  std::unique_ptr<TraceReader> reader_;
};

/// A built-in workload, without the requests that are too long.
class FilteredBuiltin final : public WorkloadSource {
 public:
  static absl::StatusOr<std::unique_ptr<WorkloadSource>> Open(
      const WorkloadOptions& options, const BuiltinWorkload& workload,
      bool identify) {
    absl::StatusOr<std::unique_ptr<RequestSource>> source = workload.Open(
        options.requests > 0 ? options.requests : workload.num_requests,
        options.rate != 0 ? options.rate : workload.rate, options.seed);
    if (!source.ok()) return source.status();
    return std::unique_ptr<WorkloadSource>(
        new FilteredBuiltin(options, workload, *std::move(source), identify));
  }

  absl::StatusOr<bool> Next(TraceRequest& request) override {
    for (;;) {
      absl::StatusOr<bool> more = source_->Next(request);
      if (!more.ok()) return more;
      if (!*more) return End();
      ++summary_.rows;
      if (hash_.has_value()) hash_->Add(request);
      if (options_.max_sequence_tokens == 0 ||
          std::int64_t{request.prompt_tokens} + request.output_tokens <=
              options_.max_sequence_tokens) {
        break;
      }
      ++summary_.dropped.over_max_seq;
    }
    if (summary_.kept++ == 0) first_ns_ = request.arrival_ns;
    summary_.span_ns = request.arrival_ns - first_ns_;
    summary_.prompt_tokens += request.prompt_tokens;
    summary_.output_tokens += request.output_tokens;
    return true;
  }
  [[nodiscard]] const TraceSummary& summary() const override {
    return summary_;
  }

 private:
  FilteredBuiltin(const WorkloadOptions& options,
                  const BuiltinWorkload& workload,
                  std::unique_ptr<RequestSource> source, bool identify)
      : options_(options), source_(std::move(source)) {
    if (identify) hash_.emplace();
    summary_.name = options.workload;
    summary_.format = "builtin";
    summary_.synthetic_from = workload.source;
    if (workload.reuse != nullptr) {
      summary_.trace_block_tokens = workload.reuse->block.value();
    }
  }

  absl::StatusOr<bool> End() {
    if (hash_.has_value()) {
      summary_.sha256 = hash_->Finish();
      hash_.reset();
    }
    if (summary_.kept == 0) return NoneLeft(options_, summary_);
    return false;
  }

  WorkloadOptions options_;
  std::unique_ptr<RequestSource> source_;
  std::optional<RequestHash> hash_;
  TraceSummary summary_;
  std::int64_t first_ns_ = 0;
};

absl::Status CheckOptions(const WorkloadOptions& options) {
  if (options.trace.empty() == options.workload.empty()) {
    return absl::InvalidArgumentError(
        "give either --trace FILE or --workload NAME");
  }
  if (options.requests < 0 || options.max_sequence_tokens < 0 ||
      options.trace_block_tokens < 0) {
    return absl::InvalidArgumentError(
        "numbers of requests and of tokens may not be negative");
  }
  return absl::OkStatus();
}

void DropTooLong(const WorkloadOptions& options, LoadedWorkload& loaded) {
  if (options.max_sequence_tokens == 0) return;
  loaded.summary.dropped.over_max_seq = static_cast<std::int64_t>(
      std::erase_if(loaded.requests, [&](const TraceRequest& request) {
        return std::int64_t{request.prompt_tokens} + request.output_tokens >
               options.max_sequence_tokens;
      }));
}

/// Tells the turn `before` of the last of `requests`, which are in order of
/// their ids, the content of its output from what that one shows of it.
void LinkTurns(std::int64_t before, const TraceSummary& summary,
               std::span<TraceRequest> requests) {
  const TraceRequest& turn = requests.back();
  if (before < 0 || turn.block_ids.empty()) return;
  const auto found = std::lower_bound(
      requests.begin(), requests.end(), before,
      [](const TraceRequest& a, std::int64_t id) { return a.id < id; });
  TellOutput(turn, BlockSize(summary.trace_block_tokens), *found);
}

absl::StatusOr<LoadedWorkload> LoadTrace(const WorkloadOptions& options) {
  const absl::StatusOr<std::unique_ptr<TraceReader>> reader =
      OpenTrace(options, /*identify=*/true);
  if (!reader.ok()) return reader.status();
  LoadedWorkload loaded;
  TraceRequest request;
  for (;;) {
    absl::StatusOr<bool> more = (*reader)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    loaded.requests.push_back(request);
    LinkTurns((*reader)->continued_id(), (*reader)->summary(), loaded.requests);
  }
  loaded.summary = (*reader)->summary();
  std::sort(loaded.requests.begin(), loaded.requests.end(), ArrivesBefore);
  if (!loaded.requests.empty()) {
    // Sorted, the first to arrive need not be the first row.
    const std::int64_t early_ns =
        std::min<std::int64_t>(0, loaded.requests.front().arrival_ns);
    for (TraceRequest& each : loaded.requests) each.arrival_ns -= early_ns;
  }
  return loaded;
}

absl::StatusOr<LoadedWorkload> GenerateSessions(const WorkloadOptions& options,
                                                WorkloadSpec spec) {
  LoadedWorkload loaded;
  TraceSummary& summary = loaded.summary;
  summary.name = spec.name;
  summary.format = "generated";
  summary.synthetic_from = spec.description;
  summary.trace_block_tokens = spec.block.value();
  const std::int64_t count =
      options.requests > 0 ? options.requests : spec.num_requests;
  absl::StatusOr<std::unique_ptr<SessionSource>> source =
      SessionSource::Create(std::move(spec), count, options.rate, options.seed);
  if (!source.ok()) return source.status();
  TraceRequest request;
  for (;;) {
    absl::StatusOr<bool> more = (*source)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    loaded.requests.push_back(std::move(request));
  }
  if (options.sessions == SessionLoop::kOpen) {
    for (TraceRequest& each : loaded.requests) each.follows = -1;
  }
  RequestHash hash;
  for (const TraceRequest& each : loaded.requests) hash.Add(each);
  summary.sha256 = hash.Finish();
  summary.rows = count;
  // A turn that is too long is followed only by longer ones.
  DropTooLong(options, loaded);
  for (const TraceRequest& each : loaded.requests) {
    summary.closed_loop_turns += each.follows >= 0 ? 1 : 0;
  }
  return loaded;
}

absl::StatusOr<LoadedWorkload> GenerateBuiltin(
    const WorkloadOptions& options, const BuiltinWorkload& workload) {
  const absl::StatusOr<std::unique_ptr<WorkloadSource>> source =
      FilteredBuiltin::Open(options, workload, /*identify=*/true);
  if (!source.ok()) return source.status();
  LoadedWorkload loaded;
  TraceRequest request;
  for (;;) {
    const absl::StatusOr<bool> more = (*source)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    loaded.requests.push_back(request);
  }
  loaded.summary = (*source)->summary();
  return loaded;
}

/// A built-in workload, a preset or a file that describes one.
absl::StatusOr<LoadedWorkload> Generate(const WorkloadOptions& options) {
  if (absl::EndsWith(options.workload, ".json")) {
    absl::StatusOr<WorkloadSpec> spec = ReadWorkloadSpec(options.workload);
    if (!spec.ok()) return spec.status();
    return GenerateSessions(options, *std::move(spec));
  }
  const absl::StatusOr<const BuiltinWorkload*> builtin =
      BuiltinWorkload::Find(options.workload);
  if (builtin.ok()) return GenerateBuiltin(options, **builtin);
  absl::StatusOr<std::vector<WorkloadSpec>> presets = WorkloadPresets();
  if (!presets.ok()) return presets.status();
  for (WorkloadSpec& preset : *presets) {
    if (preset.name == options.workload) {
      return GenerateSessions(options, std::move(preset));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown workload ", Quote(options.workload), "; known are ",
                   absl::StrJoin(WorkloadNames(), ", "),
                   ", and the path of a description, which ends with .json"));
}

}  // namespace

std::vector<std::string> WorkloadNames() {
  std::vector<std::string> names;
  for (const BuiltinWorkload& workload : BuiltinWorkload::All()) {
    names.emplace_back(workload.name);
  }
  // Presets are part of the program: a test reads them.
  const absl::StatusOr<std::vector<WorkloadSpec>> presets = WorkloadPresets();
  if (!presets.ok()) return names;
  for (const WorkloadSpec& preset : *presets) names.push_back(preset.name);
  return names;
}

absl::StatusOr<std::unique_ptr<WorkloadSource>> OpenWorkload(
    const WorkloadOptions& options, bool identify) {
  if (absl::Status checked = CheckOptions(options); !checked.ok()) {
    return checked;
  }
  absl::Status whole = absl::FailedPreconditionError(
      absl::StrCat(options.trace, options.workload,
                   ": only the whole workload can be loaded"));
  if (options.trace.empty()) {
    const absl::StatusOr<const BuiltinWorkload*> builtin =
        BuiltinWorkload::Find(options.workload);
    if (!builtin.ok()) return whole;
    return FilteredBuiltin::Open(options, **builtin, identify);
  }
  std::error_code ignored;
  if (options.sort || options.rate != 0 ||
      !std::filesystem::is_regular_file(options.trace, ignored)) {
    return whole;
  }
  absl::StatusOr<std::unique_ptr<TraceReader>> reader =
      OpenTrace(options, identify);
  if (!reader.ok()) return reader.status();
  if (!(*reader)->keeps_order()) return whole;
  return std::make_unique<TraceSource>(options, *std::move(reader));
}

absl::StatusOr<LoadedWorkload> LoadWorkload(const WorkloadOptions& options) {
  if (absl::Status checked = CheckOptions(options); !checked.ok()) {
    return checked;
  }
  absl::StatusOr<LoadedWorkload> loaded =
      options.trace.empty() ? Generate(options) : LoadTrace(options);
  if (!loaded.ok()) return loaded.status();
  if (loaded->requests.empty()) return NoneLeft(options, loaded->summary);
  if (options.rate != 0 && !options.trace.empty()) {
    if (absl::Status applied =
            ApplyRate(options.rate, options.seed, loaded->requests);
        !applied.ok()) {
      return applied;
    }
  }
  SumUp(loaded->requests, loaded->summary);
  return loaded;
}

}  // namespace pagedkv::sim
