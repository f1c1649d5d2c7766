// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_source.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string_view>
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

/// Over id, arrival, lengths, number of block ids and these, each as eight
/// bytes, the lowest first.
std::string HashOf(std::span<const TraceRequest> requests) {
  Sha256 hash;
  std::string bytes;
  const auto append = [&bytes](std::uint64_t word) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes.push_back(static_cast<char>((word >> shift) & 0xFF));
    }
  };
  for (const TraceRequest& request : requests) {
    bytes.clear();
    append(static_cast<std::uint64_t>(request.id));
    append(static_cast<std::uint64_t>(request.arrival_ns));
    append(static_cast<std::uint64_t>(request.prompt_tokens));
    append(static_cast<std::uint64_t>(request.output_tokens));
    append(request.block_ids.size());
    for (const std::uint64_t id : request.block_ids) append(id);
    hash.Update(bytes);
  }
  return hash.Finish();
}

absl::StatusOr<LoadedWorkload> LoadTrace(const WorkloadOptions& options) {
  absl::StatusOr<std::unique_ptr<TraceReader>> reader = TraceReader::Open(
      options.trace, {.skip_malformed = options.skip_malformed,
                      .strict = options.strict,
                      .keep_out_of_order = options.sort,
                      .max_sequence_tokens = options.max_sequence_tokens,
                      .max_requests = options.requests,
                      .block_tokens = options.trace_block_tokens});
  if (!reader.ok()) return reader.status();
  LoadedWorkload loaded;
  TraceRequest request;
  for (;;) {
    absl::StatusOr<bool> more = (*reader)->Next(request);
    if (!more.ok()) return more.status();
    if (!*more) break;
    loaded.requests.push_back(request);
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

absl::StatusOr<LoadedWorkload> GenerateBuiltin(const WorkloadOptions& options) {
  absl::StatusOr<const BuiltinWorkload*> workload =
      BuiltinWorkload::Find(options.workload);
  if (!workload.ok()) return workload.status();
  absl::StatusOr<std::vector<TraceRequest>> requests = (*workload)->Generate(
      options.requests > 0 ? options.requests : (*workload)->num_requests,
      options.rate != 0 ? options.rate : (*workload)->rate, options.seed);
  if (!requests.ok()) return requests.status();
  LoadedWorkload loaded;
  loaded.requests = *std::move(requests);
  TraceSummary& summary = loaded.summary;
  summary.name = options.workload;
  summary.format = "builtin";
  summary.sha256 = HashOf(loaded.requests);
  summary.rows = static_cast<std::int64_t>(loaded.requests.size());
  if ((*workload)->reuse != nullptr) {
    summary.trace_block_tokens = (*workload)->reuse->block.value();
  }
  if (options.max_sequence_tokens > 0) {
    summary.dropped.over_max_seq = static_cast<std::int64_t>(
        std::erase_if(loaded.requests, [&](const TraceRequest& request) {
          return std::int64_t{request.prompt_tokens} + request.output_tokens >
                 options.max_sequence_tokens;
        }));
  }
  return loaded;
}

}  // namespace

absl::StatusOr<LoadedWorkload> LoadWorkload(const WorkloadOptions& options) {
  if (options.trace.empty() == options.workload.empty()) {
    return absl::InvalidArgumentError(
        "give either --trace FILE or --workload NAME");
  }
  if (options.requests < 0 || options.max_sequence_tokens < 0 ||
      options.trace_block_tokens < 0) {
    return absl::InvalidArgumentError(
        "numbers of requests and of tokens may not be negative");
  }
  absl::StatusOr<LoadedWorkload> loaded =
      options.trace.empty() ? GenerateBuiltin(options) : LoadTrace(options);
  if (!loaded.ok()) return loaded.status();
  if (loaded->requests.empty()) {
    const TraceSummary& summary = loaded->summary;
    const DroppedRows& dropped = summary.dropped;
    return absl::InvalidArgumentError(absl::StrCat(
        options.trace.empty() ? options.workload : options.trace,
        ": no request is left of ", summary.rows, " rows: ", dropped.malformed,
        " malformed, ", dropped.zero_output, " without output, ",
        dropped.out_of_order, " out of order, ", dropped.over_max_seq,
        " longer than ", options.max_sequence_tokens, " tokens"));
  }
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
