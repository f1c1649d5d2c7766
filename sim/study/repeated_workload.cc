// SPDX-License-Identifier: Apache-2.0
#include "sim/study/repeated_workload.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pagedkv::sim {

absl::StatusOr<RepeatedWorkload> RepeatedWorkload::Create(
    const WorkloadOptions& options, const Pass& first) {
  RepeatedWorkload workload(options);
  const absl::StatusOr<std::unique_ptr<WorkloadSource>> source =
      OpenWorkload(options, /*identify=*/true);
  if (source.ok()) {
    if (absl::Status done = first(**source); !done.ok()) return done;
    workload.summary_ = (*source)->summary();
    return workload;
  }
  if (!absl::IsFailedPrecondition(source.status())) return source.status();
  absl::StatusOr<LoadedWorkload> loaded = LoadWorkload(options);
  if (!loaded.ok()) return loaded.status();
  workload.held_ = std::move(loaded->requests);
  workload.summary_ = std::move(loaded->summary);
  if (absl::Status done = workload.Repeat(first); !done.ok()) return done;
  return workload;
}

absl::Status RepeatedWorkload::Repeat(const Pass& pass) const {
  if (held_.has_value()) {
    SpanSource source(*held_);
    return pass(source);
  }
  const absl::StatusOr<std::unique_ptr<WorkloadSource>> source =
      OpenWorkload(options_, /*identify=*/false);
  if (!source.ok()) return source.status();
  absl::Status done = pass(**source);
  if (!done.ok()) return done;
  const TraceSummary& found = (*source)->summary();
  if (found.rows == summary_.rows && found.kept == summary_.kept &&
      found.span_ns == summary_.span_ns &&
      found.prompt_tokens == summary_.prompt_tokens &&
      found.output_tokens == summary_.output_tokens) {
    return done;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      options_.trace,
      ": the file has changed while it was read; wait until it is complete"));
}

}  // namespace pagedkv::sim
