// SPDX-License-Identifier: Apache-2.0
#include "sim/hitcurve/block_trace.h"

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace pagedkv::sim {
namespace {

// Contents become block ids, which are int32, and `BlockPool` has as many.
constexpr std::size_t kMaxContents = std::size_t{1} << 30;

}  // namespace

absl::StatusOr<BlockTrace> BlockTrace::Create(
    std::span<const TraceRequest> requests, std::int32_t block_tokens) {
  std::size_t num_references = 0;
  for (const TraceRequest& request : requests) {
    num_references += request.block_ids.size();
  }
  if (num_references == 0 || block_tokens < 1) {
    return absl::InvalidArgumentError(
        "the requests have no block ids, so nothing is known of what their "
        "prompts share; use a trace with hash_ids, as Mooncake's");
  }
  BlockTrace trace{BlockSize(block_tokens)};
  trace.requests_.reserve(requests.size());
  trace.references_.reserve(num_references);
  absl::flat_hash_map<std::uint64_t, std::uint32_t> contents;
  for (const TraceRequest& request : requests) {
    for (const std::uint64_t id : request.block_ids) {
      const auto [entry, added] = contents.try_emplace(
          id, static_cast<std::uint32_t>(trace.ids_.size()));
      if (added) trace.ids_.push_back(id);
      trace.references_.push_back(entry->second);
    }
    if (trace.ids_.size() > kMaxContents) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "more than %d distinct block ids; take fewer --requests",
          kMaxContents));
    }
    trace.requests_.push_back({.arrival_ns = request.arrival_ns,
                               .end = trace.references_.size(),
                               .prompt_tokens = request.prompt_tokens});
  }
  return trace;
}

}  // namespace pagedkv::sim
