// SPDX-License-Identifier: Apache-2.0
// What follows from the lengths of the built-in workloads alone.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"

#include "pagedkv/types.h"
#include "sim/replay/policy.h"
#include "sim/study/paper_topics.h"
#include "sim/trace/trace_request.h"
#include "sim/workload/builtin_workload.h"

namespace pagedkv::sim {
namespace {

/// One draw of a built-in workload for each seed.
absl::StatusOr<std::vector<std::vector<TraceRequest>>> Draw(
    const PaperOptions& options, const char* name) {
  const absl::StatusOr<const BuiltinWorkload*> workload =
      BuiltinWorkload::Find(name);
  if (!workload.ok()) return workload.status();
  std::vector<std::vector<TraceRequest>> draws;
  for (std::int64_t seed = 1; seed <= options.seeds; ++seed) {
    absl::StatusOr<std::vector<TraceRequest>> requests =
        (*workload)->Generate((*workload)->num_requests, (*workload)->rate,
                              static_cast<std::uint64_t>(seed));
    if (!requests.ok()) return requests.status();
    draws.push_back(*std::move(requests));
  }
  return draws;
}

double Mean(const std::vector<TraceRequest>& requests,
            std::int32_t TraceRequest::* length) {
  std::int64_t sum = 0;
  for (const TraceRequest& request : requests) sum += request.*length;
  return static_cast<double>(sum) / static_cast<double>(requests.size());
}

/// Percent of what the policy grants that no token ever fills, if each request
/// is at its final length; longer ones than `max` are cut to it.
double WasteAtFinalLength(const Policy& policy, std::int64_t max,
                          const std::vector<TraceRequest>& requests) {
  const GrantRule rule(policy, TokenCount(max));
  std::int64_t used = 0;
  std::int64_t granted = 0;
  for (const TraceRequest& request : requests) {
    const std::int64_t final = std::min(FinalSlots(request), max);
    used += final;
    granted += rule.For(request, final).granted;
  }
  return 100 * (1 - static_cast<double>(used) / static_cast<double>(granted));
}

/// The part X of the blocks in use, in percent, that hold nothing but prompt,
/// over all steps of all requests: n samples save (n - 1) / n of it.
double PromptShare(BlockSize block_size,
                   const std::vector<TraceRequest>& requests) {
  std::int64_t prompt = 0;
  std::int64_t all = 0;
  for (const TraceRequest& request : requests) {
    const BlockCount full =
        block_size.FullBlocks(TokenCount(request.prompt_tokens));
    prompt += full.value() * request.output_tokens;
    for (std::int64_t length = request.prompt_tokens;
         length <= FinalSlots(request); ++length) {
      all += block_size.CoveringBlocks(TokenCount(length)).value();
    }
  }
  return 100 * static_cast<double>(prompt) / static_cast<double>(all);
}

}  // namespace

PaperChecks CheckMeanLengths(const PaperOptions& options) {
  const struct {
    const char* workload;
    const char* quantity;
    std::int32_t TraceRequest::* length;
    double mean;
  } rows[] = {{"sharegpt", "prompt", &TraceRequest::prompt_tokens, 161.31},
              {"sharegpt", "output", &TraceRequest::output_tokens, 337.99},
              {"alpaca", "prompt", &TraceRequest::prompt_tokens, 19.31},
              {"alpaca", "output", &TraceRequest::output_tokens, 58.45}};
  std::vector<PaperCheck> checks;
  for (const auto& row : rows) {
    const auto draws = Draw(options, row.workload);
    if (!draws.ok()) return draws.status();
    PaperCheck check = {
        .id = absl::StrFormat("fig11.%s.%s", row.workload, row.quantity),
        .where = "Fig. 11",
        .setting =
            absl::StrFormat("mean of the built-in workload %s", row.workload),
        .unit = "tokens",
        .expected_lo = row.mean,
        .expected_hi = row.mean,
        .tolerance = 0.03 * row.mean};
    for (const auto& requests : *draws) {
      check.values.push_back(Mean(requests, row.length));
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

PaperChecks CheckClosedForms(const PaperOptions& options) {
  // A workload drawn from quantiles is not the trace: hence the tolerances.
  const struct {
    const char* policy;
    std::int64_t max;
    double percent;
    double tolerance;
  } rows[] = {{"contiguous-max-exact", 4096, 67.01, 1},
              {"contiguous-max-exact", 8192, 83.33, 0.5},
              {"contiguous-max-exact", 16384, 91.67, 0.5},
              {"paged-8", 16384, 0.26, 0.05},
              {"paged-16", 16384, 0.54, 0.05},
              {"paged-32", 16384, 1.12, 0.1},
              {"paged-64", 16384, 2.21, 0.2},
              {"paged-128", 16384, 4.38, 0.4}};
  const auto draws = Draw(options, "azure-conv-2023");
  if (!draws.ok()) return draws.status();
  std::vector<PaperCheck> checks;
  for (const auto& row : rows) {
    const absl::StatusOr<Policy> policy = Policy::Parse(row.policy);
    if (!policy.ok()) return policy.status();
    const bool is_paged = policy->kind == PolicyKind::kPaged;
    PaperCheck check = {
        .id = is_paged ? absl::StrFormat("closed-form.%s", row.policy)
                       : absl::StrFormat("closed-form.max-%d", row.max),
        .where = "Azure 2023 trace",
        .setting = absl::StrFormat(
            "%s%s: the built-in workload azure-conv-2023, each request at its "
            "final length (published: of the trace's rows)",
            row.policy,
            is_paged ? "" : absl::StrFormat(" with maximum %d", row.max)),
        .unit = "% wasted",
        .expected_lo = row.percent,
        .expected_hi = row.percent,
        .tolerance = row.tolerance};
    for (const auto& requests : *draws) {
      check.values.push_back(WasteAtFinalLength(*policy, row.max, requests));
    }
    checks.push_back(std::move(check));
  }
  const auto alpaca = Draw(options, "alpaca");
  if (!alpaca.ok()) return alpaca.status();
  PaperCheck share = {
      .id = "closed-form.prompt-share",
      .where = "Fig. 15a",
      .setting =
          "blocks of 16 with prompt only, of all blocks over all steps "
          "of the built-in workload alpaca: n samples save (n - 1) / n "
          "of it",
      .unit = "% of blocks",
      .expected_lo = 12,
      .expected_hi = 12,
      .tolerance = 1};
  for (const auto& requests : *alpaca) {
    share.values.push_back(PromptShare(BlockSize(16), requests));
  }
  checks.push_back(std::move(share));
  return checks;
}

}  // namespace pagedkv::sim
