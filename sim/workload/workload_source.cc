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
#include "absl/strings/str_cat.h"

#include "sim/trace/sha256.h"
#include "sim/trace/trace_reader.h"
#include "sim/workload/arrivals.h"
#include "sim/workload/builtin_workload.h"

namespace pagedkv::sim {
namespace {

bool ArrivesBefore(const TraceRequest& a, const TraceRequest& b) {
  return a.arrival_ns != b.arrival_ns ? a.arrival_ns < b.arrival_ns
                                      : a.id < b.id;
}

absl::Status CheckAnyLeft(const WorkloadOptions& options,
                          const TraceSummary& summary) {
  if (summary.kept > 0) return absl::OkStatus();
  const DroppedRows& dropped = summary.dropped;
  return absl::InvalidArgumentError(absl::StrCat(
      options.trace.empty() ? options.workload : options.trace,
      ": no request is left of ", summary.rows, " rows: ", dropped.malformed,
      " malformed, ", dropped.zero_output, " without output, ",
      dropped.out_of_order, " out of order, ", dropped.over_max_seq,
      " longer than ", options.max_sequence_tokens, " tokens"));
}

/// SHA-256 over id, arrival, lengths, number of block ids and these, each as
/// eight bytes, the lowest first.
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

class TraceSource final : public WorkloadSource {
 public:
  static absl::StatusOr<std::unique_ptr<TraceSource>> Open(
      const WorkloadOptions& options, bool identify) {
    absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(
        options.trace, {.skip_malformed = options.skip_malformed,
                        .strict = options.strict,
                        .keep_out_of_order = options.sort,
                        .max_sequence_tokens = options.max_sequence_tokens,
                        .max_requests = options.requests,
                        .block_tokens = options.trace_block_tokens,
                        .identify = identify});
    if (!reader.ok()) return reader.status();
    return std::unique_ptr<TraceSource>(
        new TraceSource(options, *std::move(reader)));
  }

  absl::StatusOr<bool> Next(TraceRequest& request) override {
    absl::StatusOr<bool> more = reader_->Next(request);
    if (!more.ok() || *more) return more;
    if (absl::Status left = CheckAnyLeft(options_, summary()); !left.ok()) {
      return left;
    }
    return false;
  }
  [[nodiscard]] const TraceSummary& summary() const override {
    return reader_->summary();
  }
  [[nodiscard]] bool keeps_order() const { return reader_->keeps_order(); }

 private:
  TraceSource(const WorkloadOptions& options,
              std::unique_ptr<TraceReader> reader)
      : options_(options), reader_(std::move(reader)) {}

  WorkloadOptions options_;
  std::unique_ptr<TraceReader> reader_;
};

/// A built-in workload, without the requests that are too long.
class FilteredBuiltin final : public WorkloadSource {
 public:
  static absl::StatusOr<std::unique_ptr<WorkloadSource>> Open(
      const WorkloadOptions& options, bool identify) {
    const absl::StatusOr<const BuiltinWorkload*> workload =
        BuiltinWorkload::Find(options.workload);
    if (!workload.ok()) return workload.status();
    absl::StatusOr<std::unique_ptr<RequestSource>> source = (*workload)->Open(
        options.requests > 0 ? options.requests : (*workload)->num_requests,
        options.rate != 0 ? options.rate : (*workload)->rate, options.seed);
    if (!source.ok()) return source.status();
    return std::unique_ptr<WorkloadSource>(
        new FilteredBuiltin(options, **workload, *std::move(source), identify));
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
    if (absl::Status left = CheckAnyLeft(options_, summary_); !left.ok()) {
      return left;
    }
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

absl::StatusOr<LoadedWorkload> ReadAll(WorkloadSource& source) {
  LoadedWorkload loaded;
  TraceRequest request;
  for (;;) {
    const absl::StatusOr<bool> more = source.Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    loaded.requests.push_back(request);
  }
  loaded.summary = source.summary();
  return loaded;
}

absl::StatusOr<LoadedWorkload> LoadTrace(const WorkloadOptions& options) {
  const absl::StatusOr<std::unique_ptr<TraceSource>> source =
      TraceSource::Open(options, /*identify=*/true);
  if (!source.ok()) return source.status();
  absl::StatusOr<LoadedWorkload> loaded = ReadAll(**source);
  if (!loaded.ok()) return loaded.status();
  std::vector<TraceRequest>& requests = loaded->requests;
  std::sort(requests.begin(), requests.end(), ArrivesBefore);
  // Sorted, the first to arrive need not be the first row.
  const std::int64_t early_ns =
      std::min<std::int64_t>(0, requests.front().arrival_ns);
  for (TraceRequest& each : requests) each.arrival_ns -= early_ns;
  if (options.rate != 0) {
    absl::Status applied = ApplyRate(options.rate, options.seed, requests);
    if (!applied.ok()) return applied;
  }
  loaded->summary.span_ns =
      requests.back().arrival_ns - requests.front().arrival_ns;
  return loaded;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WorkloadSource>> OpenWorkload(
    const WorkloadOptions& options, bool identify) {
  if (absl::Status checked = CheckOptions(options); !checked.ok()) {
    return checked;
  }
  if (options.trace.empty()) return FilteredBuiltin::Open(options, identify);
  const absl::Status whole = absl::FailedPreconditionError(
      absl::StrCat(options.trace, ": takes to be read as a whole"));
  std::error_code ignored;
  if (options.sort || options.rate != 0 ||
      !std::filesystem::is_regular_file(options.trace, ignored)) {
    return whole;
  }
  absl::StatusOr<std::unique_ptr<TraceSource>> source =
      TraceSource::Open(options, identify);
  if (!source.ok()) return source.status();
  if (!(*source)->keeps_order()) return whole;
  return *std::move(source);
}

absl::StatusOr<LoadedWorkload> LoadWorkload(const WorkloadOptions& options) {
  if (absl::Status checked = CheckOptions(options); !checked.ok()) {
    return checked;
  }
  if (!options.trace.empty()) return LoadTrace(options);
  const absl::StatusOr<std::unique_ptr<WorkloadSource>> source =
      FilteredBuiltin::Open(options, /*identify=*/true);
  if (!source.ok()) return source.status();
  return ReadAll(**source);
}

}  // namespace pagedkv::sim
