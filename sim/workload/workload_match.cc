// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/workload_match.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_map.h"

#include "sim/workload/trace_structure.h"

namespace pagedkv::sim {
namespace {

Sample Lengths(std::span<const TraceRequest> requests,
               std::int32_t TraceRequest::* length) {
  std::vector<std::int64_t> values;
  values.reserve(requests.size());
  for (const TraceRequest& each : requests) values.push_back(each.*length);
  return Sample(std::move(values));
}

Sample Gaps(std::span<const TraceRequest> requests) {
  std::vector<std::int64_t> values;
  for (std::size_t i = 1; i < requests.size(); ++i) {
    values.push_back(requests[i].arrival_ns - requests[i - 1].arrival_ns);
  }
  return Sample(std::move(values));
}

void AppendRows(const std::string& name, double unit, const Sample& trace,
                const Sample& generated, std::vector<MatchRow>& rows) {
  rows.push_back(
      {name + " mean", trace.mean() / unit, generated.mean() / unit});
  for (const auto& [label, p] : {std::pair{" p50", 0.5}, {" p99", 0.99}}) {
    rows.push_back({name + label, static_cast<double>(trace.Quantile(p)) / unit,
                    static_cast<double>(generated.Quantile(p)) / unit});
  }
}

double MeanTurns(const TraceSessions& sessions, std::size_t requests) {
  return static_cast<double>(requests) /
         static_cast<double>(
             std::max<std::size_t>(1, sessions.sessions.size()));
}

}  // namespace

Sample::Sample(std::vector<std::int64_t> values) : values_(std::move(values)) {
  std::sort(values_.begin(), values_.end());
}

double Sample::mean() const {
  if (values_.empty()) return 0.0;
  double sum = 0.0;
  for (const std::int64_t value : values_) sum += static_cast<double>(value);
  return sum / static_cast<double>(values_.size());
}

double Sample::cv() const {
  const double average = mean();
  if (average == 0.0) return 0.0;
  double squares = 0.0;
  for (const std::int64_t value : values_) {
    const double off = static_cast<double>(value) - average;
    squares += off * off;
  }
  return std::sqrt(squares / static_cast<double>(values_.size())) / average;
}

std::int64_t Sample::Quantile(double p) const {
  if (values_.empty()) return 0;
  const double rank = std::ceil(p * static_cast<double>(values_.size()));
  const auto at = static_cast<std::size_t>(std::max(1.0, rank)) - 1;
  return values_[std::min(at, values_.size() - 1)];
}

double Sample::DistanceTo(const Sample& other) const {
  const auto share = [](std::size_t count, const Sample& sample) {
    return static_cast<double>(count) /
           static_cast<double>(std::max<std::size_t>(1, sample.values_.size()));
  };
  double distance = 0.0;
  std::size_t a = 0;
  std::size_t b = 0;
  while (a < values_.size() && b < other.values_.size()) {
    const std::int64_t bound = std::min(values_[a], other.values_[b]);
    while (a < values_.size() && values_[a] == bound) ++a;
    while (b < other.values_.size() && other.values_[b] == bound) ++b;
    distance = std::max(distance, std::abs(share(a, *this) - share(b, other)));
  }
  return distance;
}

ReuseStatistics MeasureReuse(std::span<const TraceRequest> requests) {
  ReuseStatistics reuse;
  absl::flat_hash_map<std::uint64_t, std::size_t> latest;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::vector<std::uint64_t>& ids = requests[i].block_ids;
    reuse.references += static_cast<std::int64_t>(ids.size());
    for (const std::uint64_t id : ids) {
      const auto found = latest.find(id);
      if (found == latest.end()) break;
      ++reuse.hits;
      reuse.distances.push_back(static_cast<std::int64_t>(i - found->second));
    }
    for (const std::uint64_t id : ids) latest[id] = i;
  }
  return reuse;
}

WorkloadMatch CompareWorkloads(std::span<const TraceRequest> trace,
                               std::span<const TraceRequest> generated,
                               BlockSize block) {
  WorkloadMatch match;
  const Sample prompts = Lengths(trace, &TraceRequest::prompt_tokens);
  const Sample their_prompts = Lengths(generated, &TraceRequest::prompt_tokens);
  AppendRows("prompt tokens", 1, prompts, their_prompts, match.rows);
  match.prompt_distance = prompts.DistanceTo(their_prompts);
  const Sample outputs = Lengths(trace, &TraceRequest::output_tokens);
  const Sample their_outputs = Lengths(generated, &TraceRequest::output_tokens);
  AppendRows("output tokens", 1, outputs, their_outputs, match.rows);
  match.output_distance = outputs.DistanceTo(their_outputs);
  const Sample gaps = Gaps(trace);
  const Sample their_gaps = Gaps(generated);
  AppendRows("gap ms", 1e6, gaps, their_gaps, match.rows);
  match.rows.push_back({"gap variation", gaps.cv(), their_gaps.cv()});
  match.gap_distance = gaps.DistanceTo(their_gaps);
  match.rows.push_back(
      {"requests per session",
       MeanTurns(FindSessions(trace, block), trace.size()),
       MeanTurns(FindSessions(generated, block), generated.size())});
  const ReuseStatistics reuse = MeasureReuse(trace);
  if (reuse.references > 0) {
    const ReuseStatistics theirs = MeasureReuse(generated);
    match.rows.push_back(
        {"hit rate, nothing evicted", reuse.hit_rate(), theirs.hit_rate()});
    match.rows.push_back(
        {"reuse distance p50, requests",
         static_cast<double>(Sample(reuse.distances).Quantile(0.5)),
         static_cast<double>(Sample(theirs.distances).Quantile(0.5))});
  }
  return match;
}

}  // namespace pagedkv::sim
